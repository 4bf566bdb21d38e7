"""Settings that do not apply to one of the two kinds of nets, and why: refused rather than passed over."""

from __future__ import annotations

# To nets that find objects.
SEMANTIC_ONLY = {
    "objects": "these nets find single objects by themselves",
    "head": "each net has the head of its paper",
    "loss": "each net has the loss of its paper",
    "class_weights": "each net has the loss of its paper",
    "min_component_fraction": "it takes parts from a two-class mask",
    "tta_scales": "it looks at a photo once",
    "tta_flip": "the finds of a photo and of its mirror image are not averaged",
}
SEMANTIC_ONLY_AUGMENTATION = ("elastic", "background", "shadow", "collage", "empty", "border_px", "touching")

# To nets that label pixels.
DETECTION_ONLY = {"multiscale": "let --start-size grow the frames"}
