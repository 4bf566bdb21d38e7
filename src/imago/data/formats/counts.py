"""A table of how many objects each photo has, and how large they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from imago.core.labels import Labels
from imago.core.text import escape
from imago.data.formats.format import ImageDetections

COLUMNS = ("photo", "class", "objects", "area_px", "mean_area_px", "least_area_px", "largest_area_px", "area_share")


def count_instances(photos: Iterable[ImageDetections], labels: Labels) -> list[tuple[Any, ...]]:
    """Rows of COLUMNS: of each photo one for all its objects (class "all"), then one for each class that it has.

    Areas are pixels of the masks, or of the boxes where there are none; the share is of the photo, and objects that
    overlap count twice in it. Crowd regions are left out.
    """
    rows: list[tuple[Any, ...]] = []
    for photo in photos:
        instances = photo.instances if photo.instances.crowd is None else photo.instances[~photo.instances.crowd]
        areas = instances.areas
        rows.append(_count_row(photo, "all", areas))
        rows += [
            _count_row(photo, labels.names[v], areas[instances.classes == v]) for v in np.unique(instances.classes)
        ]
    return rows


def _count_row(photo: ImageDetections, name: str, areas: np.ndarray) -> tuple[Any, ...]:
    if not areas.size:
        return escape(photo.file_name), name, 0, 0, "", "", "", 0.0
    height, width = photo.instances.size_hw
    mean, least, largest = (f"{v:.1f}".removesuffix(".0") for v in (areas.mean(), areas.min(), areas.max()))
    total = float(areas.sum())
    file_name = escape(photo.file_name)
    return file_name, name, areas.size, round(total), mean, least, largest, round(total / (height * width), 6)
