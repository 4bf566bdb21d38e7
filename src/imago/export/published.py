"""Weights that torchvision and darknet publish become our file: one ``.onnx`` with its card, to run without torch."""

from __future__ import annotations

from pathlib import Path

from imago.core.errors import ModelError
from imago.export.detection import export_detection
from imago.export.export import make_images
from imago.export.semantic import ExportReport, export_onnx
from imago.models import build, checkpoint
from imago.models.catalog import Net
from imago.models.detection.base import DetectionModel
from imago.models.published.darknet_weights import read_weights
from imago.models.published.entries import Published
from imago.models.published.torchvision import load_torchvision

# Ten times the usual: here nobody can ask for more. Full-size YOLO v2 with random weights made loud came to 9e-4; a
# fault of the exporter is far larger. How near the file is to torch is said in any case.
FINDS_TOLERANCE = 1e-2


def convert(entry: Published, keep_checkpoint: bool = False) -> ExportReport:
    """``entry.landing``, verified when it came, -> ``entry.path``, float32, compared with torch on a made-up photo.

    ``keep_checkpoint``: writes ``entry.checkpoint`` besides, from which a training can start. The landed file is
    removed: the ``.onnx`` answers alike, and both would be twice the room. Only where the export fails (a full disk,
    say) it is kept, so that the next try need not fetch it again. Raises ModelError, also where the file is not that
    net's.
    """
    card = entry.card
    try:
        net = build_published(entry, entry.landing)
    except ModelError as error:
        entry.landing.unlink(missing_ok=True)  # it would not fit the next time either
        raise ModelError(f"{error}; the file was removed") from error
    # One photo: in a ResNet-101 each costs seconds, and it is tried as a pair and lying on its side as well.
    samples = make_images(card.input.channels, 1)
    if isinstance(net, DetectionModel):
        report = export_detection(net, card, entry.path, samples=samples, tolerance=FINDS_TOLERANCE, overwrite=True)
    else:
        report = export_onnx(net, card, entry.path, samples=samples, overwrite=True)
    if keep_checkpoint:
        checkpoint.save(net, card, entry.checkpoint)
    entry.landing.unlink()
    return report


def build_published(entry: Published, weights: Path) -> Net:
    """The net that the entry's card describes, with the published ``weights``. Raises ModelError that names the file
    where it is not that net's."""
    net = build(entry.card.architecture, **entry.card.options).eval()
    if isinstance(net, DetectionModel) and entry.form == "darknet":
        read_weights(net, weights)
    else:
        load_torchvision(net, entry.card.architecture, weights)
    return net
