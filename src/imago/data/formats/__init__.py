"""Annotation formats, one a file: how each is recognised, read and written."""
