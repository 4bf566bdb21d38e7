"""YOLO v1, v2, v3: shapes, counts, and what is refused."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from yolo_forms import FORMS, Form, every_form, make, noise, size_of

from imago.models.catalog import ARCHITECTURES


def test_every_builder_is_examined() -> None:
    assert {form.name for form in FORMS.values()} == {name for name in ARCHITECTURES if name.startswith("yolo")}
    for architecture in ARCHITECTURES.values():
        parameters = inspect.signature(architecture.builder).parameters.values()
        assert all(p.default is not inspect.Parameter.empty for p in parameters)


@every_form
@pytest.mark.parametrize("in_channels", [3, 2])
def test_shapes(form: Form, in_channels: int) -> None:
    net = make(form, in_channels=in_channels).eval()
    size = size_of(form)
    with torch.no_grad():
        outputs = net(noise(2, in_channels, *size))
        found = net.decode(outputs, size)
    assert [tuple(o.shape) for o in outputs] == [(2, *shape) for shape in form.shapes]
    assert len(found) == 2
    for one in found:
        count = len(one.boxes)
        assert (one.boxes.shape, one.scores.shape, one.classes.shape) == ((count, 4), (count,), (count,))
        assert count <= net.detections_per_img
        assert one.classes.dtype == torch.int64
        assert ((one.scores > net.score_thresh) & (one.scores <= 1)).all()
        assert ((one.classes >= 1) & (one.classes <= 3)).all()
        assert one.scores.tolist() == sorted(one.scores.tolist(), reverse=True)
        assert (one.boxes >= 0).all()
        assert (one.boxes <= torch.tensor([size[1], size[0]] * 2)).all()


@pytest.mark.parametrize("name", ["v2", "v2-tiny", "v3", "v3-tiny", "v3-spp"])
def test_any_multiple_of_32(name: str) -> None:
    net = make(FORMS[name]).eval()
    for height, width in [(32, 32), (96, 64), (32, 160)]:
        with torch.no_grad():
            outputs = net(noise(1, 3, height, width))
        assert [tuple(o.shape[3:]) for o in outputs] == [
            (height * 2**i // 32, width * 2**i // 32) for i in range(len(outputs))
        ]
    with pytest.raises(ValueError, match="images are 64 x 48; this net needs multiples of 32"):
        net(noise(1, 3, 64, 48))


@pytest.mark.parametrize("size", [64, 192, 256])
def test_v1_knows_one_size(size: int) -> None:
    net = make(FORMS["v1"]).eval()
    with pytest.raises(ValueError, match=f"images are {size} x {size}; this net takes 128 x 128 alone"):
        net(noise(1, 3, size, size))
    with pytest.raises(ValueError, match="size must be a multiple of 64"):
        ARCHITECTURES["yolov1"].builder(size=100)


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        # By hand in the next test.
        ("yolov1", {"classes": 21, "norm": False}, 271_703_550),
        ("yolov1_fast", {"classes": 21, "norm": False}, 45_089_374),
        ("yolov2", {"classes": 81}, 50_962_889),
        ("yolov2", {"classes": 21}, 50_655_389),
        ("yolov3", {"classes": 81}, 61_949_149),  # as others count it, and 62,001,757 with 2 * 26,304 running numbers
        ("yolov3_tiny", {"classes": 81}, 8_852_366),
        ("yolov3_spp", {"classes": 81}, 62_998_749),
    ],
)
def test_parameter_counts(name: str, options: dict[str, Any], count: int) -> None:
    with torch.device("meta"):
        net = ARCHITECTURES[name].builder(**options)
    assert sum(p.numel() for p in net.parameters()) == count


def test_v1_count_by_hand() -> None:
    """Figure 3 of the paper, row by row: (kernel, in, out)."""
    rows = [(7, 3, 64), (3, 64, 192), (1, 192, 128), (3, 128, 256), (1, 256, 256), (3, 256, 512)]
    rows += [(1, 512, 256), (3, 256, 512)] * 4 + [(1, 512, 512), (3, 512, 1024)] + [(1, 1024, 512), (3, 512, 1024)] * 2
    rows += [(3, 1024, 1024)] * 4
    assert len(rows) == 24
    convolutions = sum(kernel**2 * i * o + o for kernel, i, o in rows)
    connected = 7 * 7 * 1024 * 4096 + 4096 + 4096 * 7 * 7 * 30 + 7 * 7 * 30
    assert convolutions + connected == 271_703_550


def test_refusals_in_words() -> None:
    for name, options, words in [
        ("yolov3", {"width": 2, "anchors": [(1, 2)]}, "anchors must be 9 pairs"),
        ("yolov2", {"width": 2, "anchors": [(1, -2)]}, "anchors must be some pairs"),
        ("yolov2", {"width": 3}, "width must be a multiple of 2"),
        ("yolov3_tiny", {"width": 2, "masks": [(0, 1, 2)]}, "masks must be 2 times three indices into the 6 anchors"),
        ("yolov3_tiny", {"width": 2, "masks": [(0, 1, 2), (4, 5, 6)]}, "masks must be 2 times three"),
        ("yolov2", {"width": 2, "classes": 1}, "classes counts the background and is 2 or more"),
    ]:
        with pytest.raises(ValueError, match=words.replace("(", r"\(")):
            ARCHITECTURES[name].builder(**options)
