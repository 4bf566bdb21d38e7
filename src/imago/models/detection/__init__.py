"""Nets that find objects: boxes, and masks."""
