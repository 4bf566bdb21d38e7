r"""Text that is written down: names that are no text are escaped so that they can be had back.

A file name on Linux is bytes. Where they are not UTF-8, Python holds each of them as a lone surrogate, which no
encoding writes. In JSON, CSV and HTML such a byte stands as ``\xE9``: a backslash, x and two digits. A name that holds
these four characters by itself gets its backslashes doubled, so that ``unescape`` always gives the name that was.
"""

from __future__ import annotations

import json
import re
from typing import Any

# Backslashes, then what has to be told from an escape, or what is one's reason: bytes that are not UTF-8 (U+DC80 to
# U+DCFF), and on Windows other halves of a pair.
_TO_ESCAPE = re.compile(r"(\\*)(?:([\ud800-\udfff])|(?<=\\)(x[89A-F][0-9A-F]|uD[89A-F][0-9A-F]{2}))")
_ESCAPED = re.compile(r"(\\+)(x[89A-F][0-9A-F]|uD[89A-F][0-9A-F]{2})")
# C0, DEL and C1, which a terminal obeys; tab and line feed are wanted in tables.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def escape(text: str) -> str:
    """``text`` that UTF-8 can write; text without lone surrogates, and without what looks like an escape, as it is."""
    return _TO_ESCAPE.sub(lambda found: 2 * found[1] + (_code(found[2]) if found[2] else found[3]), text)


def unescape(text: str) -> str:
    """What ``escape`` was given."""

    def character(found: re.Match[str]) -> str:
        slashes, code = found[1], found[2]
        kept = "\\" * (len(slashes) // 2)
        if len(slashes) % 2 == 0:
            return kept + code
        return kept + chr(0xDC00 + int(code[1:], 16) if code[0] == "x" else int(code[1:], 16))

    return _ESCAPED.sub(character, text)


def _code(surrogate: str) -> str:
    value = ord(surrogate)
    return f"\\x{value - 0xDC00:02X}" if 0xDC80 <= value <= 0xDCFF else f"\\u{value:04X}"


def to_utf8(text: str) -> bytes:
    """``text`` as UTF-8, whatever it holds: see ``escape``."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return escape(text).encode("utf-8")


def to_json(value: Any, indent: int | None = None, ascii_only: bool = False) -> str:
    """JSON of plain values, its text escaped by ``escape``: strict readers refuse a whole file for one lone surrogate.

    ``ascii_only`` is for streams that cannot write all of Unicode.
    """
    text = json.dumps(_escaped(value), indent=indent, ensure_ascii=ascii_only)
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)  # JSON itself leaves DEL and C1 as they are


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, dict):
        return {escape(key) if isinstance(key, str) else key: _escaped(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_escaped(entry) for entry in value]
    return value


def printable(text: str, encoding: str = "utf-8") -> str:
    """``text`` for a terminal or a log in ``encoding``: what it cannot write, and control characters other than tab and
    line feed, as backslash escapes."""
    text = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", _SURROGATE.sub(lambda found: _code(found[0]), text))
    return text.encode(encoding, "backslashreplace").decode(encoding)


def one_line(text: str) -> str:
    """``text`` with its line ends escaped: a name may hold some."""
    return text.replace("\r", "\\x0d").replace("\n", "\\x0a")


_VERBS = {"are": "is", "have": "has"}  # others take an s


def plural(number: int, noun: str, verb: str = "") -> str:
    """``1 photo``, ``2 photos``, ``1 box has``, ``3 boxes have``: ``noun`` in the singular, ``verb`` in the plural."""
    if number != 1:
        noun += "es" if noun.endswith(("s", "x", "ch")) else "s"
    elif verb:
        verb = _VERBS.get(verb, f"{verb}s")
    return " ".join(filter(None, (f"{number:,}" if number >= 10_000 else str(number), noun, verb)))
