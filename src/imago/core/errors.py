"""The errors that Imago raises on purpose: each message says what was expected, what came and what to do.

All others are faults of Imago; ``describe_fault`` gives their line.
"""

from __future__ import annotations

from pathlib import Path


class ImagoError(Exception):
    """Something the user can mend. Doors print its text in one line; it never needs a traceback."""


class ImageError(ImagoError):
    """An image could not be read: missing, empty, truncated, too large or not an image. Names the file."""


class DataError(ImagoError):
    """A data set is faulty. ``faults`` holds every fault found, one line each, with file names."""

    def __init__(self, message: str, faults: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.faults = faults


class ModelError(ImagoError):
    """A model file, name or architecture cannot be used as asked."""


OUT_OF_MEMORY = "not enough memory; close other programs or make the photo smaller"


_ALLOCATION = (
    "insufficient memory",
    "failed to allocate",
    "bad allocation",
    "bad_alloc",
    "out of memory",
    "not enough memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether that is what an error of Python, OpenCV, ONNX Runtime or PyTorch says, each in its own words."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _ALLOCATION)


def describe_fault(error: BaseException) -> str:
    """One line for an error that nobody foresaw: what it says, and where in the code it was raised."""
    import os
    import traceback  # 20 ms, for what hardly ever happens

    words = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    return f"unforeseen fault: {type(error).__name__}{where}{f' ({words})' if words else ''}"


def fault_line(error: Exception, path: Path | str) -> str:
    """One line, with ``path`` in it, for whatever went wrong with that file, foreseen or not."""
    if isinstance(error, ImagoError):
        line = str(error)
    elif is_out_of_memory(error):
        line = OUT_OF_MEMORY
    elif isinstance(error, OSError):
        line = error.strerror or str(error)
    else:
        line = describe_fault(error)
    return line if str(path) in line else f"{path}: {line}"
