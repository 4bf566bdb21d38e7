"""What a path is: decided here, for what is read and for what is written, in Python and on the command line.

Read: a folder is walked, a file is an image, a pipe (``<(...)``, ``/dev/stdin``, a FIFO) is read once; devices and
sockets are none of these. Written: a path is a folder if there is one, a file if there is a file; else it is a file if
it ends as Imago's files end (``.png``, ``.json`` ...), and a folder if not (``results_v1.0``).
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Literal

from imago.core.errors import ImagoError

PathKind = Literal["missing", "folder", "file", "pipe", "device"]
ENDINGS = frozenset(
    (".png", ".webp", ".jpg", ".jpeg", ".tif", ".tiff", ".json", ".txt", ".geojson", ".gpkg")
)  # of files that are written


# Two letters at least: C:/ is a drive. Also below a folder, as where all DATA is seen from another one.
_ADDRESS = re.compile(r"(?:^|.*[/\\])([A-Za-z][A-Za-z0-9+.-]+):/+(?=[^/])")


def web_address(path: Path | str) -> str:
    """The address that ``path`` is, as it was typed (a Path makes one slash of two); empty where it is none."""
    text = os.fspath(path)
    found = _ADDRESS.match(text)
    return f"{found[1]}://{text[found.end() :]}" if found and not os.path.lexists(text) else ""


def explain_missing(path: Path | str, what: str = "file") -> str:
    """A line for a path where nothing is; ``what`` was expected there."""
    address = web_address(path)
    if address:
        return f"{address}: is a web address, and Imago reads files; download it first"
    return f"{path}: there is no such {what}"


def path_kind(path: Path | str) -> PathKind:
    """Links are followed; one that leads nowhere is ``missing``."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # ValueError: a zero byte in it
        return "missing"
    if stat.S_ISDIR(mode):
        return "folder"
    if stat.S_ISREG(mode):
        return "file"
    return "pipe" if stat.S_ISFIFO(mode) else "device"


def has_folder(path: Path | str) -> bool:
    """Whether a file may be written beside it: not beside pipes and what ``/dev`` and ``/proc`` lend a name."""
    return path_kind(path) != "pipe" and not os.path.abspath(path).startswith(("/dev/", "/proc/"))


def names_file(path: Path | str) -> bool:
    """Whether an output path means one file; else it means a folder. Raises ImagoError for what can be neither."""
    kind = path_kind(path)
    if web_address(path):
        raise ImagoError(f"{web_address(path)}: is a web address, and Imago writes files; name a file or a folder")
    if not os.fspath(path) or kind in ("pipe", "device"):
        what = {"pipe": "a pipe", "device": "a device"}.get(kind, "an empty path")
        raise ImagoError(f"{os.fspath(path)!r}: is {what}, where no file can be put; use '-' to write to a pipe")
    if kind != "missing":
        return kind == "file"
    return os.path.splitext(path)[1].lower() in ENDINGS
