"""darknet's ``.weights`` files (github.com/pjreddie/darknet): into our YOLO nets, and from them.

A .weights file is binary, little endian: int32 major, minor, revision; the images seen in training, int64 where
10 * major + minor is 2 or more and int32 before (headers of 20 and 16 bytes); then float32 values layer by layer:

    [convolutional]  bias, (scale, running mean, running variance,) weights (out, in, row, column); in brackets: with
                     batch norm, whose shift the bias then is
    [local]          bias (out, row, column), weights (row, column, out, in, row, column)
    [connected]      bias, weights (out, in), or (in, out) where major or minor is above 1000

    file of COCO      values            file of VOC       values
    yolov2            50,983,561        yolov1           197,328,243
    yolov2-tiny       11,237,145        yolov1-tiny       27,099,950
    yolov3            62,001,757        yolov2-voc        50,676,061
    yolov3-tiny        8,858,734        yolov2-tiny-voc   15,867,885
    yolov3-spp        63,052,381
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from imago.core.errors import ModelError
from imago.files.writing import atomic_write
from imago.models.detection.base import DetectionModel
from imago.models.detection.darknet import Conv, LocalConv
from imago.models.detection.yolov2 import YOLOv2

Layer = Conv | LocalConv | nn.Linear


def list_layers(net: nn.Module) -> Iterator[tuple[Layer, bool]]:
    """The layers that have values, in the order of a .cfg, and whether a leaky ReLU follows."""
    modules = list(net.modules())
    for index, module in enumerate(modules):
        if isinstance(module, Conv):
            yield module, module.leaky
        elif isinstance(module, LocalConv):
            yield module, True
        elif isinstance(module, nn.Linear):
            yield module, index + 1 < len(modules) and isinstance(modules[index + 1], nn.LeakyReLU)


def count_outputs(layer: Layer) -> int:
    """Channels or units."""
    if isinstance(layer, Conv):
        return layer.conv.out_channels
    return layer.weight.shape[1] if isinstance(layer, LocalConv) else layer.out_features


def _tensors_of(layer: Layer) -> list[Tensor]:
    """What a .weights file holds of a layer, in its order."""
    if isinstance(layer, Conv):
        if layer.norm is None:
            assert layer.conv.bias is not None
            return [layer.conv.bias, layer.conv.weight]
        norm = layer.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        return [norm.bias, norm.weight, norm.running_mean, norm.running_var, layer.conv.weight]
    return [layer.bias, layer.weight]


def count_values(net: nn.Module) -> int:
    """How many float32 values the net's .weights file holds."""
    return sum(tensor.numel() for layer, _ in list_layers(net) for tensor in _tensors_of(layer))


def read_weights(net: DetectionModel, path: Path) -> int:
    """Fill ``net`` from a .weights file, and give the number of images that it has seen in training.

    Raises ModelError, and leaves the net as it was, unless the file holds exactly as many values as the net.
    """
    path = Path(path)
    try:
        length = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(20)
    except OSError as error:
        raise ModelError(f"{path}: this .weights file cannot be read ({error})") from error
    if len(start) < 20:
        raise ModelError(f"{path}: {length} bytes are no .weights file, whose header alone has 16 or 20")
    major, minor, _ = struct.unpack_from("<3i", start)
    long = 10 * major + minor >= 2 and major < 1000 and minor < 1000
    header = 20 if long else 16
    seen = struct.unpack_from("<q" if long else "<i", start, 12)[0]
    expected = count_values(net)
    found, rest = divmod(length - header, 4)
    if found != expected or rest:
        fault = "is cut short" if found < expected else "holds more: it is another net's"
        raise ModelError(
            f"{path}: the file {fault}. This net takes {expected:,} values after the header of {header} bytes, "
            f"{header + 4 * expected:,} bytes in all; the file has {found:,} values and {rest} bytes, "
            f"{length:,} in all. "
            "Fetch it again, or give the .cfg that belongs to it"
        )
    values = np.memmap(path, "<f4", "r", offset=header)
    position = 0
    with torch.no_grad():
        for layer, _ in list_layers(net):
            for tensor in _tensors_of(layer):
                part = torch.from_numpy(np.array(values[position : position + tensor.numel()], np.float32))
                position += tensor.numel()
                if isinstance(layer, nn.Linear) and tensor.ndim == 2 and (major > 1000 or minor > 1000):
                    part = part.reshape(tensor.shape[::-1]).T
                tensor.copy_(part.reshape(tensor.shape))
        if isinstance(net, YOLOv2):
            net.seen.fill_(seen)
    return int(seen)


def write_weights(net: DetectionModel, path: Path, seen: int = 0, *, overwrite: bool = False) -> None:
    """Write the net's values as darknet 0.2 does (header of 20 bytes)."""
    with atomic_write(Path(path), overwrite=overwrite) as stream:
        stream.write(struct.pack("<3iq", 0, 2, 0, seen))
        for layer, _ in list_layers(net):
            for tensor in _tensors_of(layer):
                stream.write(tensor.detach().cpu().numpy().astype("<f4").tobytes())
