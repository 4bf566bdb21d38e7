"""Where on the earth a picture lies: read from it, and kept in the masks and polygons that are made of it.

GDAL's cache takes a twentieth of the machine's memory unless it is told not to (measured: 1,317 MB in place of 78 for a
hundred windows of a large file, and slower).
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from imago.core.errors import ImageError, ImagoError
from imago.core.extras import require_extra
from imago.core.instances import Instances
from imago.core.labels import Labels

CACHE_MB = 64
_DECIMALS = 8  # of a degree: a millimetre


@dataclass(frozen=True)
class Georeference:
    """The coordinate system of a picture, and how its pixels lie in it."""

    crs: Any  # rasterio.crs.CRS; None: only the transform is known
    transform: Any  # affine.Affine: pixels to coordinates
    size_hw: tuple[int, int]

    @property
    def square_meters(self) -> float | None:
        """Of one unit of area; None in degrees, where it is not the same everywhere."""
        if self.crs is None or not self.crs.is_projected:
            return None
        return float(self.crs.linear_units_factor[1]) ** 2


@dataclass(frozen=True)
class Region:
    """One area of one class, in the coordinate system of its picture."""

    name: str  # of the class
    value: int  # of the class
    pixels: int
    score: float | None  # of an object
    geometry: Any  # shapely: Polygon or MultiPolygon


def _open(path: Path, page: int) -> Any:
    logging.getLogger("rasterio").addHandler(logging.NullHandler())  # else its words go to the standard error
    import rasterio

    name = f"GTIFF_DIR:{page}:{path}" if page > 1 else str(path)
    return rasterio.open(name)


def gdal_environment() -> Any:
    """With a small cache, as all that GDAL does here."""
    import rasterio

    return rasterio.Env(GDAL_CACHEMAX=CACHE_MB, OGR_ENABLE_PARTIAL_REPROJECTION=True)


def read_georeference(path: Path, page: int = 0) -> Georeference:
    """Of a GeoTIFF, or of a picture with a world file or the like beside it. Raises ImageError where there is none,
    ImagoError where the extra ``geo`` is not installed."""
    require_extra("geo", f"{path}: its georeference")
    import rasterio

    try:
        with gdal_environment(), _open(path, page) as source:
            found = Georeference(source.crs, source.transform, (source.height, source.width))
    except rasterio.errors.RasterioError as error:
        raise ImageError(f"{path}: GDAL cannot read its georeference ({error})") from error
    if found.transform.is_identity:
        raise ImageError(
            f"{path}: is not georeferenced (no transform from pixels to coordinates); --save mask and json need none"
        )
    return found


def write_geotiff(stream: BinaryIO, label_map: np.ndarray, labels: Labels, where: Georeference) -> None:
    """The label map, uint8 or uint16 (H, W), tiled and packed, with the picture's coordinate system and transform, the
    classes' colours as its palette and their names as tags ``CLASS_n``."""
    from rasterio.io import MemoryFile

    height, width = label_map.shape
    colors = {value: (*color, 255) for value, color in enumerate(labels.colors)}
    with gdal_environment(), MemoryFile() as file:
        with file.open(
            driver="GTiff", height=height, width=width, count=1, dtype=label_map.dtype, crs=where.crs,
            transform=where.transform, tiled=True, blockxsize=256, blockysize=256, compress="deflate",
            BIGTIFF="IF_SAFER",
        ) as target:  # fmt: skip
            target.write(label_map, 1)
            if label_map.dtype == np.uint8:
                target.write_colormap(1, colors)
            target.set_band_description(1, "classes")
            target.update_tags(1, **{f"CLASS_{value}": name for value, name in enumerate(labels.names)})
        stream.write(file.getbuffer())


