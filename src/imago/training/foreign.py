"""Settings that say nothing to one of the two kinds of nets, and why: refused rather than passed over."""

from __future__ import annotations

# To nets that find objects.
OF_LABEL_MAPS = {
    "objects": "these nets find single objects by themselves",
    "head": "each net has the head of its paper",
    "loss": "each net has the loss of its paper",
    "class_weights": "each net has the loss of its paper",
    "specks": "it takes parts from a two-class mask",
    "scales": "it looks at a photo once",
    "mirror": "the finds of a photo and of its mirror image are not averaged",
}
AUGMENTATION_OF_LABEL_MAPS = ("elastic", "background", "shadow", "collage", "empty", "border_px", "touching")

# To nets that label pixels.
OF_OBJECTS = {"multiscale": "let --start-size grow the frames"}
