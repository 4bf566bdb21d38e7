"""Tables of plain values into dataclasses: each type, and what is not it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imago.core.plain_values import build, convert, parse_json


@dataclass(frozen=True)
class Inner:
    side: int = 1

    def __post_init__(self) -> None:
        if self.side < 1:
            raise ValueError(f"side must be 1 or more; got {self.side}")


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner | None = None
    pair: tuple[int, int] = (1, 1)


KINDS: tuple[Any, ...] = (
    str, int, float, bool, Literal["a", "b"], int | None, tuple[int, ...], tuple[int, int], dict[str, float], Inner,
)  # fmt: skip


@pytest.mark.parametrize(
    ("value", "hint", "read"),
    [
        ("x", str, "x"),
        (3, float, 3.0),
        ([1, 2], tuple[int, int], (1, 2)),
        ([], tuple[str, ...], ()),
        (None, int | None, None),
        ({"a": 1}, dict[str, float], {"a": 1.0}),
        ({"side": 2}, Inner, Inner(2)),
        ([[1, 2, 3]], tuple[tuple[int, int, int], ...], ((1, 2, 3),)),
    ],
)
def test_what_is_read(value: Any, hint: Any, read: Any) -> None:
    assert convert(value, hint, "x") == read


@pytest.mark.parametrize(
    ("value", "hint", "words"),
    [
        (True, int, r"x must be a whole number; got true"),
        (1, bool, r"x must be true or false; got 1"),
        (3.0, int, r"x must be a whole number; got 3\.0"),
        ("3", float, r'x must be a number; got "3"'),
        (float("nan"), float, r"x must be a number; got NaN"),
        (10**400, float, r"x must be a number; got 1000.* \.\.\."),
        ("c", Literal["a", "b"], r"x must be one of 'a', 'b'"),
        ([1], tuple[int, int], r"x must be a list of 2 whole numbers; got \[1\]"),
        ("ab", tuple[str, ...], r"x must be a list of texts"),
        ([1, "2"], tuple[int, ...], r"x\[1\] must be a whole number"),
        ({"a": "b"}, dict[str, float], r"x\.a must be a number"),
        ({"side": 0}, Inner, r"x: side must be 1 or more"),
        ({"size": 0}, Inner, r"unknown settings x\.size; known are side"),
        (None, Inner, r"x must be a table"),
    ],
)
def test_what_is_not(value: Any, hint: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        convert(value, hint, "x")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "name is missing"),
        ([], r"it must be a table of settings; got \[\]"),
        ({"name": "a", "nmae": 1}, "unknown settings nmae; known are inner, name, pair"),
        ({"name": "a", "inner": {"side": []}}, r"inner\.side must be a whole number; got \[\]"),
    ],
)
def test_tables_that_do_not_fit(values: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(Outer, values)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.just("side"), inner, max_size=2)
    ),
    max_leaves=5,
)


@given(anything, st.sampled_from(KINDS))
def test_nothing_else_is_raised(value: Any, hint: Any) -> None:
    try:
        read = convert(value, hint, "x")
    except ValueError as error:
        assert str(error).startswith(("x", "unknown settings x"))  # noqa: PT017  it may be raised
        return
    assert convert(read, hint, "x") == read if not isinstance(read, Inner) else read.side >= 1


def test_nesting_without_end() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * 100_000)
