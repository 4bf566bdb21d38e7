"""darknet's .cfg and .weights: the official files are not here, so stand-ins are written by hand and from our nets.

Held once, outside of the tests, against OpenCV 4.10's own reader of these files (5.0 has none): narrow nets of v2 and
v3, tiny and SPP forms too, with random values. Corners within 2e-4 of the side, scores within 1e-5, where ours adds
1e-6 to the variance as OpenCV does.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from imago.core.errors import ModelError
from imago.models.catalog import ARCHITECTURES
from imago.models.detection.yolov1 import YOLOv1
from imago.models.detection.yolov2 import YOLOv2
from imago.models.detection.yolov3 import YOLOv3
from imago.models.published.darknet_cfg import build_from_cfg, read_cfg
from imago.models.published.darknet_weights import count_values, read_weights, write_weights

NINE = "10,13,  16,30,  33,23,  30,61,  62,45,  59,119,  116,90,  156,198,  373,326"
SIX = "10,14,  23,27,  37,58,  81,82,  135,169,  344,319"


def section(kind: str, **values: Any) -> str:
    return f"[{kind}]\n" + "".join(f"{key}={value}\n" for key, value in values.items()) + "\n"


def conv(filters: int, size: int = 3, stride: int = 1) -> str:
    values = {"filters": filters, "size": size, "stride": stride, "pad": 1, "activation": "leaky"}
    return section("convolutional", batch_normalize=1, **values)


def last(filters: int) -> str:
    return section("convolutional", size=1, stride=1, pad=1, filters=filters, activation="linear")


def pool(size: int = 2, stride: int = 2) -> str:
    return section("maxpool", size=size, stride=stride)


def net(height: int, width: int) -> str:
    return "# Testing\n" + section("net", batch=1, width=width, height=height, channels=3, momentum=0.9)


def yolo(mask: str, anchors: str, num: int, classes: int) -> str:
    return section("yolo", mask=mask, anchors=anchors, classes=classes, num=num, jitter=".3", ignore_thresh=".7")


def v3_cfg(w: int = 32, classes: int = 80, spp: bool = False) -> str:
    text = net(416, 416) + conv(w)
    for stage, blocks in enumerate((1, 2, 8, 8, 4)):
        wide = w * 2 ** (stage + 1)
        text += "# Downsample\n" + conv(wide, stride=2)
        text += (conv(wide // 2, 1) + conv(wide) + section("shortcut", **{"from": -3, "activation": "linear"})) * blocks
    outputs = 3 * (classes + 5)
    for scale, (wide, skip) in enumerate([(32 * w, 0), (16 * w, 61), (8 * w, 36)]):
        if scale:
            text += section("route", layers=-4) + conv(wide // 2, 1)
            text += section("upsample", stride=2) + section("route", layers=f"-1, {skip}")
        pair = conv(wide // 2, 1) + conv(wide)
        if spp and not scale:
            text += pair + conv(wide // 2, 1) + pool(5, 1) + section("route", layers=-2) + pool(9, 1)
            text += section("route", layers=-4) + pool(13, 1) + section("route", layers="-1,-3,-5,-6") + pair * 2
        else:
            text += pair * 3
        text += last(outputs) + yolo(("6,7,8", "3,4,5", "0,1,2")[scale], NINE, 9, classes)
    return text


def tiny_column(w: int) -> str:
    text = "".join(conv(w * 2**level) + pool() for level in range(5))
    return text + conv(32 * w) + pool(2, 1) + conv(64 * w)


def v3_tiny_cfg(w: int = 16, classes: int = 80) -> str:
    outputs = 3 * (classes + 5)
    text = net(416, 416) + tiny_column(w) + conv(16 * w, 1) + conv(32 * w)
    text += last(outputs) + yolo("3,4,5", SIX, 6, classes) + section("route", layers=-4) + conv(8 * w, 1)
    text += section("upsample", stride=2) + section("route", layers="-1, 8") + conv(16 * w)
    return text + last(outputs) + yolo("0,1,2", SIX, 6, classes)


def region(classes: int, anchors: str, num: int = 5) -> str:
    scales = {"object_scale": 5, "noobject_scale": 1, "class_scale": 1, "coord_scale": 1, "thresh": " .55"}
    return section("region", anchors=anchors, bias_match=1, classes=classes, coords=4, num=num, softmax=1, **scales)


CELLS = "1.3221, 1.73145, 3.19275, 4.00944, 5.05587, 8.09892, 9.47112, 4.84053, 11.2364, 10.0071"


def v2_cfg(w: int = 32, classes: int = 80) -> str:
    text = net(608, 608) + conv(w) + pool() + conv(2 * w)
    for wide, pairs in ((4 * w, 1), (8 * w, 1), (16 * w, 2), (32 * w, 2)):
        text += pool() + conv(wide) + (conv(wide // 2, 1) + conv(wide)) * pairs
    text += conv(32 * w) * 2 + section("route", layers=-9) + conv(2 * w, 1) + section("reorg", stride=2)
    return text + section("route", layers="-1,-4") + conv(32 * w) + last(5 * (classes + 5)) + region(classes, CELLS)


def v2_tiny_cfg(w: int = 16, classes: int = 80, before: int = 32) -> str:
    return net(416, 416) + tiny_column(w) + conv(before * w) + last(5 * (classes + 5)) + region(classes, CELLS)


def detection(boxes: int, classes: int, side: int) -> str:
    return section("detection", classes=classes, coords=4, rescore=1, side=side, num=boxes, softmax=0, sqrt=1)


def v1_cfg(w: int = 64, classes: int = 20, side: int = 7) -> str:
    pair = conv(4 * w, 1) + conv(8 * w)
    text = net(64 * side, 64 * side) + conv(w, 7, 2) + pool() + conv(3 * w) + pool()
    text += conv(2 * w, 1) + conv(4 * w) + pair + pool() + pair * 4 + conv(8 * w, 1) + conv(16 * w) + pool()
    text += (conv(8 * w, 1) + conv(16 * w)) * 2 + conv(16 * w) + conv(16 * w, 3, 2) + conv(16 * w) * 2
    text += section("local", size=3, stride=1, pad=1, filters=4 * w, activation="leaky")
    text += section("dropout", probability=".5")
    return (
        text + section("connected", output=side**2 * (classes + 15), activation="linear") + detection(3, classes, side)
    )


def v1_tiny_cfg(w: int = 16, classes: int = 20, side: int = 7) -> str:
    text = net(64 * side, 64 * side) + "".join(conv(w * 2**level) + pool() for level in range(6))
    text += conv(64 * w) + conv(16 * w) + section("connected", output=side**2 * (classes + 10), activation="linear")
    return text + detection(2, classes, side)


# The file sizes of the published files give these counts: (bytes - header) / 4.
OFFICIAL = {
    "yolov1": (v1_cfg(), YOLOv1, 197_328_243),
    "yolov1-tiny": (v1_tiny_cfg(), YOLOv1, 27_099_950),
    "yolov2": (v2_cfg(), YOLOv2, 50_983_561),
    "yolov2-voc": (v2_cfg(classes=20), YOLOv2, 50_676_061),
    "yolov2-tiny": (v2_tiny_cfg(), YOLOv2, 11_237_145),
    "yolov2-tiny-voc": (v2_tiny_cfg(classes=20, before=64), YOLOv2, 15_867_885),
    "yolov3": (v3_cfg(), YOLOv3, 62_001_757),
    "yolov3-tiny": (v3_tiny_cfg(), YOLOv3, 8_858_734),
    "yolov3-spp": (v3_cfg(spp=True), YOLOv3, 63_052_381),
}
NARROW = {
    "yolov1": v1_cfg(2, 3, 2),
    "yolov1-tiny": v1_tiny_cfg(2, 3, 2),
    "yolov2": v2_cfg(2, 3),
    "yolov2-tiny": v2_tiny_cfg(2, 3, before=64),
    "yolov3": v3_cfg(2, 3),
    "yolov3-tiny": v3_tiny_cfg(2, 3),
    "yolov3-spp": v3_cfg(2, 3, spp=True),
}


def written(folder: Path, text: str) -> Path:
    path = folder / "net.cfg"
    path.write_text(text)
    return path


def narrow(folder: Path, name: str) -> Any:
    torch.manual_seed(0)
    return build_from_cfg(written(folder, NARROW[name])).eval()


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_counts(name: str, tmp_path: Path) -> None:
    text, kind, count = OFFICIAL[name]
    with torch.device("meta"):
        found = build_from_cfg(written(tmp_path, text))
    assert isinstance(found, kind)
    assert count_values(found) == count


def test_what_the_cfg_says_is_taken_over(tmp_path: Path) -> None:
    two = narrow(tmp_path, "yolov2")
    assert (two.classes, two.in_channels, two.ignore) == (4, 3, 0.55)
    assert two.anchors[1].tolist() == pytest.approx([3.19275 * 32, 4.00944 * 32])
    three = narrow(tmp_path, "yolov3-tiny")
    assert (three.ignore, three.masks) == (0.7, [[3, 4, 5], [0, 1, 2]])
    assert three.anchors[4].tolist() == [135, 169]
    shifted = build_from_cfg(written(tmp_path, NARROW["yolov3-tiny"].replace("mask=0,1,2", "mask=1,2,3")))
    assert shifted.masks == [[3, 4, 5], [1, 2, 3]]
    one = narrow(tmp_path, "yolov1")
    assert (one.size, one.boxes, one.side, one.classes) == (128, 3, 2, 4)


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("yolov3", "from=-3", "from=-2", r"net.cfg:42: \[shortcut\] is where this .cfg parts from YOLO v1, v2 and v3"),
        ("yolov3", "layers=-1, 61", "layers=-1, 60", r"\[route\] is where this .cfg parts"),
        ("yolov3", "anchors=10,13,", "anchors=11,13,", ""),
        (
            "yolov3",
            "classes=3",
            "classes=4",
            "has 24 outputs, no batch norm, activation linear; this net has 27 outputs",
        ),
        ("yolov3", "num=9", "num=8", r"num=8 anchors are 16 numbers; got 18"),
        ("yolov3", "jitter=.3", "scale_x_y=1.05", "has scale_x_y=1.05; our net of this kind has scale_x_y=1"),
        ("yolov2", "softmax=1", "softmax=0", "has softmax=0"),
        ("yolov2", "coords=4", "coords=4\ntree=9k.tree", "YOLO9000"),
        ("yolov2-tiny", "activation=leaky", "activation=relu", "activation relu; this net has 2 outputs, batch norm"),
        ("yolov2-tiny", "pad=1", "pad=0", r"\[convolutional\] is where"),
        ("yolov1", "height=128", "height=192", "squares of 64 pixels for each of the 2 cells a side; got height 192"),
        ("yolov1", "stride=2\n\n", "stride=2\npadding=1\n\n", r"\[maxpool\] is where"),
        ("yolov1-tiny", "[net]", "[layer]", r"a .cfg begins with \[net\]"),
        ("yolov1-tiny", "size=3", "size 3", "net.cfg:12: expected .section. or key=value; got 'size 3'"),
    ],
)
def test_another_cfg_is_refused(name: str, old: str, new: str, words: str, tmp_path: Path) -> None:
    text = NARROW[name]
    assert old in text
    path = written(tmp_path, text.replace(old, new))
    if not words:  # allowed
        assert build_from_cfg(path).anchors[0].tolist() == [11, 13]
        return
    with pytest.raises(ModelError, match=words) as caught:
        build_from_cfg(path)
    assert str(caught.value).startswith(str(path))


def test_cfg_that_is_missing_or_cut(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.cfg: this .cfg cannot be read"):
        read_cfg(tmp_path / "nowhere.cfg")
    text = NARROW["yolov3"]
    with pytest.raises(ModelError, match="is where this"):
        build_from_cfg(written(tmp_path, text[: text.rindex("[yolo]")]))


@pytest.mark.parametrize("name", NARROW)
def test_weights_there_and_back(name: str, tmp_path: Path) -> None:
    """Every number of a trained net, running means too; the answers are the same."""
    first = narrow(tmp_path, name)
    with torch.no_grad():
        for tensor in [*first.parameters(), *(b for n, b in first.named_buffers() if "running" in n)]:
            tensor.copy_(torch.rand_like(tensor))
    path = tmp_path / "net.weights"
    write_weights(first, path, seen=123)
    assert path.stat().st_size == 20 + 4 * count_values(first)
    torch.manual_seed(1)
    second = build_from_cfg(tmp_path / "net.cfg").eval()
    assert read_weights(second, path) == 123
    for key, tensor in first.state_dict().items():
        if key.split(".")[-1] not in ("num_batches_tracked", "seen"):
            assert torch.equal(tensor, second.state_dict()[key]), key
    if isinstance(second, YOLOv2):
        assert second.seen.item() == 123


def test_order_in_the_file(tmp_path: Path) -> None:
    """A file written here by hand: values 0, 1, 2, ... ; 16 bytes of header as in 2016."""
    net = narrow(tmp_path, "yolov2-tiny")
    count = count_values(net)
    path = tmp_path / "old.weights"
    path.write_bytes(struct.pack("<4i", 0, 1, 0, 77) + np.arange(count, dtype="<f4").tobytes())
    assert read_weights(net, path) == 77
    first = net.backbone.convs[0]
    assert first.norm.bias.tolist() == [0, 1]
    assert first.norm.weight.tolist() == [2, 3]
    assert first.norm.running_mean.tolist() == [4, 5]
    assert first.norm.running_var.tolist() == [6, 7]
    assert first.conv.weight.flatten().tolist() == list(range(8, 8 + 2 * 3 * 9))  # out, in, row, column
    outputs = net.head.conv.out_channels
    weights = net.head.conv.weight.numel()
    assert net.head.conv.weight.flatten()[-1].item() == count - 1
    assert net.head.conv.bias[0].item() == count - weights - outputs


@pytest.mark.parametrize(("major", "transposed"), [(0, False), (1001, True)])
def test_connected_layers_of_old_files_are_transposed(major: int, transposed: bool, tmp_path: Path) -> None:
    net = narrow(tmp_path, "yolov1-tiny")
    linear = next(m for m in net.modules() if isinstance(m, nn.Linear))
    count, inside = count_values(net), linear.weight.numel()
    values = np.zeros(count, "<f4")
    values[-inside:] = np.arange(inside)
    path = tmp_path / "old.weights"
    path.write_bytes(struct.pack("<4i", major, 1, 0, 5) + values.tobytes())
    assert read_weights(net, path) == 5
    step = linear.out_features if transposed else 1
    assert (linear.weight[0, 1] - linear.weight[0, 0]).item() == step


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            -4,
            "is cut short. This net takes {count:,} values after the header of 20 bytes, {whole:,} bytes in all",
        ),
        (-3, "the file is cut short. This net takes {count:,} values"),
        (4, "the file holds more: it is another net's. This net takes {count:,} values"),
        (1, "and 1 bytes, {more:,} in all"),
    ],
)
def test_another_length_is_refused(change: int, words: str, tmp_path: Path) -> None:
    net = narrow(tmp_path, "yolov3-tiny")
    path = tmp_path / "net.weights"
    write_weights(net, path)
    content = path.read_bytes()
    path.write_bytes(content[:change] if change < 0 else content + bytes(change))
    before = [p.clone() for p in net.parameters()]
    with pytest.raises(ModelError) as caught:
        read_weights(net, path)
    whole = len(content)
    assert words.format(count=count_values(net), whole=whole, more=whole + change) in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_files_that_are_none(tmp_path: Path) -> None:
    net = narrow(tmp_path, "yolov3-tiny")
    (tmp_path / "short.weights").write_bytes(b"1234")
    with pytest.raises(ModelError, match=r"short\.weights: 4 bytes are no \.weights file"):
        read_weights(net, tmp_path / "short.weights")
    with pytest.raises(ModelError, match=r"nowhere\.weights: this \.weights file cannot be read"):
        read_weights(net, tmp_path / "nowhere.weights")


def test_a_builder_has_the_same_values_as_a_cfg(tmp_path: Path) -> None:
    net = ARCHITECTURES["yolov3_spp"].builder(classes=4, width=2)
    assert count_values(net) == count_values(narrow(tmp_path, "yolov3-spp"))
