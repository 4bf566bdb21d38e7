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

from imago.core.model_card import ModelCard
from imago.files.download import Remote
from imago.models.published import PUBLISHED
from imago.models.published.entries import Published


def saved(content: object, zipped: bool = True) -> bytes:
    """A ``.pth`` file; not ``zipped``: as torch wrote them until 2020."""
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def publish(server: Server, name: str, content: bytes, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Published:
    """``content`` becomes what the catalogue's entry ``name`` fetches; ``changes``: of its card."""
    server.files["/weights"] = content
    remote = Remote(server.address("/weights"), len(content), hashlib.sha256(content).hexdigest())
    entry = replace(PUBLISHED[name], remote=remote, card=PUBLISHED[name].card.with_(**changes))
    monkeypatch.setitem(PUBLISHED, name, entry)
    return entry


def left_in(home: Path) -> list[str]:
    """Names of what lies in the models' folder of IMAGO_HOME."""
    return sorted(path.name for path in (home / "models").glob("*"))


def check_as_torchvision_says(entry: Published, weights: Any) -> None:
    """Address, checksum and size of an entry, beside torchvision's own enum of weights."""
    assert entry.remote.address == weights.url
    assert entry.remote.sha256.startswith(weights.url[-12:-4])  # the eight digits in the name
    assert len(bytes.fromhex(entry.remote.sha256)) == 32
    assert round(entry.remote.size / 2**20, 3) == weights.meta["_file_size"]
    assert entry.card.license == "BSD-3-Clause"
    assert ModelCard.from_json(entry.card.to_json()) == entry.card
