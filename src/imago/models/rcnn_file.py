"""R-CNN's model file: one ``.safetensors`` with the CNN, the SVMs and the regressors, and a card in JSON. No pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as packed
from torch import Tensor

from imago.core.card import METADATA_KEY
from imago.core.errors import ModelError
from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.core.spec import InputSpec
from imago.data.proposals import ProposalOptions, propose
from imago.models.rcnn import PADDING, RCNN, build_rcnn, find_things

FORMAT = 1


@dataclass(frozen=True)
class RcnnCard:
    """What the file says of itself: all that is needed to use it."""

    name: str
    labels: Labels  # 0 is the background
    options: dict[str, Any]  # keyword arguments of build_rcnn, without classes and pretrained
    input: InputSpec  # of one crop
    padding: int = PADDING  # pixels of a crop's surroundings
    proposals: ProposalOptions = field(default_factory=ProposalOptions)
    data: tuple[str, ...] = ()  # what it was trained on, with licences
    licence: str = "unknown"

    def to_json(self) -> str:
        return json.dumps(
            {
                "format": FORMAT,
                "architecture": "rcnn",
                "task": "boxes",
                "name": self.name,
                "labels": self.labels.to_json(),
                "options": self.options,
                "input": self.input.to_json(),
                "padding": self.padding,
                "proposals": asdict(self.proposals),
                "data": list(self.data),
                "licence": self.licence,
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str, source: str) -> RcnnCard:
        """Raises ModelError that names ``source`` where the text is no card of an R-CNN."""
        try:
            values = json.loads(text)
            if values["architecture"] != "rcnn":
                raise ModelError(f"{source}: holds a {values['architecture']}, not an R-CNN; load it with imago.load")
            if values["format"] > FORMAT:
                raise ModelError(f"{source}: written by a newer Imago. Update with: pip install -U imago-seg")
            return cls(
                name=values["name"],
                labels=Labels.from_json(values["labels"]),
                options=dict(values["options"]),
                input=InputSpec.from_json(values["input"]),
                padding=int(values["padding"]),
                proposals=ProposalOptions(**values["proposals"]),
                data=tuple(values["data"]),
                licence=values["licence"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{source}: its model card is damaged ({error!r}); train or copy it again") from error


def predict(
    net: RCNN, card: RcnnCard, image: np.ndarray, proposals: np.ndarray | None = None, batch: int = 64
) -> Instances:
    """What the net finds in a uint8 RGB (H, W, 3) image. ``proposals`` float32 (K, 4) in its pixels, if they are known
    already; else selective search finds them as the card says. ``batch``: crops at a time."""
    boxes = propose(image, card.proposals) if proposals is None else proposals
    return find_things(net, image, boxes, card.input, card.padding, batch)


def save_rcnn(net: RCNN, card: RcnnCard, path: Path) -> None:
    write_tensors(path, net.state_dict(), {METADATA_KEY: card.to_json()})


def load_rcnn(path: Path, device: torch.device | str = "cpu") -> tuple[RCNN, RcnnCard]:
    """The net in ``eval()`` mode, and its card. Raises ModelError that names the file."""
    tensors, metadata = read_tensors(path)
    if METADATA_KEY not in metadata:
        raise ModelError(f"{path}: holds weights but no Imago model card; give a model.safetensors of imago's R-CNN")
    card = RcnnCard.from_json(metadata[METADATA_KEY], str(path))
    with torch.random.fork_rng(devices=[]):  # fresh weights, to be overwritten, must not move the random stream
        try:
            net = build_rcnn(len(card.labels), **card.options)
        except (ModelError, TypeError) as error:
            raise ModelError(f"{path}: {error}") from error
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"{path}: the weights do not fit the net that its card names ({error})") from error
    return net.to(device).eval(), card


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Beside it first, synced and renamed, so that no half-written file is ever seen. Raises ModelError."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            stream.write(packed(whole, metadata=metadata))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: could not be written ({error})") from error
    finally:
        part.unlink(missing_ok=True)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, and the metadata. Raises ModelError where the file is missing or damaged."""
    try:
        with safe_open(path, "pt") as stored:
            return {name: stored.get_tensor(name) for name in stored.keys()}, dict(stored.metadata() or {})  # noqa: SIM118
    except FileNotFoundError as error:
        raise ModelError(f"{path}: there is no such file") from error
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: not a whole .safetensors file ({error}); copy or train it again") from error
