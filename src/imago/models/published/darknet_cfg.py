"""darknet's ``.cfg`` files (github.com/pjreddie/darknet) of YOLO v1, v2 and v3 become our nets.

A .cfg is text: sections in brackets, one a layer, with ``key=value`` lines. ``build_from_cfg`` knows the layouts of
those nets (``LAYOUTS``), builds the one that has the same, with the file's widths, classes, anchors and sizes, and
compares layer by layer; any other file is refused, with the line where it differs. Forms with a [crop] section, which
changes the scale of the image (YOLO v1 before 2016), are among those. What a .cfg says of training is not looked at,
but for the overlap past which a prediction is no background (``thresh``, ``ignore_thresh``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imago.core.errors import ModelError
from imago.files.text import read_text
from imago.models.catalog import ARCHITECTURES
from imago.models.detection.base import DetectionModel
from imago.models.detection.darknet import Conv
from imago.models.detection.yolov2 import YOLOv2
from imago.models.detection.yolov3 import YOLOv3
from imago.models.published.darknet_weights import count_outputs, list_layers

# c3/2 is a convolution of kernel 3 and stride 2, m a 2 x 2 pool of stride 2, m5/1 one of 5 x 5 and stride 1, r-1,61 a
# route, s-3 a shortcut, u2 an upsample, g2 a reorg, l3 a local layer, d a dropout, f a connected layer.
_V1 = "c7/2 m c3 m" + " c1 c3" * 2 + " m" + " c1 c3" * 5 + " m" + " c1 c3" * 2 + " c3 c3/2 c3 c3"
_D53 = "c3" + "".join(" c3/2" + " c1 c3 s-3" * blocks for blocks in (1, 2, 8, 8, 4))
_FINER = "".join(f" r-4 c1 u2 r-1,{layer}" + " c1 c3" * 3 + " c1 yolo" for layer in (61, 36))
_TINY = "c3 m " * 5 + "c3 m2/1 c3"
LAYOUTS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("yolov1", {"published": True}, _V1 + " l3 d f detection"),
    ("yolov1", {"published": False}, _V1 + " f d f detection"),
    ("yolov1_fast", {"published": True}, "c3 m " * 6 + "c3 c3 f detection"),
    ("yolov1_fast", {"published": False}, "c3 m " * 6 + "c3 c3 c3 f f d f detection"),
    (
        "yolov2",
        {},
        "c3 m c3 m c3 c1 c3 m c3 c1 c3 m c3 c1 c3 c1 c3 m c3 c1 c3 c1 c3 c3 c3 r-9 c1 g2 r-1,-4 c3 c1 region",
    ),
    ("yolov2_tiny", {}, _TINY + " c3 c1 region"),
    ("yolov3", {}, _D53 + " c1 c3" * 3 + " c1 yolo" + _FINER),
    (
        "yolov3_spp",
        {},
        _D53 + " c1 c3 c1 m5/1 r-2 m9/1 r-4 m13/1 r-1,-3,-5,-6" + " c1 c3" * 2 + " c1 yolo" + _FINER,
    ),
    ("yolov3_tiny", {}, _TINY + " c1 c3 c1 yolo r-4 c1 u2 r-1,8 c3 c1 yolo"),
)
CELL = 32  # pixels: the unit of v2's anchors


@dataclass(frozen=True)
class Section:
    """One layer of a .cfg, or [net]."""

    kind: str
    line: int
    values: dict[str, str] = field(default_factory=dict)

    def whole(self, key: str, default: int = 0) -> int:
        return int(self.values.get(key, default))

    def numbers(self, key: str) -> list[float]:
        return [float(value) for value in self.values.get(key, "").split(",") if value.strip()]

    @property
    def token(self) -> str:
        """Its part of a layout."""
        first, stride = self.values.get("size", ""), self.whole("stride", 1)
        if self.kind == "convolutional":
            return f"c{first or 1}" + (f"/{stride}" if stride != 1 else "") + ("" if self.whole("pad") else " unpadded")
        if self.kind == "maxpool":
            pool = f"m{first or stride}/{stride}" + (" padding" if "padding" in self.values else "")
            return "m" if pool == "m2/2" else pool
        if self.kind in ("route", "shortcut"):
            layers = self.values.get("layers", self.values.get("from", "")).replace(" ", "")
            return self.kind[0] + layers
        letters = {
            "upsample": f"u{stride}",
            "reorg": f"g{stride}",
            "local": f"l{first}",
            "dropout": "d",
            "connected": "f",
        }
        return letters.get(self.kind, self.kind)


def read_cfg(path: Path) -> list[Section]:
    """The sections of a .cfg; the first is [net] (or [network]). Raises ModelError that names file and line."""
    try:
        lines = read_text(Path(path)).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: this .cfg cannot be read ({error})") from error
    sections: list[Section] = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text[0] in "#;":
            continue
        if text.startswith("[") and text.endswith("]"):
            sections.append(Section(text[1:-1].strip(), number))
            continue
        key, equals, value = text.partition("=")
        if not equals or not sections:
            raise ModelError(f"{path}:{number}: expected [section] or key=value; got {text!r}")
        sections[-1].values[key.strip()] = value.split("#")[0].strip()
    if not sections or sections[0].kind not in ("net", "network") or len(sections) < 2:
        raise ModelError(f"{path}: a .cfg begins with [net], and layers follow; is it another kind of file?")
    return sections


def build_from_cfg(path: Path) -> DetectionModel:
    """A fresh net as the .cfg says. Raises ModelError that names the file, and the line that no net of ours has."""
    sections = read_cfg(path)
    try:
        name, options = _options_of(sections, path)
        net = ARCHITECTURES[name].builder(**options)
        assert isinstance(net, DetectionModel)  # all of LAYOUTS are
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from error
    _compare(net, sections, path)
    last = sections[-1]
    limit = last.values.get("ignore_thresh" if last.kind == "yolo" else "thresh")
    if limit is not None and isinstance(net, (YOLOv2, YOLOv3)):
        net.ignore = float(limit)
    return net


def _options_of(sections: list[Section], path: Path) -> tuple[str, dict[str, Any]]:
    """Name and options for a builder of ``ARCHITECTURES``."""
    tokens = [section.token for section in sections[1:]]
    fitting = [(name, fixed) for name, fixed, layout in LAYOUTS if layout.split() == tokens]
    if not fitting:
        section = sections[1 + max(_alike(tokens, layout.split()) for _, _, layout in LAYOUTS)]
        raise ModelError(
            f"{path}:{section.line}: [{section.kind}] is where this .cfg parts from YOLO v1, v2 and v3. Known are the "
            "layouts of yolov1, yolov1-tiny, yolov2, yolov2-tiny, yolov3, yolov3-tiny and yolov3-spp"
        )
    name, fixed = fitting[0]
    net, layers, last = sections[0], sections[1:], sections[-1]
    first = layers[0]
    if first.whole("filters") < 1:
        raise ModelError(f"{path}:{first.line}: [convolutional] needs filters=, 1 or more")
    _check_answers([section for section in layers if section.kind == last.kind], path)
    options: dict[str, Any] = {
        **fixed,
        "classes": last.whole("classes") + 1,
        "in_channels": net.whole("channels", 3),
        "width": first.whole("filters"),
    }
    if last.kind == "detection":
        size = net.whole("height")
        if size != net.whole("width") or size != 64 * last.whole("side"):
            raise ModelError(
                f"{path}: YOLO v1 takes squares of 64 pixels for each of the {last.whole('side')} cells a side; got "
                f"height {size}, width {net.whole('width')}"
            )
        return name, {**options, "size": size, "boxes": last.whole("num"), "norm": bool(first.whole("batch_normalize"))}
    flat = last.numbers("anchors")
    scale = CELL if last.kind == "region" else 1
    options["anchors"] = [(w * scale, h * scale) for w, h in zip(flat[::2], flat[1::2], strict=True)]
    if name == "yolov2_tiny":
        options["last"] = layers[-3].whole("filters") // options["width"]
    if last.kind == "yolo":
        options["masks"] = [[int(i) for i in s.numbers("mask")] for s in layers if s.kind == "yolo"]
    return name, options


def _alike(tokens: list[str], layout: list[str]) -> int:
    """The index of the first token that is not the layout's; the last, where there are too few of them."""
    pairs = enumerate(zip(tokens, layout, strict=False))
    return min(next((index for index, (own, known) in pairs if own != known), len(layout)), len(tokens) - 1)


