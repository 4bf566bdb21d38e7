"""Weights that torchvision publishes become our file: one ``.onnx`` with its card, which runs without torch."""

from __future__ import annotations

from imago.core.errors import ModelError
from imago.export.onnx import ExportReport, export_onnx
from imago.export.run import made_up_images
from imago.models import build
from imago.models.catalogue import Published
from imago.models.torchvision_weights import load_torchvision


def convert(entry: Published) -> ExportReport:
    """``entry.landing``, verified when it came, -> ``entry.path``, float32, compared with torch on a made-up photo.

    The ``.pth`` is removed: the ``.onnx`` answers alike, and both would be twice the room. Only where the export fails
    (a full disk, say) it is kept, so that the next try need not fetch it again. Raises ModelError, also where the file
    is not torchvision's net.
    """
    card = entry.card
    net = build(card.architecture, **card.options).eval()
    try:
        load_torchvision(net, card.architecture, entry.landing)
    except ModelError as error:
        entry.landing.unlink(missing_ok=True)  # it would not fit the next time either
        raise ModelError(f"{error}; the file was removed") from error
    # One photo: in a ResNet-101 each costs seconds, and it is tried as a pair and lying on its side as well.
    report = export_onnx(net, card, entry.path, samples=made_up_images(card.input.channels, 1), overwrite=True)
    entry.landing.unlink()
    return report
