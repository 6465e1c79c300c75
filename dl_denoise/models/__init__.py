"""The networks, each a function that builds it"""