def _check_answers(ends: list[Section], path: Path) -> None:
    """That the layers which give the answers mean by them what our nets do, and all the same."""
    kind = ends[0].kind
    usual = {
        "detection": {"coords": "4", "sqrt": "1", "softmax": "0"},
        "region": {"coords": "4", "softmax": "1"},
        "yolo": {"scale_x_y": "1"},
    }[kind]
    for end in ends:
        for key, value in usual.items():
            given = end.values.get(key, value if kind == "yolo" else "0")
            if float(given) != float(value):
                raise ModelError(
                    f"{path}:{end.line}: [{kind}] has {key}={given}; our net of this kind has {key}={value}"
                )
        for key in ("classes", "anchors"):
            if end.values.get(key) != ends[0].values.get(key):
                raise ModelError(
                    f"{path}:{end.line}: {key} differ from those of line {ends[0].line}; give all the same"
                )
        if "tree" in end.values:
            raise ModelError(f"{path}:{end.line}: classes in a tree (YOLO9000) are not known here")
        if kind != "detection" and 2 * end.whole("num") != len(end.numbers("anchors")):
            raise ModelError(
                f"{path}:{end.line}: num={end.whole('num')} anchors are {2 * end.whole('num')} numbers; "
                f"got {len(end.numbers('anchors'))}"
            )


def _words(outputs: int, norm: bool, activation: str) -> str:
    return f"{outputs} outputs, {'' if norm else 'no '}batch norm, activation {activation}"


def _compare(net: DetectionModel, sections: list[Section], path: Path) -> None:
    """ModelError unless every layer with values is as wide, and ends, as ours."""
    with_values = [section for section in sections if section.kind in ("convolutional", "local", "connected")]
    for section, (layer, leaky) in zip(with_values, list_layers(net), strict=True):
        given = (
            section.whole("output" if section.kind == "connected" else "filters"),
            bool(section.whole("batch_normalize")),
            section.values.get("activation", "logistic"),
        )
        normed = isinstance(layer, Conv) and layer.norm is not None
        wanted = (count_outputs(layer), normed, "leaky" if leaky else "linear")
        if given != wanted:
            raise ModelError(
                f"{path}:{section.line}: [{section.kind}] has {_words(*given)}; this net has {_words(*wanted)} there"
            )
