"""Named dots: no name lies over another, whatever the dots."""

from __future__ import annotations

import math
import re
from itertools import combinations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imago.comparison.page import extremes
from imago.draw.axes import HEIGHT
from imago.draw.placing import DOT, HIGH, PlacedName, place_names
from imago.draw.scatter import scatter_chart

Box = tuple[float, float, float, float]
ROOM = (58.0, 34.0, 446.0, 224.0)
# A coarse net of places: many dots coincide, and many are near each other.
PLACES = st.tuples(st.integers(0, 12), st.integers(0, 8)).map(lambda at: (62.0 + 31 * at[0], 40.0 + 22 * at[1]))
ANYWHERE = st.tuples(st.floats(58, 446), st.floats(34, 224))


def meet(one: Box, two: Box) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]


def distance(dot: tuple[float, float], box: Box) -> float:
    return math.hypot(max(box[0] - dot[0], 0, dot[0] - box[2]), max(box[1] - dot[1], 0, dot[1] - box[3]))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.one_of(PLACES, ANYWHERE), st.integers(2, 22)), max_size=14))
@example([((250.0, 130.0), 22)] * 14)
@example([((58.0, 34.0), 8), ((446.0, 224.0), 8), ((446.0, 34.0), 8), ((58.0, 224.0), 8)])
def test_no_name_over_another(named: list[tuple[tuple[float, float], int]]) -> None:
    dots, widths = [dot for dot, _ in named], [6.6 * letters for _, letters in named]
    found = place_names(dots, widths, ROOM)
    assert found is not None
    assert len(found) == len(named)
    assert not any(meet(one.box, two.box) for one, two in combinations(found, 2))
    for dot, width, place in zip(dots, widths, found, strict=True):
        left, top, right, bottom = place.box
        assert ROOM[0] <= left < right <= ROOM[2]
        assert ROOM[1] <= top < bottom <= ROOM[3]
        assert (right - left, bottom - top) == (pytest.approx(width, abs=0.11), pytest.approx(HIGH))
        if place.line is None:
            assert distance(dot, place.box) < 2 * DOT  # beside its dot
        else:
            assert math.dist(place.line[:2], dot) < 0.2
            assert distance(place.line[2:], place.box) < 0.2


def one(dots: list[tuple[float, float]], width: float = 40) -> list[PlacedName]:
    found = place_names(dots, [width] * len(dots), ROOM)
    assert found is not None
    return found


def test_a_name_stands_beside_its_dot_where_it_can() -> None:
    (alone,) = one([(200.0, 100.0)])
    assert alone.line is None
    assert alone.box[0] > 200
    assert alone.box[3] < 100 + DOT
    (at_the_edge,) = one([(440.0, 100.0)])
    assert at_the_edge.box[2] < 440
    lines = [place.line for place in one([(200.0, 100.0)] * 9)]
    assert lines[0] is None
    assert lines[-1] is not None  # there are eight places at most


def test_names_leave_dots_free_where_they_can() -> None:
    """A column of dots to the right of another: names on their side would hide them."""
    dots = [(200.0, 60.0 + 14 * n) for n in range(6)] + [(215.0, 60.0 + 14 * n) for n in range(6)]
    boxes = [(x - DOT, y - DOT, x + DOT, y + DOT) for x, y in dots]
    assert not any(meet(place.box, box) for place in one(dots) for box in boxes)


def test_names_stand_off_the_lines_of_the_chart_where_they_can() -> None:
    (place,) = place_names([(200.0, 100.0)], [40.0], ROOM, [(200.0, 100.0, 300.0, 90.0)]) or ()
    assert place.line is None
    assert place.box[2] < 200
    around = [(200.0, 100.0, 200 + 90 * math.cos(turn / 9), 100 + 90 * math.sin(turn / 9)) for turn in range(57)]
    (place,) = place_names([(200.0, 100.0)], [40.0], ROOM, around) or ()
    assert place.line is None  # crossed wherever it stands: the first place


def test_what_does_not_fit_makes_the_chart_higher() -> None:
    assert place_names([(100.0, 100.0)] * 40, [300.0] * 40, ROOM) is None
    assert place_names([(100.0, 100.0)], [400.0], ROOM) is None
    few, many = (
        scatter_chart({f"{n:02d} {'name' * 30}": (1.0, 2.0) for n in range(count)}, "t", "x", "y") for count in (2, 40)
    )
    heights = [int(re.findall(r'viewBox="0 0 460 (\d+)"', chart)[0]) for chart in (few, many)]
    assert heights[0] == HEIGHT < heights[1]
    assert "namenamena…" in few
    assert many.count("<circle") == 40
    assert many.count("<path") > 30


def test_far_apart_on_a_logarithmic_axis() -> None:
    """R-CNN takes seconds, YOLO milliseconds: on a plain axis all but one would stand in one place."""

    def places(slowest: float) -> tuple[list[float], str]:
        chart = scatter_chart(
            {"a": (10.0, 0.1), "b": (100.0, 0.2), "c": (slowest, 0.3)}, "t", "ms", "AP", ("a", "b", "c")
        )
        return [float(x) for x in re.findall(r'cx="([\d.]+)"', chart)], chart

    (fast, middle, slow), chart = places(1000.0)
    assert middle - fast == pytest.approx(slow - middle, abs=0.2)
    assert [tick for tick in ("10", "20", "50", "100", "200", "500", "1,000") if f">{tick}</text>" not in chart] == []
    (fast, middle, slow), _ = places(299.0)
    assert (middle - fast) / (slow - fast) == pytest.approx(90 / 289, abs=0.01)
    assert ">1e+03<" not in places(10_000_000.0)[1]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.2, 0.5, math.nan], (0.2, 0.5)),
        ([0.5, 0.2, 0.5], (0.2, 0.5)),
        ([0.0, 0.0], None),  # a class that nobody finds
        ([0.7, 0.7, math.nan], None),
        ([0.7], None),
        ([math.nan], None),
        ([], None),
    ],
)
def test_who_is_the_best(scores: list[float], expected: tuple[float, float] | None) -> None:
    found = extremes(scores)
    assert found == expected if expected else all(map(math.isnan, found))
