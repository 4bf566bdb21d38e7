"""Arrays that took long to make, kept on disk: one ``.npz`` for each key in a folder.

Files are written beside and renamed, so a killed run leaves none by halves; one that is damaged all the same (a full
disk, a broken copy) is made again. Nothing is pickled: reading a file cannot run code.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from imago.core.text import to_utf8
from imago.files.writing import atomic_write

Arrays = dict[str, np.ndarray]


def make_key(*parts: bytes | str | Mapping[str, Any]) -> str:
    """32 hexadecimal digits of file contents, words and plain settings; other parts give another key."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, Mapping):
            part = json.dumps(part, sort_keys=True)
        data = to_utf8(part) if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "little"))  # so that "ab", "c" is not "a", "bc"
        found.update(data)
    return found.hexdigest()[:32]


def load_or_make(path: Path, names: tuple[str, ...], make: Callable[[], Arrays]) -> Arrays:
    """The arrays ``names`` of the file ``path``; where it is missing, damaged or lacks one of them, those of ``make``,
    which are written there. Raises ImagoError where the file cannot be written."""
    found = read_arrays(path, names)
    if found is None:
        found = make()
        write_arrays(path, found)
    return found


def read_arrays(path: Path, names: tuple[str, ...]) -> Arrays | None:
    """None where the file is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in names}
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError):
        return None  # NotImplementedError: a damaged header that asks for an unknown compression


def write_arrays(path: Path, arrays: Arrays) -> None:
    with atomic_write(path, overwrite=True) as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]
