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
    state = {name: value.to("meta") for name, value in [*net.named_parameters(), *net.named_buffers()]}
    training = net.training
    net.train()
    try:
        for frame in frames:
            images = torch.empty(batch_size, net.in_channels, *frame, device="meta")
            more = ([torch.zeros(1, 4, device="meta")] * batch_size,) if getattr(net, "wants_proposals", False) else ()
            with torch.no_grad():
                functional_call(net, state, (images, *more))
    except NotImplementedError:
        pass  # what depends on values (which boxes are best) comes behind the layers that can fail by their shapes
    except ValueError as error:
        raise explain(error, model, frame, batch_size) from error
    finally:
        net.train(training)


def explain(error: ValueError, model: str, frame: tuple[int, int], batch_size: int) -> ImagoError:
    """The same in words."""
    at = f"{frame[0]} x {frame[1]}"
    if _ONE_VALUE not in str(error):
        return ImagoError(f"{model} cannot train on frames of {at}: {error}. Set --size, or choose another net")
    return ImagoError(
        f"{model} normalizes over a batch, and of {batch_size} photo{'s' if batch_size > 1 else ''} of {at} one of its "
        "layers sees a single value; train with --batch-size 2 or more (--grad-accum-steps does not help)"
        + ("" if min(frame) > 64 else ", or a larger --size")
    )
