"""The studio: a paint program for label maps in the browser, with their image next to them.

A server on this machine (Tornado) serves the page in `static/`, plain ES modules without a build
step. The page holds the drawing; the server samples what it sends and keeps nothing.
"""
