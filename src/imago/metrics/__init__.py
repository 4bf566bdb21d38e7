"""Scores of segmentations, in NumPy: confusion matrices, outlines, soft foregrounds, bootstrap intervals."""
