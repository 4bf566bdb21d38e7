"""Files and folders that programs leave beside photos, and that nobody means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")  # zip on a Mac, Synology, Windows


def is_clutter(name: str) -> bool:
    """Whether a file or folder of this name is hidden (``.ipynb_checkpoints``, ``._a.jpg``) or of a program."""
    return name.startswith(".") or name in FOLDERS


def glob_files(folder: Path, pattern: str) -> Iterator[Path]:
    """What fits ``pattern`` below ``folder``, sorted, without clutter and what lies in it."""
    for path in sorted(folder.glob(pattern)):
        if not any(map(is_clutter, path.relative_to(folder).parts)):
            yield path


def iter_folders(folder: Path) -> Iterator[Path]:
    """The folders in ``folder``, sorted, without clutter."""
    return (path for path in glob_files(folder, "*") if path.is_dir())
