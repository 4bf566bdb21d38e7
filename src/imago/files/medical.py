"""DICOM and NIfTI: slices as pictures, and label maps back as NIfTI or DICOM SEG.

Stored numbers always go through the modality's rule (slope and intercept, which differ from slice to slice), so that a
value is one of the body (HU) and not one of the scanner. A window is for the eye, and comes only where it is asked for.

A slice of a NIfTI volume lies as a DICOM slice does: axial, the patient's front above and the left side to the right.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from imago.core.bands import MOST_BANDS, Ranges
from imago.core.errors import ImageError, ImagoError
from imago.core.extras import require_extra
from imago.core.labels import Labels
from imago.core.text import plural
from imago.core.window import FROM_FILE, Window, window_range
from imago.files.medical_kind import MedicalKind
from imago.files.tiff import TiffBands

_LOADING = threading.Lock()
_VOXELS = 2_000_000  # that a volume's range is found of
_CUT = 0.1  # percent of the values at either end that it leaves out


# Both


_DAMAGED_NIFTI = "the NIfTI file is damaged or cut off"


def count_slices(stream: BinaryIO, kind: MedicalKind, label: str, path: Path | None) -> int:
    """Raises ImageError, as all that reads."""
    if kind == "NIfTI":
        return _open_nifti(stream, label, path).count
    return max(1, int(_open_dicom(stream, label, pixels=False).get("NumberOfFrames") or 1))


def slice_size(stream: BinaryIO, kind: MedicalKind, label: str, path: Path | None) -> tuple[int, int]:
    """(height, width)."""
    if kind == "NIfTI":
        return _open_nifti(stream, label, path).size_hw
    found = _open_dicom(stream, label, pixels=False)
    return int(found.get("Rows") or 0), int(found.get("Columns") or 0)


def read_slice(
    stream: BinaryIO, kind: MedicalKind, label: str, path: Path | None, number: int, window: Window | str | None
) -> TiffBands:
    """Slice or frame ``number``, from 1, with the range that ``window`` asks for."""
    if kind == "NIfTI":
        return _open_nifti(stream, label, path).read(number, window, label)
    return _read_dicom(_open_dicom(stream, label), label, number, window)


# DICOM


def _open_dicom(stream: BinaryIO, label: str, pixels: bool = True) -> Any:
    require_extra("medical", label)
    import pydicom

    _hush()
    stream.seek(0)
    with _readable(label, "the DICOM file is damaged or cut off"):
        found = pydicom.dcmread(stream, stop_before_pixels=not pixels)
    if "Rows" not in found or (pixels and not any(name in found for name in _PIXELS)):
        what = getattr(getattr(found, "SOPClassUID", None), "name", "") or "this kind of file"
        raise ImageError(f"{label}: is DICOM without a picture ({what})")
    return found


_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def _hush() -> None:
    """pydicom and nibabel speak to the standard error by themselves."""
    for name in ("pydicom", "nibabel", "nibabel.global", "highdicom"):
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False


@contextlib.contextmanager
def _readable(label: str, fault: str, hint: str = "") -> Iterator[None]:
    """Of strangers' bytes the libraries raise many kinds of error: each becomes one line, ``fault`` with their words;
    too little memory is no damage and is said as what it is."""
    try:
        yield
    except ImagoError:
        raise
    except MemoryError as error:
        raise ImageError(f"{label}: not enough memory for its pixels") from error
    except Exception as error:
        raise ImageError(f"{label}: {fault} ({_words(error)}){hint}") from error


def _words(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _read_dicom(found: Any, label: str, number: int, window: Window | str | None) -> TiffBands:
    from pydicom.pixels import apply_color_lut, pixel_array

    photometric = str(found.get("PhotometricInterpretation", "MONOCHROME2"))
    with _readable(label, "its pixels cannot be read", _plugin_hint(found)):
        values = pixel_array(found, index=number - 1)
        if photometric == "PALETTE COLOR":
            values = apply_color_lut(values, found)
            values = (values >> 8).astype(np.uint8) if values.dtype == np.uint16 else values
    if values.ndim == 3:
        return TiffBands(values, 3)
    values = _apply_modality(values, found, number, label)
    padding = found.get("PixelPaddingValue")
    no_data = None
    if isinstance(padding, int):
        no_data = float(_apply_modality(np.array([[padding]], np.float64), found, number, label)[0, 0])
    asked = _own_window(found, number, label) if window == FROM_FILE else window
    used = (window_range(asked),) if isinstance(asked, tuple) else ()
    inverted = photometric == "MONOCHROME1"
    return TiffBands(values[:, :, None], 1, no_data=no_data, window=used, inverted=inverted)


def _plugin_hint(found: Any) -> str:
    name = str(getattr(found.file_meta, "TransferSyntaxUID", "")) if hasattr(found, "file_meta") else ""
    lossless = name in ("1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
    return "; pip install pylibjpeg-libjpeg (GPL-3) reads such files" if lossless else ""


def _groups(found: Any, number: int, name: str) -> Any:
    """The functional group ``name`` of a frame: its own, or that of all frames; None where there is none."""
    places = [found.get("PerFrameFunctionalGroupsSequence"), found.get("SharedFunctionalGroupsSequence")]
    for place, at in zip(places, (number - 1, 0), strict=True):
        if place and at < len(place) and place[at].get(name):
            return place[at].get(name)[0]
    return None


def _apply_modality(values: np.ndarray, found: Any, number: int, label: str) -> np.ndarray:
    """(H, W) as stored -> float32 (H, W); the same where the file has no rule."""
    from pydicom.pixels import apply_modality_lut

    rule = found
    if "RescaleSlope" not in found and "ModalityLUTSequence" not in found:
        rule = _groups(found, number, "PixelValueTransformationSequence")
    if rule is None:
        return values
    with _readable(label, "its modality's rule is damaged"):
        if "ModalityLUTSequence" in rule:
            return apply_modality_lut(values.astype(np.int64), rule).astype(np.float32)
        return (values * float(rule.RescaleSlope) + float(rule.RescaleIntercept)).astype(np.float32)


def _own_window(found: Any, number: int, label: str) -> Window:
    place = found if "WindowCenter" in found else _groups(found, number, "FrameVOILUTSequence")
    try:
        center, width = (np.atleast_1d(np.array(place.get(name), float))[0] for name in ("WindowCenter", "WindowWidth"))
    except (AttributeError, TypeError, ValueError, IndexError):
        raise ImageError(f"{label}: holds no window; name one, as --window 40,400") from None
    return float(center), max(1.0, float(width))


# NIfTI


@dataclass(frozen=True, eq=False)
class Nifti:
    """A volume that is open."""

    image: Any  # nibabel's
    values: Any  # array or proxy, (X, Y, Z) or (X, Y, Z, C)

    @property
    def moves(self) -> np.ndarray:
        """int (3, 2): for each axis as stored which one it is of (left, posterior, superior), and 1 or -1."""
        from nibabel import orientations

        stored = orientations.io_orientation(self.image.affine)
        return orientations.ornt_transform(stored, orientations.axcodes2ornt(("L", "P", "S"))).astype(int)

    @property
    def axis(self) -> int:
        """That the slices are stacked along."""
        return int(np.flatnonzero(self.moves[:, 0] == 2)[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """(X, Y, Z), of what lacks axes 1."""
        return (*self.image.shape, 1, 1, 1)[:3]

    @property
    def count(self) -> int:
        return int(self.shape[self.axis])

    @property
    def size_hw(self) -> tuple[int, int]:
        sides = dict(zip(self.moves[:, 0].tolist(), self.shape, strict=True))
        return int(sides[1]), int(sides[0])

    def read(self, number: int, window: Window | str | None, label: str) -> TiffBands:
        moves, axis = self.moves, self.axis
        at = number - 1 if moves[axis, 1] == 1 else self.count - number
        with _readable(label, _DAMAGED_NIFTI):
            values = np.asarray(self.values[(slice(None),) * axis + (at,)])
        colors = 1
        if values.dtype.names:  # RGB of 8 bits
            values, colors = np.stack([values[name] for name in values.dtype.names[:3]], axis=-1), 3
        values = values.reshape(*values.shape[:2], -1)
        first, second = (one for one in range(3) if one != axis)
        values = values[:: moves[first, 1], :: moves[second, 1]]
        if moves[first, 0] == 0:  # columns first
            values = values.transpose(1, 0, 2)
        if values.shape[2] > MOST_BANDS:
            raise ImageError(f"{label}: has {values.shape[2]} values a voxel; images of 1 to {MOST_BANDS} are read")
        values = np.ascontiguousarray(values)
        if values.dtype == np.float64:
            values = values.astype(np.float32)
        if window == FROM_FILE:
            low, high = float(self.image.header["cal_min"]), float(self.image.header["cal_max"])
            if not high > low:
                raise ImageError(f"{label}: holds no window (cal_min, cal_max); name one, as --window 40,400")
            used: Ranges = ((low, high),)
        else:
            used = (window_range(window),) if isinstance(window, tuple) else ()
        usual = () if used or values.dtype == np.uint8 else self.ranges
        return TiffBands(values, colors, window=used, usual=usual)

    @functools.cached_property
    def ranges(self) -> Ranges:
        """Of each channel what nearly all voxels lie between."""
        steps = max(1, round((int(np.prod(self.shape)) / _VOXELS) ** (1 / 3)))
        some = np.asarray(self.values[::steps, ::steps, ::steps]).reshape(-1, *self.values.shape[3:])
        found = []
        for channel in some.reshape(len(some), -1).T.astype(np.float64):
            known = channel[np.isfinite(channel)]
            low, high = np.percentile(known, (_CUT, 100 - _CUT)) if known.size else (0.0, 1.0)
            found.append((float(low), float(max(high, low + 1e-6))))
        return tuple(found)


def _open_nifti(stream: BinaryIO, label: str, path: Path | None) -> Nifti:
    require_extra("medical", label)
    _hush()
    with _readable(label, _DAMAGED_NIFTI):
        if path is not None:
            about = os.stat(path)
            with _LOADING:
                return _load_nifti(path, about.st_mtime_ns, about.st_size)
        stream.seek(0)
        content = stream.read()
        return _parse_nifti(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)


@functools.lru_cache(maxsize=1)
def _load_nifti(path: Path, changed: int, size: int) -> Nifti:
    """The last volume stays: packed files would be unpacked from the start for each slice."""
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    if packed:
        with gzip.open(path) as unpacked:
            return _parse_nifti(unpacked.read())
    import nibabel

    return _check_nifti(nibabel.load(path), lazily=True)


def _parse_nifti(content: bytes) -> Nifti:
    import nibabel

    kind = nibabel.Nifti2Image if content[4:7] == b"n+2" else nibabel.Nifti1Image
    return _check_nifti(kind.from_bytes(content), lazily=False)


def _check_nifti(image: Any, lazily: bool) -> Nifti:
    shape = image.shape
    if not shape or 0 in shape or (len(shape) > 4 and any(side > 1 for side in shape[3:-1])):
        raise ImageError(f"its shape is {shape}; expected (X, Y, Z), or (X, Y, Z, C)")
    straight = len(shape) in (3, 4)
    if lazily and straight:
        return Nifti(image, image.dataobj)
    values = np.asarray(image.dataobj)
    if values.dtype == np.float64:
        values = values.astype(np.float32)
    return Nifti(image, values.reshape(*(*shape, 1, 1, 1)[:3], *((-1,) if len(shape) > 3 else ())))


def write_nifti(stream: BinaryIO, slices: Sequence[np.ndarray], source: Path) -> None:
    """Label maps, uint8 or uint16 (H, W), from the lowest slice to the highest, as a packed NIfTI volume that lies
    voxel for voxel where ``source`` does. Raises ImageError, ValueError for another number or size of slices."""
    from nibabel import orientations

    with source.open("rb") as opened:
        volume = _open_nifti(opened, str(source), source)
    if len(slices) != volume.count or any(one.shape != volume.size_hw for one in slices):
        raise ValueError(f"{source}: has {volume.count} slices of {volume.size_hw}; got {len(slices)}")
    stacked = np.stack([one.T for one in slices], axis=2)  # (left, posterior, superior)
    stored = orientations.io_orientation(volume.image.affine)
    back = orientations.ornt_transform(orientations.axcodes2ornt(("L", "P", "S")), stored)
    values = orientations.apply_orientation(stacked, back)
    made = type(volume.image)(values, volume.image.affine, volume.image.header)
    made.header.set_data_dtype(values.dtype)
    made.header.set_slope_inter(1, 0)
    made.header["cal_min"] = made.header["cal_max"] = 0
    made.header.set_intent("label")
    stream.write(gzip.compress(made.to_bytes(), mtime=0))


# DICOM SEG


@dataclass(frozen=True)
class Place:
    """Where a DICOM file belongs."""

    series: str  # its unique id
    number: str  # of the series, for people
    position: float  # along the normal of the slices; their number where they have none


def find_place(path: Path) -> Place:
    """Raises ImageError."""
    with path.open("rb") as stream:
        found = _open_dicom(stream, str(path), pixels=False)
    try:
        across, down = np.array(found.ImageOrientationPatient, float).reshape(2, 3)
        position = float(np.cross(across, down) @ np.array(found.ImagePositionPatient, float))
    except (AttributeError, TypeError, ValueError):
        position = float(found.get("InstanceNumber") or 0)
    frames = int(found.get("NumberOfFrames") or 1)
    series = str(found.get("SeriesInstanceUID", path)) if frames == 1 else str(found.get("SOPInstanceUID", path))
    return Place(series, str(found.get("SeriesNumber") or ""), position)


def write_segmentation(
    stream: BinaryIO, slices: Sequence[np.ndarray], sources: Sequence[Path], labels: Labels, model: str
) -> None:
    """Label maps (H, W) as DICOM SEG: a segment for each class but the background. ``sources``: the files of the
    slices, as many and in the same order, or one file of several frames. Raises ImagoError for files that it cannot be
    written for."""
    require_extra("medical", str(sources[0]))
    import highdicom
    import pydicom
    from highdicom.seg import SegmentationTypeValues

    from imago import __version__

    _hush()
    named = [value for value in range(len(labels)) if value != labels.background]
    table = np.zeros(65_536, np.uint8 if len(named) < 256 else np.uint16)
    table[named] = np.arange(1, len(named) + 1)
    segments = [_segment(number, labels.names[value], model) for number, value in enumerate(named, 1)]
    try:
        made = highdicom.seg.Segmentation(
            source_images=[pydicom.dcmread(path) for path in sources],
            pixel_array=table[np.stack(slices)],
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=segments,
            series_instance_uid=highdicom.UID(),
            series_number=1000,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="Imago",
            manufacturer_model_name=model or "unknown",
            software_versions=__version__,
            device_serial_number="0",
            series_description=f"Imago: {model}"[:64],
        )
        packed = io.BytesIO()
        made.save_as(packed)
    except Exception as error:  # whatever the files lack: highdicom says it in many kinds
        raise ImagoError(
            f"{sources[0]}: {plural(len(sources), 'file')} cannot be answered by a DICOM SEG ({_words(error)}); --save "
            "mask writes PNGs"
        ) from error
    stream.write(packed.getbuffer())


def _segment(number: int, name: str, model: str) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    from imago import __version__

    anatomy = Code("91723000", "SCT", "Anatomical structure")  # a class's name says what; codes of it nobody gave
    return SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=anatomy,
        segmented_property_type=anatomy,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=(model or "unknown")[:64], version=__version__, family=codes.DCM.ArtificialIntelligence
        ),
    )
