"""Fetch a published file into the user's cache: resumable, and never in place before it is verified."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imago.core.errors import ImagoError

_CHUNK = 1 << 18  # bytes read at a time; small enough that Ctrl-C and the progress display feel immediate
_TIMEOUT_S = 30.0  # without one byte


class DownloadError(ImagoError):
    """A file could not be fetched or is not the one that was expected."""


@dataclass(frozen=True)
class Remote:
    """One file on the network, and how to know it again."""

    address: str
    size: int  # bytes
    sha256: str  # hexadecimal


def models_folder() -> Path:
    """Where downloaded models lie: ``$IMAGO_HOME/models``, else the user's cache folder."""
    home = os.environ.get("IMAGO_HOME")
    if home:
        return Path(home).expanduser() / "models"
    import platformdirs

    return Path(platformdirs.user_cache_dir("imago", appauthor=False)) / "models"


def compute_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_there(remote: Remote, path: Path) -> bool:
    """Whether ``path`` is the remote file, by size and SHA-256."""
    return path.is_file() and path.stat().st_size == remote.size and compute_sha256(path) == remote.sha256


def download(remote: Remote, target: Path, on_progress: Callable[[int, int], None] | None = None) -> Path:
    """Fetch ``remote`` to ``target`` (its folder is made) and return ``target``.

    What has come is kept in ``target.part``, so that the next call goes on where this one stopped. Size and SHA-256 are
    checked before the file gets its name; a wrong file is removed. A ``target`` that is the file already is left as it
    is. ``on_progress(bytes so far, bytes in all)``. Raises DownloadError.
    """
    part = target.with_name(target.name + ".part")
    if target.is_dir():
        raise DownloadError(f"{target}: is a folder, where the file was to lie; move it away")
    try:
        if is_there(remote, target):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        if part.exists() and part.stat().st_size > remote.size:
            part.unlink()
        if not part.exists() or part.stat().st_size < remote.size:
            _fetch(remote, part, on_progress or (lambda done, total: None))
        _verify(remote, part)
        part.replace(target)
    except OSError as error:  # network errors are turned into DownloadError further down
        if error.errno == errno.ENOSPC:
            free = f"no space left in {target.parent} ({remote.size / 1e6:.0f} MB are needed)"
            raise DownloadError(f"{free}; make room or set IMAGO_HOME, then run the command again") from error
        raise DownloadError(f"{target}: cannot be written ({error.strerror or error}); set IMAGO_HOME") from error
    return target


def _fetch(remote: Remote, part: Path, on_progress: Callable[[int, int], None]) -> None:
    """Append what is missing to ``part``."""
    done = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "imago"}
    if done:
        headers["Range"] = f"bytes={done}-"
    try:
        response = urllib.request.urlopen(urllib.request.Request(remote.address, headers=headers), timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and done:  # the server's file ends before ours: ours is of another one
                part.unlink()
                raise DownloadError(f"{remote.address}: the file there has changed; run the command again") from error
            raise DownloadError(
                f"{remote.address}: the server answers {error.code} {error.reason}; the file may have moved. "
                f"Get it elsewhere and give its path to --model"
            ) from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise DownloadError(
            f"{remote.address}: cannot be reached ({reason}). Check the network or proxy and run the command again; "
            f"models that are shipped with Imago need none"
        ) from error
    with response, part.open("ab" if done and response.status == 206 else "wb") as stream:
        done = stream.tell()
        on_progress(done, remote.size)
        while True:
            try:
                chunk = response.read(_CHUNK)
            except (http.client.HTTPException, OSError) as error:  # OSError: time-outs, resets, TLS
                raise DownloadError(_stopped(remote, done)) from error
            if not chunk:
                break
            done += len(chunk)
            if done > remote.size:
                break  # not our file; the check below says so
            stream.write(chunk)
            on_progress(done, remote.size)
    if done < remote.size:
        raise DownloadError(_stopped(remote, done))


def _stopped(remote: Remote, done: int) -> str:
    return (
        f"{remote.address}: stopped after {done} of {remote.size} bytes; what has come is kept. "
        f"Run the command again to go on"
    )


def _verify(remote: Remote, part: Path) -> None:
    size = part.stat().st_size
    checksum = compute_sha256(part)
    if size != remote.size or checksum != remote.sha256:
        part.unlink()
        raise DownloadError(
            f"{remote.address}: what came is not the published file (SHA-256 {checksum[:12]}..., expected "
            f"{remote.sha256[:12]}...) and was removed. Run the command again; if it stays so, do not use that file"
        )
