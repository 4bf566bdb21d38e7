"""Nets that label every pixel."""
