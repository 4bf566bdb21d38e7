"""Tables within a width."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.core.table import align_columns

ROWS = [("NAME", "SIZE", "SCORES"), ("subject", "4.6 MB", "IoU 0.912, MAE 0.024, boundary F 0.801"), ("x", "1 kB", "-")]


def test_whole_where_nothing_says_how_wide() -> None:
    assert align_columns(ROWS, right=False, rule=False).splitlines() == [
        "NAME     SIZE    SCORES",
        "subject  4.6 MB  IoU 0.912, MAE 0.024, boundary F 0.801",
        "x        1 kB    -",
    ]


def test_numbers_to_the_right_under_a_rule() -> None:
    assert align_columns([("class", "IoU"), ("a", "0.5")]).splitlines() == ["class  IoU", "-----  ---", "a      0.5"]


def test_the_widest_column_is_wrapped() -> None:
    assert align_columns(ROWS, 40, right=False, rule=False).splitlines() == [
        "NAME     SIZE    SCORES",
        "subject  4.6 MB  IoU 0.912, MAE 0.024,",
        "                 boundary F 0.801",
        "x        1 kB    -",
    ]


CELLS = st.text(alphabet="abcdefgh 0123.,", max_size=40).map(lambda text: " ".join(text.split()))
TABLES = st.integers(1, 5).flatmap(lambda n: st.lists(st.tuples(*[CELLS] * n), min_size=1, max_size=5))


@settings(max_examples=50)
@given(TABLES, st.integers(20, 120), st.booleans(), st.booleans())
def test_no_line_is_wider_and_no_word_is_lost(rows: list[tuple[str, ...]], width: int, right: bool, rule: bool) -> None:
    least = len(rows[0]) * 6 + 2 * (len(rows[0]) - 1)  # columns keep six characters
    text = align_columns(rows, width, right=right, rule=rule)
    assert max(map(len, text.splitlines()), default=0) <= max(width, least)
    said = re.sub(r"[\s-]", "", text)
    assert sorted(said) == sorted(re.sub(r"\s", "", "".join("".join(row) for row in rows)))


@pytest.mark.parametrize("width", [1, 5, 0])
def test_a_terminal_that_is_too_narrow(width: int) -> None:
    assert "subjec" in align_columns(ROWS, width)