def iter_regions(
    label_map: np.ndarray, labels: Labels, instances: Instances | None, where: Georeference
) -> Iterator[Region]:
    """Every object, or where there are none every connected area of each class but the background in ``label_map``,
    uint8 or uint16 (H, W)."""
    from rasterio.windows import Window
    from rasterio.windows import transform as window_transform
    from shapely.geometry import shape
    from shapely.ops import unary_union

    pixel = abs(where.transform.determinant)
    if instances is None:
        known = label_map != labels.ignore
        if labels.background is not None:
            known &= label_map != labels.background
        for outline, number in _iter_shapes(label_map, known, where.transform):
            polygon, value = shape(outline), int(number)
            yield Region(labels.names[value], value, round(polygon.area / pixel), None, polygon)
        return
    for index in range(len(instances)):
        (rows, columns), mask = instances.region(index)
        if not mask.any():
            continue
        inside = window_transform(Window(columns.start, rows.start, 1, 1), where.transform)
        parts = [shape(outline) for outline, _ in _iter_shapes(mask.astype(np.uint8), mask, inside)]
        value = int(instances.classes[index])
        score = round(float(instances.scores[index]), 4)
        yield Region(labels.names[value], value, int(mask.sum()), score, unary_union(parts))


def _iter_shapes(values: np.ndarray, mask: np.ndarray, transform: Any) -> Iterable[tuple[Any, float]]:
    from rasterio.features import shapes

    values = values if values.dtype in (np.uint8, np.uint16) else values.astype(np.int32)
    with gdal_environment():
        return list(shapes(values, mask=mask, transform=transform))


def _describe(region: Region, where: Georeference) -> dict[str, Any]:
    unit = where.square_meters
    area = {} if unit is None else {"area_m2": round(region.geometry.area * unit, 3)}
    score = {} if region.score is None else {"score": region.score}
    return {"class": region.name, "value": region.value, **score, "area_px": region.pixels, **area}


def write_geojson(stream: BinaryIO, regions: Iterable[Region], where: Georeference, name: str) -> None:
    """A FeatureCollection as RFC 7946 wants it: longitude and latitude of WGS 84, outer rings against the clock.
    Raises ImagoError without a coordinate system."""
    from rasterio.warp import transform_geom
    from shapely.geometry import mapping, shape
    from shapely.geometry.polygon import orient

    _require_crs(where, name)
    features = []
    with gdal_environment():
        for region in regions:
            moved = shape(transform_geom(where.crs, "EPSG:4326", mapping(region.geometry), precision=_DECIMALS))
            parts = [orient(part) for part in getattr(moved, "geoms", [moved])]
            geometry = mapping(parts[0]) if len(parts) == 1 else mapping(type(moved)(parts))
            features.append({"type": "Feature", "properties": _describe(region, where), "geometry": geometry})
    text = json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False)
    stream.write(text.encode("utf-8"))


def write_geopackage(stream: BinaryIO, regions: Iterable[Region], where: Georeference, name: str) -> None:
    """A layer ``segments`` of polygons in the picture's own coordinate system. Raises ImagoError without one."""
    import pyogrio
    import shapely

    _require_crs(where, name)
    pyogrio.set_gdal_config_options({"GDAL_CACHEMAX": CACHE_MB})
    listed = list(regions)
    polygons = [
        region.geometry if region.geometry.geom_type == "MultiPolygon" else shapely.MultiPolygon([region.geometry])
        for region in listed
    ]
    told = [_describe(region, where) for region in listed]
    kinds = {"class": object, "value": np.int64, "score": np.float64, "area_px": np.int64, "area_m2": np.float64}
    fields = [key for key in kinds if not told or key in told[0]]
    made = io.BytesIO()
    pyogrio.raw.write(
        made,
        np.array([shapely.to_wkb(polygon) for polygon in polygons], object),
        [np.array([entry[key] for entry in told], kinds[key]) for key in fields],
        fields,
        layer="segments",
        driver="GPKG",
        geometry_type="MultiPolygon",
        crs=where.crs.to_wkt(),
    )
    stream.write(made.getbuffer())


def _require_crs(where: Georeference, name: str) -> None:
    if where.crs is None:
        raise ImagoError(
            f"{name}: has a transform but no coordinate system; --save geotiff keeps what there is, polygons need one "
            "(gdal_edit.py -a_srs EPSG:... gives it)"
        )
