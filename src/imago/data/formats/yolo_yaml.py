"""``data.yaml`` of a YOLO data set: the few keys that matter, read without a YAML library (Imago has none).

Understood are, at the left margin, ``key: value`` with a plain or quoted word, ``[a, 'b']`` on one or more lines, ``{0:
a, 1: b}``, and under ``names:`` indented lines ``- a`` or ``0: a``. Other keys are passed over. What is written in
another way under one of KEYS (anchors, tags, texts of several lines) is refused, with its line.
"""

from __future__ import annotations

import re
from pathlib import Path

from imago.core.errors import DataError
from imago.files.text import read_text

KEYS = ("path", "train", "val", "test", "nc", "names")
Value = str | list[str] | dict[str, str]

_QUOTED = re.compile(r"""'((?:[^']|'')*)'|"([^"\\]*)\"""")  # a backslash in double quotes is refused
_KEY = re.compile(r"""(?:'([^']*)'|"([^"\\]*)"|([\w.-]+))\s*:(?:\s+|$)""")


def read_yolo_yaml(path: Path) -> dict[str, Value]:
    """KEYS that the file has -> word, list or mapping, all as text. Raises DataError that names the line."""
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text in UTF-8 ({error})") from error
    found: dict[str, Value] = {}
    at = 0
    while at < len(lines):
        number, text = at + 1, _strip_comment(lines[at])
        at += 1
        key = _KEY.match(text)
        if key is None or _name(key) not in KEYS:
            continue
        if _name(key) in found:
            raise DataError(f"{path}, line {number}: {_name(key)} stands twice")
        block = []
        # A list may stand at the left margin too; so its lines belong to the key as the indented ones do.
        while at < len(lines) and (not _strip_comment(lines[at]) or lines[at][:1] in " \t-]}"):
            block.append(_strip_comment(lines[at]))
            at += 1
        try:
            found[_name(key)] = _value(text[key.end() :].strip(), [line.strip() for line in block if line])
        except ValueError as error:
            raise DataError(
                f"{path}, line {number}: {_name(key)}: {error}; write it as a word, [a, b], or lines of '- a' or '0: a'"
            ) from error
    return found


def _strip_comment(line: str) -> str:
    """Without the comment and the spaces at the end. A # inside of quotes is none."""
    for index, outside in enumerate(_blank_quotes(line)):
        if outside and line[index] == "#" and (index == 0 or line[index - 1] in " \t"):
            return line[:index].rstrip()
    return line.rstrip()


def _blank_quotes(text: str) -> list[bool]:
    """For each letter. A quote opens at the beginning of a word alone: ``dog's`` has none."""
    found, quote = [], ""
    for index, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
            found.append(False)
        elif letter in "'\"" and text[:index].rstrip()[-1:] in ("", ":", ",", "[", "{", "-"):
            quote = letter
            found.append(False)
        else:
            found.append(True)
    return found


def _name(key: re.Match[str]) -> str:
    return next(group for group in key.groups() if group is not None)


def _value(text: str, block: list[str]) -> Value:
    if text[:1] in ("[", "{"):
        whole = " ".join([text, *block])
        if whole[-1] != {"[": "]", "{": "}"}[whole[0]]:
            raise ValueError(f"{whole[0]} is not closed")
        parts = _parts(whole[1:-1])
        return [_word(part) for part in parts] if whole[0] == "[" else _mapping(parts)
    if text:
        if block:
            raise ValueError(f"a text of several lines is not understood ({block[0]!r})")
        return _word(text)
    if block and block[0].startswith("-"):
        if not all(re.match(r"-\s+\S", line) for line in block):
            raise ValueError("a line of the list does not begin with '- '")
        return [_word(line[1:].strip()) for line in block]
    return _mapping(block)


def _mapping(parts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in parts:
        key = _KEY.match(part)
        if key is None:
            raise ValueError(f"{part!r} is no 'number: name'")
        if _name(key) in found:
            raise ValueError(f"{_name(key)} stands twice")
        found[_name(key)] = _word(part[key.end() :].strip())
    return found


def _parts(text: str) -> list[str]:
    """Split at the commas outside of quotes; one at the end ends nothing."""
    outside = _blank_quotes(text)
    commas = [index for index, letter in enumerate(text) if letter == "," and outside[index]]
    parts = [text[a + 1 : b].strip() for a, b in zip([-1, *commas], [*commas, len(text)], strict=True)]
    return parts if parts[-1] else parts[:-1]


def _word(text: str) -> str:
    quoted = _QUOTED.fullmatch(text)
    if quoted:
        return (quoted[1] or "").replace("''", "'") or quoted[2] or ""
    if not text or text[0] in "&*!|>%@`[]{}\"',?" or ": " in text:
        raise ValueError(f"{text!r} is not understood")
    return text
