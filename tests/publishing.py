"""Files of weights as others publish them, on the server of ``file_server``, and what is left of them on the disk."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from file_server import Server

from imago.files.download import Remote
from imago.models.catalogue import CATALOGUE
from imago.models.published import Published


def saved(content: object, zipped: bool = True) -> bytes:
    """A ``.pth`` file; not ``zipped``: as torch wrote them until 2020."""
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def publish(server: Server, name: str, content: bytes, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Published:
    """``content`` becomes what the catalogue's entry ``name`` fetches; ``changes``: of its card."""
    server.files["/weights"] = content
    remote = Remote(server.address("/weights"), len(content), hashlib.sha256(content).hexdigest())
    entry = replace(CATALOGUE[name], remote=remote, card=CATALOGUE[name].card.with_(**changes))
    monkeypatch.setitem(CATALOGUE, name, entry)
    return entry


def left_in(home: Path) -> list[str]:
    """Names of what lies in the models' folder of IMAGO_HOME."""
    return sorted(path.name for path in (home / "models").glob("*"))
