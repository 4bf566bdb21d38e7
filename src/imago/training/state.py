"""Where a run stands, and the state of one that was interrupted: one ``.safetensors`` file, replaced in one go, and
nothing unpickled."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from imago.core.errors import ModelError
from imago.files.stopping import part_file
from imago.training.optim import MovingAverage

KEY = "imago-resume"


@dataclass
class Progress:
    """Where a run stands. Saved with the state, as JSON."""

    epoch: int = 0  # epochs done
    step_in_epoch: int = 0
    step: int = 0  # steps done in all
    seconds: float = 0.0  # time spent, over all sittings
    best: float = -1.0
    best_loss: float | None = None  # of the validation with the best score, where it is worked out
    best_epoch: int = 0
    side_px: int = 0  # of the frames of the epoch under way
    loss_sum: float = 0.0  # of the epoch under way
    lr: float = 0.0  # of the last step
    history: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False


def save_state(
    path: Path, net: nn.Module, optimizer: torch.optim.Optimizer, average: MovingAverage | None, notes: dict[str, Any]
) -> None:
    """``notes`` is plain JSON: counters, history, best score, classes. Raises ModelError where there is no room."""
    tensors = {f"net.{name}": value for name, value in net.state_dict().items()}
    if average:
        tensors |= {f"ema.{name}": value for name, value in average.values.items()}
    scalars: dict[str, Any] = {}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                scalars[f"{index}.{name}"] = value
    # Copies: safetensors refuses tensors that share memory, and channels-last ones.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    for left in path.parent.glob(f".{path.name}.*.part"):  # of a run that was killed while it wrote
        left.unlink(missing_ok=True)
    with part_file(path.with_name(f".{path.name}.{os.getpid()}.part")) as part:
        try:
            save_file(tensors, part, {KEY: json.dumps({"notes": notes, "scalars": scalars})})
            os.replace(part, path)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path}: the state could not be written ({error})") from error


def _match_layout(state: dict[int, dict[str, Any]], optimizer: torch.optim.Optimizer) -> None:
    """Gives each tensor the memory layout of its weight (channels last), as it had before it was saved: other code
    would run over it else, whose last bits may differ."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for index, values in state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == weights[index].shape:
                values[name] = torch.empty_like(weights[index], dtype=value.dtype).copy_(value)


def read_notes(path: Path) -> dict[str, Any]:
    """The notes alone. Raises ModelError where the file is no state."""
    try:
        with safe_open(path, framework="pt") as stored:
            return dict(json.loads(stored.metadata()[KEY])["notes"])
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: the run cannot be resumed from it ({error}); start anew without --resume") from error


def load_state(
    path: Path, net: nn.Module, optimizer: torch.optim.Optimizer, average: MovingAverage | None
) -> dict[str, Any]:
    """Puts the saved values back and returns the notes. Raises ModelError where the file does not fit."""
    try:
        with safe_open(path, framework="pt") as stored:
            head = json.loads(stored.metadata()[KEY])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        parts: dict[str, dict[str, torch.Tensor]] = {"net": {}, "ema": {}, "optimizer": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            part = "optimizer" if part == "optimiser" else part  # before settings had a version
            parts[part][rest] = value
        net.load_state_dict(parts["net"])
        if average:
            for name, value in average.values.items():
                value.copy_(parts["ema"][name])
        whole = optimizer.state_dict()
        state: dict[int, dict[str, Any]] = {}
        for key, value in [*parts["optimizer"].items(), *head["scalars"].items()]:
            index, _, name = key.partition(".")
            state.setdefault(int(index), {})[name] = value
        _match_layout(state, optimizer)
        optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
    except (SafetensorError, OSError, KeyError, ValueError, IndexError, TypeError, RuntimeError) as error:
        raise ModelError(f"{path}: the run cannot be resumed from it ({error}); start anew without --resume") from error
    return head["notes"]
