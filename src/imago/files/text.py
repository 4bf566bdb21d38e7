"""Text that the user wrote: UTF-8, or what its byte order mark says (PowerShell's ``>`` writes UTF-16)."""

from __future__ import annotations

import codecs
import tomllib
from pathlib import Path
from typing import Any

from imago.core.errors import DataError
from imago.core.plain_values import parse_json

# The mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decode_text(data: bytes, errors: str = "strict") -> str:
    """The text without its mark. ``errors``: as for ``bytes.decode``. Raises UnicodeDecodeError, a ValueError."""
    mark, encoding = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", "utf-8"))
    return data[len(mark) :].decode(encoding, errors).replace("\r\n", "\n").replace("\r", "\n")


def read_text(path: Path, errors: str = "strict") -> str:
    """The text of a file, its lines ended by ``\\n``. Raises OSError and, see ``errors``, UnicodeDecodeError."""
    return decode_text(path.read_bytes(), errors)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The table in a TOML file; ``what`` it is, for the DataError where it cannot be read."""
    try:
        return tomllib.loads(read_text(path))
    except OSError as error:
        raise DataError(f"{path}: the {what} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise DataError(f"{path}: not a TOML file ({error})") from error


def read_json(path: Path) -> Any:
    """Raises OSError, and ValueError for what is no text or no JSON."""
    return parse_json(read_text(path))
