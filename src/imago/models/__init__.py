"""The nets: one architecture a file. ``imago.models.build`` makes one by its name in the catalog."""

from __future__ import annotations

from imago.models.catalog import build

__all__ = ["build"]
