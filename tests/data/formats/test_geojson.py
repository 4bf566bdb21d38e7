"""GeoJSON in pixels, as QuPath exports it: every shape of file, holes and parts, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imago.core.errors import DataError
from imago.data.check import check_samples
from imago.data.formats.catalog import FORMATS
from imago.data.open_dataset import OpenOptions, open_dataset, survey_dataset

RING = [[2, 2], [12, 2], [12, 12], [2, 12], [2, 2]]
HOLE = [[5, 5], [8, 5], [8, 8], [5, 8], [5, 5]]
FAR = [[15, 15], [19, 15], [19, 18], [15, 18], [15, 15]]


def feature(kind: str, coordinates: Any, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def folder(root: Path, content: Any, name: str = "a.geojson") -> Path:
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(root / "a.tif")
    (root / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return root


TUMOR = {"classification": {"name": "Tumor", "color": [200, 0, 0]}, "objectType": "annotation"}
WHOLE = feature("Polygon", [RING, HOLE], **TUMOR)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ({"type": "FeatureCollection", "features": [WHOLE]}, "a.geojson"),
        ({"type": "FeatureCollection", "features": [WHOLE]}, "a.json"),
        ([WHOLE], "a.tif.geojson"), (WHOLE, "a.geojson"),
    ],
)  # fmt: skip
def test_the_shapes_of_a_file(content: Any, name: str, tmp_path: Path) -> None:
    dataset = open_dataset(folder(tmp_path, content, name), "detection")
    assert dataset.format == FORMATS["geojson"].name
    assert dataset.labels.names == ("background", "Tumor")
    assert dataset.split("all")[0].instances().areas.tolist() == [100 - 9]


def test_parts_names_and_an_empty_file(tmp_path: Path) -> None:
    features = [
        feature("MultiPolygon", [[RING], [FAR]], label="b"),
        feature("Polygon", [FAR]),
        feature("Point", [12, 10]),
    ]
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(tmp_path / "b.png")
    (tmp_path / "b.geojson").write_text("")
    dataset = open_dataset(folder(tmp_path, {"type": "FeatureCollection", "features": features}), "detection")
    by_name = {sample.name: sample.instances() for sample in dataset.split("all")}
    assert by_name["a"].areas.tolist()[:2] == [112, 12]
    assert [dataset.labels.names[value] for value in by_name["a"].classes] == ["b", "object", "object"]
    assert len(by_name["b"]) == 0


def test_degrees_are_refused(tmp_path: Path) -> None:
    ring = [[-43.772, -22.9222, 0], [-43.7721, -22.9222, 0], [-43.7721, -22.9223, 0], [-43.772, -22.9222, 0]]
    with pytest.raises(DataError) as caught:
        open_dataset(
            folder(tmp_path, {"type": "FeatureCollection", "features": [feature("Polygon", [ring])]}), "detection"
        )
    assert "look like longitudes and latitudes; expected pixels" in caught.value.faults[0]


JUNK: list[Any] = [
    None,
    -1,
    2**70,
    float("nan"),
    "x",
    [],
    {},
    [[]],
    [[[]]],
    [[["a", "b"]]],
    [[1, 2]],
    [[[1, 2, 3]]],
    True,
]


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(["type", "geometry", "properties", "coordinates", "kind", "name", ""]), st.sampled_from(JUNK))
def test_whatever_stands_there(tmp_path_factory: pytest.TempPathFactory, key: str, value: Any) -> None:
    root = tmp_path_factory.mktemp("geojson")
    one = json.loads(json.dumps(WHOLE))
    if key == "coordinates":
        one["geometry"]["coordinates"] = value
    elif key == "kind":
        one["geometry"]["type"] = value
    elif key == "name":
        one["properties"]["classification"] = value
    elif key:
        one[key] = value
    folder(root, {"type": "FeatureCollection", "features": [WHOLE, one] if key else value})
    try:
        dataset, faults = survey_dataset(root, OpenOptions("detection"))
        faults += check_samples(dataset.split("all"), dataset.labels).faults
    except DataError as error:
        faults = (str(error),)
    assert not any("\n" in fault or "unforeseen" in fault for fault in faults), faults
