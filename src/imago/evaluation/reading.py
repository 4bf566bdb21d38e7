"""Annotated images, decoded in a thread while the net is busy with the one before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from imago.core.input_spec import InputSpec

_AHEAD = 2  # images read while the net runs

Sample = TypeVar("Sample")
Read = TypeVar("Read")


def read_for(spec: InputSpec, sample: Any) -> np.ndarray:
    """The image of ``sample``, uint8 (H, W, C), as the model of ``spec`` sees it: deep values are scaled by its own
    ranges."""
    if spec.ranges and hasattr(sample, "ranges"):
        sample = replace(sample, ranges=spec.ranges)
    image: np.ndarray = sample.image()
    return image


def read_ahead(samples: Iterable[Sample], read: Callable[[Sample], Read]) -> Iterator[Read]:
    """What ``read`` makes of each sample, in their order. Raises what ``read`` raises."""
    with ThreadPoolExecutor(1, thread_name_prefix="imago-read") as pool:
        waiting: deque[Future[Read]] = deque()
        try:
            for sample in samples:
                waiting.append(pool.submit(read, sample))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
