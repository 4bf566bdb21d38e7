"""What a model found in one photo: labels, alpha, areas; cut-outs, overlays and files are made of it.

It lives here and not on the bottom floor because it draws and writes; see decision 2 in docs/decisions.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from imago.core.errors import ImagoError
from imago.core.frozen import freeze, freeze_array
from imago.core.instances import Instances
from imago.core.labels import Labels, binary_labels
from imago.core.panoptic import Panoptic, check_segments, ids_to_rgb
from imago.core.text import plural, to_json, to_utf8
from imago.files.geo import (
    Georeference,
    iter_regions,
    read_georeference,
    write_geojson,
    write_geopackage,
    write_geotiff,
)
from imago.files.images import Photo
from imago.files.inputs import OUTPUT_SUFFIXES
from imago.files.outputs import check_ending, too_many
from imago.files.paths import names_file
from imago.files.pictures import FORMATS, Format, Metadata, write_picture
from imago.files.png import Mode, strip_rows
from imago.files.writing import atomic_write, exists
from imago.inference.cutout.alpha import STRIP_ROWS, AlphaMap, ArrayAlpha, compute_full_alpha
from imago.inference.cutout.background import resolve_background
from imago.inference.cutout.compose import MARGIN, Cutout, compose
from imago.inference.cutout.matting import matte
from imago.inference.instances.postprocess import check_objects, iter_instances, to_class_map, to_records

if TYPE_CHECKING:
    from PIL import Image

JPEG_QUALITY = 90  # of overlays


class Prediction:
    """One photo's answer, read-only: so are its arrays. What takes memory is made when it is first asked for.

    A binary model gives ``alpha_map``, a semantic one ``label_map`` and its scores at the network's size, one that
    finds objects ``instances``, two put together ``panoptic``, whose things are ``instances`` too.
    """

    def __init__(
        self,
        photo: Photo,
        labels: Labels,
        *,
        alpha_map: AlphaMap | ArrayAlpha | None = None,
        label_map: np.ndarray | None = None,
        low_scores: np.ndarray | None = None,
        instances: Instances | None = None,
        panoptic: Panoptic | None = None,
    ) -> None:
        """``label_map``: uint8 or uint16 (H, W); ``low_scores``: float32 (K, h, w) 0..1, of the photo without padding;
        ``instances``: objects in pixels of the photo, whose classes are values of ``labels``; so are those of the
        segments of ``panoptic``.

        Raises ValueError for parts that do not belong together.
        """
        if panoptic is not None:
            check_segments(panoptic, labels, photo.size_hw)
            instances = panoptic.things() if instances is None else instances
        if alpha_map is None and label_map is None and instances is None:
            raise ValueError("a prediction needs an alpha_map, a label_map, instances or panoptic; got none of them")
        if alpha_map is not None and alpha_map.size_hw != photo.size_hw:
            raise ValueError(f"the photo is {photo.size_hw}, the alpha {alpha_map.size_hw}; both must have one size")
        if alpha_map is not None and label_map is None and len(labels) != 2:
            raise ValueError(f"an alpha alone belongs to two labels; got {len(labels)}")
        if label_map is not None:
            _check_label_map(label_map, labels, photo.size_hw)
        if instances is not None:
            check_objects(instances, labels, photo.size_hw)
        if low_scores is not None and (low_scores.ndim != 3 or len(low_scores) != len(labels)):
            raise ValueError(f"scores must be ({len(labels)}, h, w), one plane a label; got {low_scores.shape}")
        photo = freeze(photo)
        if isinstance(alpha_map, AlphaMap):
            alpha_map = replace(alpha_map, pixels=_guide(photo))
        self.__dict__.update(
            photo=photo, labels=labels, scores=freeze_array(low_scores), _alpha_map=freeze(alpha_map),
            instances=freeze(instances), panoptic=freeze(panoptic),
        )  # fmt: skip
        if label_map is not None:
            self.__dict__["label_map"] = freeze_array(label_map)

    if TYPE_CHECKING:
        photo: Photo
        labels: Labels
        scores: np.ndarray | None  # float32 (K, h, w), at the network's size
        _alpha_map: AlphaMap | ArrayAlpha | None
        instances: Instances | None
        panoptic: Panoptic | None

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Prediction does not change; make a new one instead of setting {name}")

    def __repr__(self) -> str:
        height, width = self.size_hw
        return f"Prediction({self.name!r}, {height} x {width}, labels: {', '.join(self.labels.names)})"

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.photo.size_hw

    @property
    def image(self) -> np.ndarray:
        """uint8 (H, W, C), RGB where C is 3."""
        return self.photo.pixels

    @property
    def name(self) -> str:
        return self.photo.name

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of the photo had to decide."""
        return self.photo.notes

    @cached_property
    def label_map(self) -> np.ndarray:
        """uint8 or uint16 (H, W), values of ``labels``; of a binary model 1 where alpha is one half or more; of objects
        the class of the surest one that is there."""
        if self.panoptic is not None:
            found = self.panoptic.to_label_map()
            return freeze_array(found.astype(np.uint8) if len(self.labels) < 255 else found)
        if self._alpha_map is None and self.instances is not None:
            return freeze_array(to_class_map(self.instances, len(self.labels)))
        assert self._alpha_map is not None
        found = np.empty(self.size_hw, np.uint8)
        for top in range(0, self.size_hw[0], STRIP_ROWS):
            bottom = min(self.size_hw[0], top + STRIP_ROWS)
            found[top:bottom] = self._alpha_map.rows(top, bottom) >= 0.5
        return freeze_array(found)

    @cached_property
    def alpha(self) -> np.ndarray:
        """float32 (H, W), 0 to 1: how much of the pixel is subject. Saving does not need it: it goes by strips."""
        return freeze_array(compute_full_alpha(self.alpha_map))

    @cached_property
    def alpha_map(self) -> AlphaMap | ArrayAlpha:
        """The alpha, to be made strip by strip. Of a semantic model: all that is not background.

        Raises ImagoError where the model has no background class.
        """
        if self._alpha_map is not None:
            return self._alpha_map
        background = self.labels.background
        if background is None:
            raise ImagoError(f"{self.name}: the model has no class 'background', so there is no subject to cut out")
        if self.scores is None:
            return freeze(ArrayAlpha((self.label_map != background).astype(np.uint8) * np.uint8(255)))
        return freeze(AlphaMap(1 - self.scores[background], _guide(self.photo)))

    def compose(
        self, background: Any = "transparent", crop: bool = False, matting: bool = False, margin: float = MARGIN
    ) -> Cutout:
        """The cut-out, not made yet, with its notes; see ``inference.cutout.compose``. ``matting`` refines hair."""
        photo, alpha = self.photo, self.alpha_map
        if photo.pixels.shape[2] != 3 or photo.show_bands:
            photo = replace(photo, pixels=photo.rgb, show_bands=())
        if matting:
            alpha = matte(alpha, photo.pixels)
        return compose(photo, alpha, background, crop, margin)

    def cutout(
        self, background: Any = "transparent", crop: bool = False, matting: bool = False, margin: float = MARGIN
    ) -> Image.Image:
        """The subject as a Pillow image: RGBA, or RGB on a ``background``: a colour (``white``,
        ``(255, 255, 255)``), ``blur``, or an image (its path, a Pillow image, an array (H, W, C))."""
        from PIL import Image

        return self._dress(Image.fromarray(self.compose(background, crop, matting, margin).array()))

    def _dress(self, image: Image.Image) -> Image.Image:
        """With the photo's colour profile, which Pillow's ``save`` writes."""
        if self.photo.icc:
            image.info["icc_profile"] = self.photo.icc
        return image

    def overlay(self, strength: float = 0.5, legend: bool = True) -> Image.Image:
        """The photo with the classes washed over it, and a legend below, as a Pillow image (RGB)."""
        from PIL import Image

        return self._dress(Image.fromarray(self._draw_overlay(strength, legend)))

    def _draw_overlay(self, strength: float = 0.5, legend: bool = True) -> np.ndarray:
        if self.panoptic is not None:
            from imago.draw.panoptic import draw_panoptic

            return draw_panoptic(self.photo.rgb, self.panoptic, self.labels, strength, legend)
        if self.instances is not None:
            from imago.draw.objects import draw_objects

            return draw_objects(self.photo.rgb, self.instances, self.labels, strength)
        from imago.draw.overlay import overlay

        return overlay(self.photo.rgb, self.label_map, self.labels, strength, legend)

    def areas(self) -> dict[str, dict[str, float]]:
        """For each class ``pixels`` and ``fraction``, its share of the whole photo (0..1)."""
        counts = np.zeros(max(len(self.labels), int(self.label_map.max()) + 1), np.int64)
        for strip in _strips(self.label_map):
            counts += np.bincount(strip.ravel(), minlength=len(counts))
        total = self.size_hw[0] * self.size_hw[1]
        return {
            name: {"pixels": int(counts[value]), "fraction": float(counts[value] / total)}
            for value, name in enumerate(self.labels.names)
        }

    def instance_cutouts(
        self, background: Any = "transparent", margin: float = 0.02
    ) -> Iterator[tuple[str, Image.Image]]:
        """Every object by itself, the surest first: its class, and a trimmed Pillow image (RGBA, or RGB on a
        background) with soft edges. Raises ImagoError for a model that finds no objects."""
        background = resolve_background(background)
        for value, photo, alpha in iter_instances(self.photo, self._objects(), margin):
            single = Prediction(photo, binary_labels(), alpha_map=alpha)
            yield self.labels.names[value], single.cutout(background, crop=True, margin=margin)

    def to_json(self) -> dict[str, Any]:
        """What ``STEM.json`` holds."""
        return {
            **({} if self.instances is None else {"objects": to_records(self.instances, self.labels)}),
            **({} if self.panoptic is None else {"segments": self._segment_records()}),
            "image": self.name,
            "size_hw": list(self.size_hw),
            "labels": asdict(self.labels),
            "areas": self.areas(),
            "notes": list(self.notes),
        }

    def _segment_records(self) -> list[dict[str, Any]]:
        """A plain dict a segment: id (as ``write_panoptic`` has it), class, whether it is a thing, area, score."""
        assert self.panoptic is not None
        return [
            {
                "id": segment.id,
                "class": self.labels.names[segment.value],
                "is_thing": segment.is_thing,
                "area": segment.area,
                **({} if segment.score is None else {"score": round(segment.score, 4)}),
            }
            for segment in self.panoptic.segments
        ]

    def write_cutout(
        self,
        stream: BinaryIO,
        background: Any = "transparent",
        crop: bool = False,
        matting: bool = False,
        margin: float = MARGIN,
        threads: int | None = None,
        format: Format = "PNG",
    ) -> tuple[str, ...]:
        """A PNG goes by strips, so that memory stays bounded. Gives the notes of the cut-out ("nothing was found")."""
        made = self.compose(background, crop, matting, margin)
        metadata = Metadata.of(self.photo)
        write_picture(stream, format, made.size_hw, made.mode, made.strips(), metadata, name=self.name, threads=threads)
        return made.notes

    def write_alpha(self, stream: BinaryIO, bits: int = 8, format: Format = "PNG") -> None:
        """The soft mask in grey: 0 is background, 255 (or 65535 with 16 ``bits``) subject."""
        most, kind = (65535, np.uint16) if bits == 16 else (255, np.uint8)

        def strips() -> Iterator[np.ndarray]:
            for top in range(0, self.size_hw[0], STRIP_ROWS):
                bottom = min(self.size_hw[0], top + STRIP_ROWS)
                alpha = self.alpha_map.rows(top, bottom)
                if self.photo.opacity is not None:
                    alpha = alpha * (self.photo.opacity[top:bottom] * np.float32(1 / 255))
                yield (alpha * np.float32(most) + np.float32(0.5)).astype(kind)

        self._write_flat(stream, format, "L16" if bits == 16 else "L", strips())

    def _write_flat(
        self, stream: BinaryIO, format: Format, mode: Mode, strips: Iterator[np.ndarray], palette: Any = ()
    ) -> None:
        metadata = Metadata.of(self.photo, colors=False)
        write_picture(stream, format, self.size_hw, mode, strips, metadata, name=self.name, palette=palette)

    def write_mask(self, stream: BinaryIO, format: Format = "PNG") -> None:
        """The label map with the classes' colours as its palette."""
        from imago.core.palette import palette_bytes

        if self.label_map.dtype != np.uint8:
            raise ImagoError(f"{self.name}: a mask PNG has room for 256 classes; the model has {len(self.labels)}")
        flat = palette_bytes(self.labels)
        palette = [(flat[at], flat[at + 1], flat[at + 2]) for at in range(0, 768, 3)]
        self._write_flat(stream, format, "P", _strips(self.label_map), palette)

    def write_overlay(self, stream: BinaryIO, format: Format = "JPEG") -> None:
        """The overlay, in the photo's colour profile."""
        drawn = self._draw_overlay()
        size_hw = (drawn.shape[0], drawn.shape[1])
        metadata = Metadata.of(self.photo)
        write_picture(stream, format, size_hw, "RGB", iter([drawn]), metadata, name=self.name, quality=JPEG_QUALITY)

    def write_objects(self, stream: BinaryIO, format: Format = "PNG") -> None:
        """A grey picture of 16 bits: 0, or the number (1 and more) of the object that is there, in the order of
        ``instances``. Raises ImagoError for a model that finds no objects."""
        painted = self._objects().to_label_image()
        if painted.dtype != np.uint16:
            raise ImagoError(f"{self.name}: a label image of 16 bits holds 65,535 objects; there are {painted.max()}")
        self._write_flat(stream, format, "L16", _strips(painted))

    def write_panoptic(self, stream: BinaryIO, format: Format = "PNG") -> None:
        """A picture whose colours are ids of segments: red + 256 green + 256² blue, as in COCO; black is none. Raises
        ImagoError for a model that gives no segments."""
        if self.panoptic is None:
            raise ImagoError(
                f"{self.name}: the model gives no segments; imago.panoptic(things, stuff) puts two together"
            )
        self._write_flat(stream, format, "RGB", map(ids_to_rgb, _strips(self.panoptic.id_map)))

    def write_yolo(self, stream: BinaryIO) -> None:
        """YOLO's text: a line an object, class (from 0), centre, size as shares of the photo, score."""
        from imago.data.formats.yolo import to_yolo

        stream.write(to_yolo(self._objects(), scores=True).encode("utf-8"))

    def _georeference(self) -> Georeference:
        if self.photo.path is None:
            raise ImagoError(f"{self.name}: a georeference is read from a file; pass its path")
        found = read_georeference(self.photo.path, self.photo.page)
        if found.size_hw != self.size_hw:
            raise ImagoError(f"{self.name}: is turned upright, and its georeference is not; turn the file itself")
        return found

    def write_geotiff(self, stream: BinaryIO) -> None:
        """The label map with the photo's coordinate system and transform. Raises ImagoError for a photo without."""
        write_geotiff(stream, self.label_map, self.labels, self._georeference())

    def write_geojson(self, stream: BinaryIO) -> None:
        """Outlines in longitude and latitude (WGS 84): of objects, else of the areas of each class but the background.
        Raises ImagoError for a photo without a coordinate system."""
        where = self._georeference()
        write_geojson(stream, iter_regions(self.label_map, self.labels, self.instances, where), where, self.name)

    def write_gpkg(self, stream: BinaryIO) -> None:
        """The same outlines as a GeoPackage in the photo's own coordinate system."""
        where = self._georeference()
        write_geopackage(stream, iter_regions(self.label_map, self.labels, self.instances, where), where, self.name)

    def _objects(self) -> Instances:
        if self.instances is None:
            raise ImagoError(f"{self.name}: the model finds no single objects; use one that does, such as nuclei")
        return self.instances

    def write_json(self, stream: BinaryIO) -> None:
        stream.write(to_utf8(to_json(self.to_json(), indent=2) + "\n"))

    @property
    def writers(self) -> dict[str, Callable[[BinaryIO], Any]]:
        """What can be written of it, by name."""
        return {
            "cutout": self.write_cutout,
            "mask": self.write_mask,
            "overlay": self.write_overlay,
            "json": self.write_json,
            "objects": self.write_objects,
            "yolo": self.write_yolo,
            "alpha": self.write_alpha,
            "geotiff": self.write_geotiff,
            "geojson": self.write_geojson,
            "gpkg": self.write_gpkg,
            "panoptic": self.write_panoptic,
        }

    def write(self, stream: BinaryIO, what: str, path: Path, **options: Any) -> tuple[str, ...]:
        """``what``, a key of ``writers``, in the format that the ending of ``path`` says. Gives notes."""
        picture = FORMATS.get(path.suffix.lower())
        if picture is not None and what != "geotiff":
            options["format"] = picture
        return self.writers[what](stream, **options) or ()

    def save(self, where: Path | str, what: Sequence[str] = ("cutout",), overwrite: bool = False) -> list[Path]:
        """Writes ``what``, keys of ``writers``; each whole or not at all. Gives the paths.

        ``where`` is a file, for one object, if it ends as one (``fox.png``, also ``.webp``, ``.tif``, ``.jpg``), else a
        folder, for ``STEM.cutout.png`` and so on; see ``files.paths``. Raises ImagoError, before anything is written,
        where a file is there already.
        """
        writers = self.writers
        unknown = [each for each in what if each not in writers]
        if unknown:
            raise ImagoError(f"cannot save {', '.join(map(repr, unknown))}; choose from {', '.join(writers)}")
        paths = self._paths(Path(where), what)
        for path in paths:
            if not overwrite and path.exists():
                raise exists(path)
        for path, each in zip(paths, what, strict=True):
            with atomic_write(path, overwrite) as stream:
                self.write(stream, each, path)
        return paths

    def _paths(self, where: Path, what: Sequence[str]) -> list[Path]:
        if not names_file(where):
            stem = Path(self.name).stem
            return [where / (stem + OUTPUT_SUFFIXES[each]) for each in what]
        if len(what) != 1:
            raise too_many(where, what)
        check_ending(where, what[0])
        return [where]

    def _repr_png_(self) -> bytes:
        """What a notebook shows: the cut-out."""
        stream = io.BytesIO()
        self.write_cutout(stream)
        return stream.getvalue()


def _check_label_map(label_map: np.ndarray, labels: Labels, size_hw: tuple[int, int]) -> None:
    if label_map.shape != size_hw or label_map.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"the photo is {size_hw}: its label map must be uint8 or uint16 of that size; "
            f"got {label_map.dtype} {label_map.shape}"
        )
    for strip in _strips(label_map):
        if strip.max() >= len(labels) and (strip[strip >= len(labels)] != labels.ignore).any():
            raise ValueError(f"the label map holds {strip.max()}, but there are {plural(len(labels), 'label')}")


def _strips(values: np.ndarray) -> Iterator[np.ndarray]:
    rows = strip_rows(values.shape[1], 1)
    for top in range(0, values.shape[0], rows):
        yield values[top : top + rows]


def _guide(photo: Photo) -> np.ndarray:
    """What the edges of an alpha follow: grey or three bands."""
    return photo.pixels if photo.pixels.shape[2] in (1, 3) else photo.rgb
