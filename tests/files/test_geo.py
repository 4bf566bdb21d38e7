"""Georeferenced pictures: their coordinate system and transform are kept in masks and outlines."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_finders import write_finder
from tiny_onnx import write_tiny

from imago.cli.main import run
from imago.core.errors import ImageError
from imago.core.labels import Labels
from imago.files.images import read_image
from imago.inference.load import load

rasterio = pytest.importorskip("rasterio")
pyogrio = pytest.importorskip("pyogrio")
shapely = pytest.importorskip("shapely")

LABELS = Labels(("background", "house", "water"))
UTM33, TURNED = "EPSG:32633", "EPSG:31468"
NORTH_UP = rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_500_000)
ROTATED = rasterio.Affine(1.9, 1.0, 4_468_000, 0.7, -2.8, 5_333_000)
DEGREES = rasterio.Affine(1e-5, 0, -43.77, 0, -1e-5, -22.92)


def write_map(path: Path, crs: str | None = UTM33, transform: object = NORTH_UP) -> Path:
    """A lake with an island, and a house, on red ground, 300 x 400."""
    pixels = np.zeros((300, 400, 3), np.uint8)
    pixels[...] = 255, 0, 0
    cv2.circle(pixels, (100, 100), 60, (0, 0, 255), -1)
    cv2.circle(pixels, (100, 100), 25, (255, 0, 0), -1)
    pixels[150:280, 220:380] = 0, 255, 0
    with rasterio.open(
        path, "w", driver="GTiff", width=400, height=300, count=3, dtype="uint8", crs=crs, transform=transform,
        photometric="RGB",
    ) as target:  # fmt: skip
        target.write(pixels.transpose(2, 0, 1))
    return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_tiny(tmp_path / "net.onnx", 3, labels=LABELS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def segment(*words: str) -> int:
    return run(["segment", *words, "--model", "net.onnx"])


@pytest.mark.parametrize(("crs", "transform"), [(UTM33, NORTH_UP), (TURNED, ROTATED), ("EPSG:4326", DEGREES)])
def test_masks_and_outlines_lie_where_the_picture_does(place: Path, crs: str, transform: object) -> None:
    write_map(place / "map.tif", crs, transform)
    assert segment("map.tif", "--save", "mask,geotiff,geojson,gpkg") == 0
    mask = np.asarray(Image.open("map.mask.png"))
    assert set(np.unique(mask)) == {0, 1, 2}
    with rasterio.open("map.mask.tif") as written:
        assert written.crs == rasterio.CRS.from_string(crs)
        assert written.transform.almost_equals(transform)
        assert np.array_equal(written.read(1), mask)
        assert written.tags(1)["CLASS_2"] == "water"
        assert written.colormap(1)[2][:3] == LABELS.colors[2]
        assert written.profile["tiled"]
        shape_hw, affine = written.shape, written.transform

    # GeoPackage: in the picture's own system; the pixels come back exactly.
    meta, _, wkb, (names, values, *_) = pyogrio.raw.read("map.gpkg")
    assert rasterio.CRS.from_string(meta["crs"]) == rasterio.CRS.from_string(crs)
    assert sorted(names) == ["house", "water"]
    shapes = list(zip(shapely.from_wkb(wkb), values.tolist(), strict=True))
    assert np.array_equal(rasterio.features.rasterize(shapes, shape_hw, transform=affine, dtype="uint8"), mask)

    # GeoJSON: in longitude and latitude.
    features = json.loads(Path("map.geojson").read_text("utf-8"))["features"]
    moved = [
        (rasterio.warp.transform_geom("EPSG:4326", crs, one["geometry"]), one["properties"]["value"])
        for one in features
    ]
    again = rasterio.features.rasterize(moved, shape_hw, transform=affine, dtype="uint8")
    assert np.mean(again != mask) < 1e-3
    for one in features:
        assert one["properties"]["area_px"] == np.count_nonzero(mask == one["properties"]["value"])
        ring = shapely.LinearRing(one["geometry"]["coordinates"][0])
        assert ring.is_ccw  # RFC 7946
        west, south, east, north = ring.bounds
        assert -180 <= west < east <= 180
        assert -90 <= south < north <= 90
    (lake,) = (one for one in features if one["properties"]["class"] == "water")
    assert len(lake["geometry"]["coordinates"]) == 2  # with its island
    square_m = abs(affine.determinant)
    if crs == "EPSG:4326":
        assert "area_m2" not in lake["properties"]
    else:
        assert lake["properties"]["area_m2"] == pytest.approx(lake["properties"]["area_px"] * square_m, rel=1e-4)


def test_objects_are_features_with_their_scores(place: Path) -> None:
    write_map(place / "map.tif")
    write_finder(place / "finder.onnx", [(10, 10, 60, 50), (30, 20, 90, 90)], masks=True, scores=[0.9, 0.7])
    assert run(["segment", "map.tif", "--model", "finder.onnx", "--save", "geojson,gpkg"]) == 0
    features = json.loads(Path("map.geojson").read_text("utf-8"))["features"]
    assert [one["properties"]["score"] for one in features] == pytest.approx([0.9, 0.7])  # overlaps are kept
    assert len(pyogrio.raw.read("map.gpkg")[2]) == 2


def test_nothing_found_is_an_empty_collection(place: Path) -> None:
    with rasterio.open(
        "red.tif", "w", driver="GTiff", width=40, height=30, count=3, dtype="uint8", crs=UTM33, transform=NORTH_UP
    ) as target:
        target.write(np.stack([np.full((30, 40), value, np.uint8) for value in (255, 0, 0)]))
    assert segment("red.tif", "--save", "geojson,gpkg") == 0
    assert json.loads(Path("red.geojson").read_text())["features"] == []
    assert len(pyogrio.raw.read("red.gpkg")[2]) == 0


def test_what_lies_nowhere_is_said_and_the_rest_goes_on(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "in").mkdir()
    Image.new("RGB", (40, 30), (0, 0, 255)).save(place / "in" / "plain.png")
    write_map(place / "in" / "bare.tif", crs=None)
    write_map(place / "in" / "map.tif")
    assert segment("in", "--save", "geojson", "--out", "out") == 1
    said = capsys.readouterr().err
    assert "plain.png: is not georeferenced" in said
    assert "bare.tif: has a transform but no coordinate system" in said
    assert [path.name for path in Path("out").iterdir()] == ["map.geojson"]
    assert segment("in/bare.tif", "--save", "geotiff") == 0  # what there is is kept
    with rasterio.open("in/bare.mask.tif") as written:
        assert written.crs is None
        assert written.transform == NORTH_UP


def test_a_world_file_counts(place: Path) -> None:
    Image.new("RGB", (40, 30), (0, 0, 255)).save(place / "photo.jpg")
    Path("photo.jgw").write_text("0.5\n0\n0\n-0.5\n500000.25\n5499999.75\n")
    assert segment("photo.jpg", "--save", "geotiff") == 0
    with rasterio.open("photo.mask.tif") as written:
        assert written.transform == NORTH_UP


def test_in_python(place: Path) -> None:
    result = load("net.onnx")(write_map(place / "map.tif"))
    assert [path.name for path in result.save(place / "out", ("geotiff", "geojson", "gpkg"))] == [
        "map.mask.tif", "map.geojson", "map.gpkg",
    ]  # fmt: skip
    with pytest.raises(ImageError, match="is not georeferenced"):
        load("net.onnx")(_plain(place)).save(place / "out", ("geotiff",))


def _plain(place: Path) -> Path:
    Image.new("RGB", (40, 30)).save(place / "plain.png")
    return place / "plain.png"


def test_a_missing_extra_is_named_before_anything_runs(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_map(place / "map.tif")
    monkeypatch.setitem(sys.modules, "pyogrio", None)
    assert segment("map.tif", "--save", "gpkg") == 1
    assert 'needs pyogrio, which is not installed; pip install "imago-seg[geo]"' in capsys.readouterr().err


def test_gdal_does_not_take_a_twentieth_of_the_memory() -> None:
    from imago.files.geo import gdal_environment

    assert gdal_environment().options["GDAL_CACHEMAX"] == 64


@pytest.mark.data
def test_maps_of_strangers(data_root: Path) -> None:
    folder = data_root / "formats" / "geotiff_buildings"
    truth = json.loads((folder / "truth.json").read_text())["files"]
    for path in sorted((folder / "3band").glob("*.tif")):
        assert list(read_image(path).pixels.shape) == truth[path.name]["shape"]
