"""Files of several pages (TIFF, animations): each page that is meant becomes an image of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from imago.core.errors import ImageError
from imago.core.page_ranges import choose_pages, is_open
from imago.files.images import count_pages
from imago.files.inputs import InputImage
from imago.files.medical_kind import find_kind, is_medical_name


def expand_pages(images: Sequence[InputImage], pages: str) -> list[InputImage]:
    """``pages``: see ``core.page_ranges``; empty: the first page, and all slices of DICOM and NIfTI. A page that a file
    has not is found missing when it is read, so that it stops no other. Raises ImageError for several pages of a pipe,
    which is read once."""
    expanded: list[InputImage] = []
    for image in images:
        if not pages:  # a volume is all its slices
            count = _count_pages(image.path) if not image.piped and _is_volume(image.path) else 1
            expanded += [replace(image, page=page) for page in range(1, count + 1)] if count > 1 else [image]
            continue
        if image.piped and (is_open(pages) or len(choose_pages(pages, 0)) > 1):
            raise ImageError(f"{image.path}: is a pipe, which is read once; name one page of it, or give a file")
        count = _count_pages(image.path) if is_open(pages) else 0
        expanded += [replace(image, page=page) for page in choose_pages(pages, count)]
    return expanded


def _is_volume(path: Path) -> bool:
    return is_medical_name(path.name) and find_kind(path) is not None


def _count_pages(path: Path) -> int:
    try:
        return count_pages(path)
    except ImageError:  # reading says so
        return 1
