"""The colours of classes as image files and pictures want them."""

from __future__ import annotations

import numpy as np

from imago.core.labels import Labels

UNUSED = (0, 0, 0)
IGNORED = (224, 224, 192)  # the cream that PASCAL VOC draws "void" in


def palette_bytes(labels: Labels) -> bytes:
    """768 bytes for a palette PNG: red, green, blue of the values 0 to 255. "Ignore" is cream, unused values black."""
    if len(labels) > 256:
        raise ValueError(f"a palette has 256 colours; there are more classes, {len(labels)}; save 16-bit grey instead")
    colors = [*labels.colors, *[UNUSED] * (256 - len(labels))]
    if labels.ignore < 256:
        colors[labels.ignore] = IGNORED
    return bytes(value for color in colors for value in color)


def color_table(labels: Labels) -> np.ndarray:
    """uint8 (V, 3) RGB, to be indexed with a label map; V covers every class and the value "ignore"."""
    table = np.zeros((max(len(labels), labels.ignore + 1), 3), np.uint8)
    table[: len(labels)] = labels.colors
    if labels.ignore >= 0:
        table[labels.ignore] = IGNORED
    return table
