"""What would break at the first step, or at an epoch's first small frame, is found before: the net is run on tensors
that have shapes and no values, which costs nothing."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.func import functional_call

from imago.core.errors import ImagoError
from imago.training.tasks.base import Net

_ONE_VALUE = "Expected more than 1 value per channel"  # torch's batch norm


def check_frames(net: Net, frames: Iterable[tuple[int, int]], batch_size: int, model: str) -> None:
    """Raises ImagoError where ``net`` cannot train on batches of ``batch_size`` photos of one of ``frames`` (h, w)."""
    training = net.training
    net.train()
    try:
        for frame in frames:
            fault = _find_fault(net, frame, batch_size)
            if fault is None:
                continue
            if _ONE_VALUE not in str(fault):
                at = f"{frame[0]} x {frame[1]}"
                raise ImagoError(f"{model} cannot train on frames of {at}: {fault}. Set --size, or choose another net")
            larger = _find_fault(net, (8 * frame[0], 8 * frame[1]), batch_size) is None
            raise ImagoError(
                f"{model} normalizes over a batch, and of {batch_size} photo of {frame[0]} x {frame[1]} one of its "
                f"layers sees a single value; train with --batch-size 2 or more"
                f"{', or a larger --size' if larger else ''} "
                "(--grad-accum-steps does not help)"
            )
    finally:
        net.train(training)


def _find_fault(net: Net, frame: tuple[int, int], batch_size: int) -> ValueError | None:
    state = {name: value.to("meta") for name, value in [*net.named_parameters(), *net.named_buffers()]}
    images = torch.empty(batch_size, net.in_channels, *frame, device="meta")
    proposals = ([torch.zeros(1, 4, device="meta")] * batch_size,) if getattr(net, "wants_proposals", False) else ()
    try:
        with torch.no_grad():
            functional_call(net, state, (images, *proposals))
    except NotImplementedError:
        return None  # what depends on values (the best boxes) comes behind the layers that can fail by their shapes
    except ValueError as error:
        return error
    return None
