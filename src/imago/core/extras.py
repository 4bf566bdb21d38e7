"""Packages that only some need: what to install where one is missing."""

from __future__ import annotations

import importlib.util

from imago.core.errors import ImagoError

EXTRAS = {
    "geo": ("rasterio", "pyogrio", "shapely"),
    "medical": ("pydicom", "nibabel", "highdicom"),
}


def require_extra(extra: str, purpose: str) -> None:
    """Raises ImagoError where a package of ``extra`` is not installed; ``purpose``: what it is needed for."""
    missing = [package for package in EXTRAS[extra] if importlib.util.find_spec(package) is None]
    if missing:
        raise ImagoError(
            f"{purpose}: needs {' and '.join(missing)}, which {'are' if missing[1:] else 'is'} not installed; "
            f'pip install "imago-seg[{extra}]"'
        )
