"""Samples, read in threads while the caller is busy with those before them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_AHEAD = 2  # for each thread, images read while the caller works

Sample = TypeVar("Sample")
Read = TypeVar("Read")


def read_ahead(samples: Iterable[Sample], read: Callable[[Sample], Read], threads: int = 1) -> Iterator[Read]:
    """What ``read`` makes of each sample, in their order. Raises what ``read`` raises."""
    with ThreadPoolExecutor(threads, thread_name_prefix="imago-read") as pool:
        waiting: deque[Future[Read]] = deque()
        try:
            for sample in samples:
                waiting.append(pool.submit(read, sample))
                if len(waiting) > _AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
