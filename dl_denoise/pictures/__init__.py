"""Anybody's pictures: denoisers, tiles, files, noise levels, evidence, captures"""
