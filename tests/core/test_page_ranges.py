"""Which pages are meant."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.core.page_ranges import choose_pages, is_open, parse_pages


@pytest.mark.parametrize(
    ("text", "count", "pages"),
    [
        ("3", 5, (3,)),
        ("1,3-5", 9, (1, 3, 4, 5)),
        (" 2 , 1 ", 5, (2, 1)),  # in the order that is asked for
        ("2-3,1-4", 5, (2, 3, 1, 4)),  # each once
        ("4-", 6, (4, 5, 6)),
        ("all", 3, (1, 2, 3)),
        ("7", 5, (7,)),  # what the file has not is said when it is read
        ("7-", 5, (7,)),
    ],
)
def test_pages_by_words(text: str, count: int, pages: tuple[int, ...]) -> None:
    assert choose_pages(text, count) == pages


@pytest.mark.parametrize(
    ("text", "asks"), [("3", False), ("1,3-5", False), ("4-", True), ("1,4-", True), ("all", True)]
)
def test_only_open_ranges_ask_the_file(text: str, asks: bool) -> None:
    assert is_open(text) is asks


@pytest.mark.parametrize("text", ["", "0", "-3", "3-1", "1,,2", "x", "1-2-3", "1.5", "٣", "1000001", "1-9999999999"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="pages are numbers from 1"):
        parse_pages(text)


@settings(max_examples=50)
@given(st.text(alphabet="0123456789,- al", max_size=12), st.integers(0, 20))
def test_whatever_is_written_gives_numbers_from_one_or_one_reason(text: str, count: int) -> None:
    pages: tuple[int, ...] = (1,)
    with contextlib.suppress(ValueError):
        pages = choose_pages(text, count)
    assert pages
    assert min(pages) >= 1
    assert len(set(pages)) == len(pages)
