"""Files that are there whole or not at all: written beside the target, then renamed."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from imago.core.errors import ImagoError
from imago.files.stopping import part_file

_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


@contextlib.contextmanager
def atomic_write(path: Path, overwrite: bool = False, synced: bool = False) -> Iterator[BinaryIO]:
    """A binary stream whose content becomes ``path`` when the block ends well; missing folders are made.

    After an error or Ctrl-C nothing is left. With ``overwrite`` false a file that is there, or that appears while the
    block runs, is kept and ImagoError raised. The promise holds for processes that die, and with ``synced`` for
    machines that lose power. Raises ImagoError for a full disk and for everything that cannot be written.
    """
    path = Path(path)
    if os.path.isdir(path):
        raise ImagoError(f"{path}: is a folder; a file was to be written there. Choose another name")
    if not overwrite and os.path.lexists(path):
        raise exists(path)
    with part_file(path.parent / f".{secrets.token_hex(8)}.part") as part:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            raw = TargetFile(path, part)
        except OSError as error:
            raise explain_failure(path, error) from error
        stream = io.BufferedWriter(raw, 1 << 20)
        try:
            yield stream
            if synced:
                stream.flush()
                os.fsync(raw.fileno())  # else a power cut after the rename could leave an empty file
            stream.close()
            _rename(part, path, overwrite)
        except BaseException:  # Ctrl-C as well; raised again
            with contextlib.suppress(OSError, ImagoError):
                stream.close()
            raise


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A new folder whose content becomes ``path`` when the block ends well; missing folders above it are made.

    After an error or Ctrl-C nothing is left. Raises ImagoError where ``path`` is there and is not an empty folder, or
    where it cannot be written.
    """
    path = Path(path)
    _check_free(path)
    part = path.parent / f".{secrets.token_hex(8)}.part"
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise explain_failure(path, error) from error
    try:
        yield part
        _check_free(path)
        with contextlib.suppress(FileNotFoundError):
            path.rmdir()  # an empty one
        part.rename(path)
    except OSError as error:
        raise explain_failure(path, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check_free(path: Path) -> None:
    if os.path.lexists(path) and not (path.is_dir() and next(path.iterdir(), None) is None):
        what = "is there already and is not empty" if path.is_dir() else "is a file; a folder was to be written there"
        raise ImagoError(f"{path}: {what}; nothing is overwritten. Choose another folder")


def exists(path: Path) -> ImagoError:
    """The error for an output that is there already."""
    return ImagoError(f"{path}: is there already; give --overwrite (overwrite=True in Python) or another place")


class TargetFile(io.FileIO):
    """The new file; names the target, not itself, when the disk refuses."""

    def __init__(self, path: Path, part: Path) -> None:
        super().__init__(part, "x")
        self.path = path

    def write(self, data) -> int:  # type: ignore[no-untyped-def]
        try:
            return super().write(data)
        except OSError as error:
            raise explain_failure(self.path, error) from error


def explain_failure(path: Path, error: OSError) -> ImagoError:
    """The error for a file ``path`` that cannot be written."""
    if error.errno in _FULL:
        return ImagoError(f"{path}: the disk is full; nothing was written there. Make room or choose another folder")
    return ImagoError(f"{path}: cannot be written ({error.strerror or error}); choose another place with --out")


def _rename(part: Path, path: Path, overwrite: bool) -> None:
    try:
        if overwrite:
            os.replace(part, path)
            return
        try:
            os.link(part, path)  # fails if the name is taken, in one step; the caller removes the other name
        except FileExistsError:
            raise
        except OSError:  # file systems without hard links (FAT, some network ones)
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
            os.replace(part, path)
    except FileExistsError as error:
        raise exists(path) from error
    except OSError as error:
        raise explain_failure(path, error) from error
