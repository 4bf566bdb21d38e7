"""A model over annotated images: its scores, with their spread."""
