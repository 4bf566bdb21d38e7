"""Checkpoints: weights and model card in one ``.safetensors`` file, all that is needed to use the net again.

Nothing is ever unpickled: a file cannot run code. The state of a training that is to go on is kept apart from these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as packed
from torch import Tensor, nn

from imago.core.errors import ModelError
from imago.core.model_card import DETECTION_TASKS, METADATA_KEY, ModelCard
from imago.files.model_file import read_safetensors_card
from imago.files.writing import atomic_write
from imago.models.catalog import Net, build, task_of


def save(net: Net, card: ModelCard, path: Path, *, half: bool = False) -> None:
    """Write ``net`` and ``card`` to ``path``: beside it first, then renamed, so that no half-written file is ever seen.

    ``half`` stores matrices and convolutions as float16; biases and norms (small, and sensitive) stay float32.
    """
    tensors = {name: _to_stored(name, tensor, half) for name, tensor in net.state_dict().items()}
    card = card.with_(precision="float16" if half else "float32")
    with atomic_write(path, overwrite=True, synced=True) as stream:
        # Not save_file, whose files only their owner may read.
        stream.write(packed(tensors, metadata={METADATA_KEY: card.to_json()}))


def _to_stored(name: str, tensor: Tensor, half: bool) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    if not tensor.is_floating_point():
        return tensor
    if not (half and tensor.ndim > 1):
        return tensor.float()
    small = tensor.half()
    if torch.isinf(small).any():
        raise ModelError(f"weights of {name} go past 65504, the largest float16; save with half=False")
    return small


def load(path: Path, device: torch.device | str = "cpu") -> tuple[Net, ModelCard]:
    """The net of a checkpoint, float32, in ``eval()`` mode on ``device``, and its card.

    The net is a ``SegmentationNet`` or a ``DetectionModel``, as the card's task says. Raises ModelError that names the
    file where it is missing, damaged, or does not hold what its card says.
    """
    tensors = _read(path)  # first: it also finds files that are missing or cut short
    card = read_safetensors_card(path)
    if not card.architecture:
        raise ModelError(f"{path}: its card names no architecture; only files written by imago train can be loaded")
    # Weights come from the file, not from the network. JSON has made lists of tuples; the builders take both.
    options = {name: value for name, value in card.options.items() if name != "pretrained"}
    with torch.random.fork_rng(devices=[]):  # the fresh weights that are overwritten must not move the random stream
        try:
            net = build(card.architecture, **options)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
    if (task_of(card.architecture) == "detection") != (card.task in DETECTION_TASKS):
        raise ModelError(f"{path}: its card says task {card.task!r}, which is not what {card.architecture} does")
    copy_strictly(net, tensors, path)
    return net.to(device).eval(), card


def load_average(paths: Sequence[Path], device: torch.device | str = "cpu") -> tuple[Net, ModelCard]:
    """The net whose weights are the mean of those of several checkpoints, and the first one's card.

    Sittings that began from the same weights lie in one basin: their mean often answers better than each of them
    (Wortsman et al. 2022, "Model soups", arXiv:2203.05482). Raises ModelError where they are not one net.
    """
    net, card = load(paths[0], device)
    total = {name: tensor.double() for name, tensor in net.state_dict().items() if tensor.is_floating_point()}
    for path in paths[1:]:
        other, other_card = load(path, device)
        for what, ours in _facts_of_net(card).items():
            if _facts_of_net(other_card)[what] != ours:
                raise ModelError(
                    f"{path}: {what} and {paths[0]}'s are not the same; only weights of one net are averaged"
                )
        for name, tensor in other.state_dict().items():
            if name in total:
                total[name] += tensor
    net.load_state_dict({name: (tensor / len(paths)).float() for name, tensor in total.items()}, strict=False)
    return net, card


def _facts_of_net(card: ModelCard) -> dict[str, Any]:
    """What weights must share to be averaged. Sittings may differ in size, and in where they began."""
    options = {name: value for name, value in card.options.items() if name != "pretrained"}
    seen = replace(card.input, size_hw=(1, 1), multiple=1)
    return {"architecture": card.architecture, "options": options, "labels": card.labels, "input": seen}


def copy_strictly(net: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """``tensors`` into ``net``; ModelError that names ``path`` unless names and shapes are the same on both sides."""
    own = net.state_dict()
    missing = sorted(own.keys() - tensors.keys())
    surplus = sorted(tensors.keys() - own.keys())
    other = [
        f"{name} is {tuple(tensors[name].shape)} in the file, {tuple(own[name].shape)} in the net"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    faults = [
        f"{len(names)} tensors {what}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
        for names, what in ((missing, "are missing"), (surplus, "have no place"), (other, "have another shape"))
        if names
    ]
    if faults:
        raise ModelError(f"{path}: the weights do not fit the net: {'; '.join(faults)}")
    net.load_state_dict(tensors)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: there is no such file") from error
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: not a whole .safetensors file ({error}); copy or export it again") from error
