"""Published weights that can be downloaded by name: address, size, checksum, license, and the card they lack.

Sizes and SHA-256 were compared over several independent public lists. What is not published as ``.onnx`` becomes such a
file on this machine (``imago.export.published``). Nothing here downloads: see ``imago.files.download``.
"""

from __future__ import annotations

from pathlib import Path

from imago.core.model_card import ModelCard
from imago.files.download import compute_sha256
from imago.models.published.detection_entries import DETECTION_ENTRIES
from imago.models.published.entries import Published
from imago.models.published.semantic_entries import SEMANTIC_ENTRIES

PUBLISHED: dict[str, Published] = {entry.card.name: entry for entry in (*SEMANTIC_ENTRIES, *DETECTION_ENTRIES)}


def read_published_card(path: Path) -> ModelCard | None:
    """The card of a published file that lies in its place; it was verified when it came. None for all others, and for
    converted ones, which carry their own."""
    return next((entry.card for entry in PUBLISHED.values() if entry.path == path and not entry.converted), None)


def recognize(path: Path) -> ModelCard | None:
    """The card of a published file, found by size and checksum whatever its name; None if it is none of them."""
    size = path.stat().st_size
    likely = [entry for entry in PUBLISHED.values() if entry.remote.size == size]
    if not likely:
        return None
    checksum = compute_sha256(path)
    return next((entry.card for entry in likely if entry.remote.sha256 == checksum), None)
