"""The faces: command line, server, page, widgets and export; no mathematics in them"""
