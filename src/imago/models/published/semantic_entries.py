"""Entries of the catalog for nets that label pixels: the official U2-Nets, torchvision's FCN, DeepLab v3 and LR-ASPP.

U2-Net's are those of rembg's release v0.0.0: the authors' checkpoints as ONNX. The ``-voc`` ones are torchvision's, for
PyTorch. torchvision's SHA-256 begin with the eight digits in the name of the file, and their sizes are those that
torchvision states.
"""

from __future__ import annotations

from typing import Any

from imago.core.input_spec import InputSpec
from imago.core.labels import binary_labels, voc_labels
from imago.core.model_card import ModelCard
from imago.files.download import Remote
from imago.models.published.entries import TORCHVISION, Published

_RELEASE = "https://github.com/danielgatis/rembg/releases/download/v0.0.0/"


def _u2net(name: str, architecture: str, size: int, sha256: str, foreground: str, data: str, note: str) -> Published:
    card = ModelCard(
        name=name,
        architecture=architecture,
        options={"classes": 1, "in_channels": 3},
        task="binary",
        labels=binary_labels(foreground),
        # As the authors' own test script prepares an image: divided by its largest value, then ImageNet's mean and std.
        input=InputSpec(rule="resize", size_hw=(320, 320), multiple=1, scale="max"),
        output="probability",
        minmax_normalize=True,
        data=(data,),
        license="Apache-2.0",
        note=note,
    )
    return Published(Remote(f"{_RELEASE}{name}.onnx", size, sha256), card)


def _voc(
    name: str,
    architecture: str,
    options: dict[str, Any],
    file: str,
    size: int,
    sha256: str,
    scores: tuple[float, float],
) -> Published:
    """``scores``: mean IoU and pixel accuracy as torchvision states them."""
    card = ModelCard(
        name=name,
        architecture=architecture,
        options={"classes": 21, "in_channels": 3, **options},
        task="semantic",
        labels=voc_labels(),
        # torchvision brings the shorter side to 520. A rule for the area costs the same for every photo; at 4:3, the
        # usual shape of COCO's photos, 600 x 600 is torchvision's size (520 x 696), multiples of the nets' stride.
        input=InputSpec(rule="area", size_hw=(600, 600), multiple=8),
        scores={"coco-val2017/mean_iou": scores[0], "coco-val2017/pixel_accuracy": scores[1]},
        data=(
            "COCO train2017, the photos with any of PASCAL VOC's 20 classes, labelled as VOC does (annotations CC BY "
            "4.0; the photos under their Flickr owners' terms)",
            "ImageNet-1k, on which the encoder began (for research use)",
        ),
        license="BSD-3-Clause",
        note=f"Published by torchvision ({file}). Learnt from COCO's photos with VOC's 21 labels, not from VOC. The "
        "scores are torchvision's own, with the shorter side at 520 pixels; here a photo gets about 600 x 600 in area.",
    )
    return Published(Remote(TORCHVISION + file, size, sha256), card, "torchvision")


SEMANTIC_ENTRIES: tuple[Published, ...] = (
    _u2net(
        "u2net",
        "u2net",
        size=175_997_641,
        sha256="8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491",
        foreground="subject",
        data="DUTS-TR (10,553 images, for academic use)",
        note="Official weights of U2-Net (Qin et al. 2020, arXiv:2005.09007): whatever stands out in a photo.",
    ),
    _u2net(
        "u2netp",
        "u2netp",
        size=4_574_861,
        sha256="309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
        foreground="subject",
        data="DUTS-TR (10,553 images, for academic use)",
        note="Official weights of the small U2-Net (Qin et al. 2020, arXiv:2005.09007): whatever stands out in a "
        "photo.",
    ),
    _u2net(
        "u2net_human_seg",
        "u2net",
        size=175_997_641,
        sha256="01eb6a29a5c4d8edb30b56adad9bb3a2a0535338e480724a213e0acfd2d1c73c",
        foreground="person",
        data="Supervisely Person (for research use)",
        note="Official weights of U2-Net (Qin et al. 2020) for people.",
    ),
    _voc(
        "lraspp-mobilenetv3-voc",
        "lraspp",
        options={"encoder": "mobilenet_v3_large"},
        file="lraspp_mobilenet_v3_large-d234d4ea.pth",
        size=13_097_061,
        sha256="d234d4eae9d55d5f76de18b77cf0dc62c66fe5c5482758209d00f950c92bb280",
        scores=(0.579, 0.912),
    ),
    _voc(
        "deeplabv3-mobilenetv3-voc",
        "deeplabv3",
        options={"encoder": "mobilenet_v3_large", "output_stride": 16, "rates": [12, 24, 36]},
        file="deeplabv3_mobilenet_v3_large-fc3c493d.pth",
        size=44_356_159,
        sha256="fc3c493d68e89cc31ef488c803d5d7dd2f3190fb570598faa49fef69be8e5e70",
        scores=(0.603, 0.912),
    ),
    _voc(
        "deeplabv3-resnet50-voc",
        "deeplabv3",
        options={"encoder": "resnet50"},
        file="deeplabv3_resnet50_coco-cd0a2569.pth",
        size=168_312_152,
        sha256="cd0a25694c4a0f7106b38f4938bf90a874f2f241cc410b8f63c7024399538f06",
        scores=(0.664, 0.924),
    ),
    _voc(
        "deeplabv3-resnet101-voc",
        "deeplabv3",
        options={"encoder": "resnet101"},
        file="deeplabv3_resnet101_coco-586e9e4e.pth",
        size=244_545_539,
        sha256="586e9e4e203fcbf17e1ad45533d8d33ab133fc762bf03101c5dd743995c08c0d",
        scores=(0.674, 0.924),
    ),
    _voc(
        "fcn-resnet50-voc",
        "fcn",
        options={"encoder": "resnet50"},
        file="fcn_resnet50_coco-1167a1af.pth",
        size=141_567_418,
        sha256="1167a1affa42e1e62858f8d3fac12d109e0108327ffc91c5855a324b11683c36",
        scores=(0.605, 0.914),
    ),
    _voc(
        "fcn-resnet101-voc",
        "fcn",
        options={"encoder": "resnet101"},
        file="fcn_resnet101_coco-7ecb50ca.pth",
        size=217_800_805,
        sha256="7ecb50ca17844860a70d5ed0c748d997cf8adb62932abaa0233430c68594d749",
        scores=(0.637, 0.919),
    ),
)
