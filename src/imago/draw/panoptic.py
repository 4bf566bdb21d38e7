"""Segments drawn over their photo: stuff in the colours of its classes, each thing in its own."""

from __future__ import annotations

import numpy as np

from imago.core.labels import Labels
from imago.core.panoptic import Panoptic
from imago.draw.objects import draw_objects
from imago.draw.overlay import add_legend, overlay


def draw_panoptic(
    image: np.ndarray, panoptic: Panoptic, labels: Labels, strength: float = 0.5, legend: bool = True
) -> np.ndarray:
    """uint8 RGB, a new array: the image, uint8 (H, W, 3) or grey (H, W), with the segments washed and outlined, and
    tags with names and scores at things. ``strength``: of the wash, 0 to 1. With ``legend`` a panel below says how much
    of the image each class has."""
    stuff = panoptic.look_up(0 if segment.is_thing else segment.value for segment in panoptic.segments)
    drawn = overlay(image, stuff.astype(np.uint16), labels.with_background(0), strength, legend=False)
    things = panoptic.things()
    scored = any(segment.score is not None for segment in panoptic.segments)
    drawn = draw_objects(drawn, things, labels, strength, scores=scored, boxes=False)
    if not legend:
        return drawn
    counts = np.bincount(panoptic.to_label_map().ravel(), minlength=len(labels))
    return add_legend(drawn, counts, labels, uncolored={int(value) for value in things.classes})
