"""Annotated images as a model sees them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from imago.core.input_spec import InputSpec


def read_for(spec: InputSpec, sample: Any) -> np.ndarray:
    """The image of ``sample``, uint8 (H, W, C), as the model of ``spec`` sees it: deep values are scaled by its own
    ranges."""
    if spec.ranges and hasattr(sample, "ranges"):
        sample = replace(sample, ranges=spec.ranges)
    image: np.ndarray = sample.image()
    return image
