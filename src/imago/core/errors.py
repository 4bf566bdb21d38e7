"""The errors that Imago raises on purpose: each message says what was expected, what came and what to do."""


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
