"""Overlays, palettes and charts: the pixels and the text that must be there."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.core.labels import Labels, binary_labels
from imago.core.palette import IGNORED, color_table, palette_bytes
from imago.draw import overlay as overlay_module
from imago.draw.axes import ticks
from imago.draw.charts import heat_table, line_chart
from imago.draw.overlay import overlay

LABELS = Labels(("background", "cat", "dog"), ((0, 0, 0), (200, 40, 40), (40, 40, 200)))


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def blocks(height: int, width: int) -> np.ndarray:
    label_map = np.zeros((height, width), np.uint8)
    label_map[: height // 2, : width // 2] = 1
    label_map[height // 2 :, : width // 2] = 2
    label_map[:, -(width // 8) :] = 255
    return label_map


# -- palette ------------------------------------------------------------------------------------------------------


def test_palette_has_the_colors_of_the_labels() -> None:
    palette = palette_bytes(LABELS)
    assert len(palette) == 768
    assert palette[:9] == bytes((0, 0, 0, 200, 40, 40, 40, 40, 200))
    assert tuple(palette[-3:]) == IGNORED
    assert not any(palette[9:-3])
    table = color_table(LABELS)
    assert (table[255] == IGNORED).all()
    assert (table[1] == (200, 40, 40)).all()


def test_palette_of_many_classes() -> None:
    full = Labels(tuple(str(i) for i in range(256)), ignore=65535)
    assert len(palette_bytes(full)) == 768
    with pytest.raises(ValueError, match="256 colours; there are more classes, 300"):
        palette_bytes(Labels(tuple(str(i) for i in range(300)), ignore=65535))


# -- overlay ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_wash_outline_and_what_stays(dtype: type) -> None:
    image, label_map = picture(400, 400), blocks(400, 400)
    out = overlay(image, label_map.astype(dtype), LABELS, strength=0.25, legend=False)
    assert out.shape == image.shape
    untouched = (label_map == 0) | (label_map == 255)
    assert (out[untouched] == image[untouched]).all()
    expected = image[100, 100] * 0.75 + np.array((200, 40, 40)) * 0.25
    assert np.abs(out[100, 100].astype(float) - expected).max() <= 0.51
    assert (out[100, 199] == (200, 40, 40)).all()  # the outline: the full colour
    assert (out[200, 100] == (40, 40, 200)).all()
    assert (out[100, 0] != (200, 40, 40)).any()  # the edge of the image is none


def test_strength_of_the_wash() -> None:
    image, label_map = picture(60, 60), np.ones((60, 60), np.uint8)
    assert (overlay(image, label_map, LABELS, strength=0, legend=False) == image).all()
    assert (overlay(image, label_map, LABELS, strength=1, legend=False) == (200, 40, 40)).all()


def test_the_callers_arrays_are_not_painted() -> None:
    image, label_map = picture(64, 64), blocks(64, 64)
    image.setflags(write=False)
    label_map.setflags(write=False)
    before = image.copy()
    for legend in (True, False):
        out = overlay(image, label_map, LABELS, legend=legend)
        assert not np.shares_memory(out, image)
    assert (image == before).all()


def test_gray_photos_are_taken() -> None:
    gray = picture(40, 40)[:, :, 0]
    three = np.repeat(gray[:, :, None], 3, axis=2)
    expected = overlay(three, blocks(40, 40), LABELS)
    assert (overlay(gray, blocks(40, 40), LABELS) == expected).all()
    assert (overlay(gray[:, :, None], blocks(40, 40), LABELS) == expected).all()


def test_strips_have_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(300, 200)
    label_map = np.random.default_rng(1).integers(0, 3, (30, 20)).repeat(10, 0).repeat(10, 1).astype(np.uint8)
    whole = overlay(image, label_map, LABELS, legend=False)
    monkeypatch.setattr(overlay_module, "_STRIP", 200 * 7)
    assert (overlay(image, label_map, LABELS, legend=False) == whole).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (30, 20), (120, 600), (900, 700), (2000, 3000)])
def test_legend_fits_every_size_and_hides_nothing(height: int, width: int) -> None:
    image = picture(height, width)
    label_map = np.zeros((height, width), np.uint8)
    label_map[: height // 2 + 1] = 1
    out = overlay(image, label_map, LABELS)
    bare = overlay(image, label_map, LABELS, legend=False)
    left = (out.shape[1] - width) // 2
    assert (out[:height, left : left + width] == bare).all()
    panel = out[height:]
    assert panel.shape[0] >= 16
    assert (panel == (200, 40, 40)).all(axis=2).any()  # the swatch of the class that is there
    assert not (panel == (40, 40, 200)).all(axis=2).any()  # and not of the one that is not
    bright = np.argwhere(panel.min(axis=2) > 180)  # letters
    assert len(bright) > 20
    assert bright[:, 1].max() < panel.shape[1] - 2  # none is cut off at the right
    assert np.ptp(bright[:, 0]) >= 7  # letters of at least 7 pixels
    assert out.shape[1] <= max(width, 200)


@pytest.mark.parametrize(
    ("image", "label_map", "strength", "words"),
    [
        (np.zeros((1, 4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), 0.5, r"\(H, W\); got uint8 \(1, 4, 4, 3\)"),
        (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), 0.5, "got float32"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.uint8), 0.5, r"image's size \(4, 4\); got uint8 \(4, 5\)"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.int64), 0.5, "got int64"),
        (np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 7, np.uint8), 0.5, "value 7, but there are 3 classes"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), 1.5, "strength must lie between 0 and 1; got 1.5"),
    ],
)
def test_overlay_says_what_it_wants(image: np.ndarray, label_map: np.ndarray, strength: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        overlay(image, label_map, LABELS, strength)


# -- charts -------------------------------------------------------------------------------------------------------

SVG = "{http://www.w3.org/2000/svg}"


def lines_of(svg: str) -> list[list[tuple[float, float]]]:
    root = ElementTree.fromstring(svg)
    return [
        [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())]
        for line in root.iter(f"{SVG}polyline")
    ]


def test_line_chart_draws_each_series_upwards() -> None:
    svg = line_chart({"train": [(0, 1.0), (1, 0.5), (2, 0.25)], "val": [(0, 0.9), (2, 0.4)]}, "Loss", "epoch")
    train, val = lines_of(svg)
    assert [x for x, _ in train] == sorted(x for x, _ in train)
    assert [y for _, y in train] == sorted(y for _, y in train)  # a falling loss: y grows downwards
    assert (train[0][0], train[-1][0]) == (val[0][0], val[-1][0])
    root = ElementTree.fromstring(svg)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert all(0 <= x <= width and 0 <= y <= height for line in (train, val) for x, y in line)
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {"0.2", "1"} <= set(texts)  # both ends of the upright axis are labelled
    assert {"Loss", "epoch", "train", "val"} <= set(texts)


def test_line_chart_leaves_gaps_and_shows_single_points() -> None:
    svg = line_chart({"a": [(0, 1.0), (1, 2.0), (2, math.nan), (3, 1.0), (4, 3.0)], "b": [(2, 2.0)]}, "x")
    assert len(lines_of(svg)) == 2
    assert svg.count("<circle") == 1


@pytest.mark.parametrize("series", [{}, {"a": []}, {"a": [(0, math.nan)]}, {"a": [(5, 5)]}, {"a": [(1, 0), (2, 0)]}])
def test_line_chart_of_next_to_nothing(series: dict[str, list[tuple[float, float]]]) -> None:
    svg = line_chart(series, "nothing yet")
    ElementTree.fromstring(svg)
    assert "nan" not in svg


def test_line_chart_escapes() -> None:
    svg = line_chart({"<b>&": [(0, 0), (1, 1)]}, "<script>", 'a"b')
    ElementTree.fromstring(svg)
    assert "<script>" not in svg


@settings(max_examples=30, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_and_inside(low: float, extent: float) -> None:
    high = low + extent
    if high <= low:
        return
    found = ticks(low, high)
    slack = (high - low) * 1e-6
    assert 1 <= len(found) <= 7
    assert all(low - slack <= tick <= high + slack for tick in found)


def test_heat_table() -> None:
    values = np.array([[0.9, 0.1], [math.nan, math.nan]])
    table = ElementTree.fromstring(heat_table(values, ["a<b", "c&d"]))
    rows = [[cell.text for cell in row] for row in table.iter("tr")]
    assert rows[0][0] == "truth \\ prediction"
    assert rows[1] == ["a<b", "90", "10"]
    assert rows[2] == ["c&d", None, None]
    cells = list(table.iter("td"))
    assert cells[0].attrib["title"] == "a<b taken for a<b: 90.00 %"
    assert "rgba(37,99,235,0.810)" in cells[0].attrib["style"]
    with pytest.raises(ValueError, match="the table must be 2 x 2"):
        heat_table(np.zeros((3, 3)), ["a", "b"])


def test_heat_table_of_many_classes_has_no_numbers() -> None:
    names = [f"class {i}" for i in range(30)]
    table = ElementTree.fromstring(heat_table(np.eye(30), names))
    assert all(cell.text is None for cell in table.iter("td"))
    assert "class 3 taken for class 3: 100.00 %" in {cell.attrib["title"] for cell in table.iter("td")}


def test_binary_labels_are_drawn_in_their_color() -> None:
    labels = binary_labels()
    out = overlay(np.zeros((50, 50, 3), np.uint8), np.ones((50, 50), np.uint8), labels, strength=1, legend=False)
    assert (out == labels.colors[1]).all()
