"""Whether a file is DICOM or NIfTI, by its first bytes."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Literal

MedicalKind = Literal["DICOM", "NIfTI"]
HEAD = 600  # bytes that tell
SUFFIXES = (".dcm", ".nii", ".nii.gz")
_NIFTI = (b"n+1\0", b"ni1\0")
# DICOM files are often called by bare numbers: 2062, IM000012, 1.2.840.113619.2.5
_BARE = re.compile(r"[^.]*(\.\d+)*")


def is_medical_name(name: str) -> bool:
    """Whether a file of that name is looked into: one with the endings of such files, or without any."""
    return name.lower().endswith(SUFFIXES) or bool(_BARE.fullmatch(name))


def medical_kind(start: bytes) -> MedicalKind | None:
    """By the first ``HEAD`` bytes of a file."""
    if start[128:132] == b"DICM":
        return "DICOM"
    if start[:2] == b"\x1f\x8b":
        try:
            start = zlib.decompressobj(31).decompress(start, HEAD)
        except zlib.error:
            return None
    if (start[344:348] in _NIFTI and b"\x5c" in start[:4]) or start[4:8] in (b"n+2\0", b"ni2\0"):
        return "NIfTI"
    return None


def find_kind(path: Path) -> MedicalKind | None:
    """Of a file; None also where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return medical_kind(stream.read(HEAD))
    except OSError:
        return None
