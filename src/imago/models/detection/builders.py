"""The nets that find objects: how each is put together from plain options. ``imago.models.catalog`` has their names.

``classes`` counts the background: 2 is one class of objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imago.models.detection.base import DetectionModel

Builder = Callable[..., "DetectionModel"]
Pairs = Sequence[Sequence[float]]  # anchors: width and height in network pixels
THRESHOLDS = ("score_thresh", "nms_thresh", "detections_per_img")  # attributes of every net; see base.py


def _check_published(pretrained: bool, width: int, fc_width: int) -> None:
    if pretrained and (width, fc_width) != (64, 4096):
        raise ValueError(f"published VGG-16 weights are of width 64 and fc_width 4096; got {width} and {fc_width}")


def build_fastrcnn(
    classes: int = 2,
    in_channels: int = 3,
    encoder: str = "vgg16",
    pretrained: bool = False,
    width: int = 64,
    fc_width: int = 0,
    output_stride: int = 16,
    dropout: float = 0.5,
    batch_size_per_image: int = 64,
    negative_from: float = 0.1,
) -> DetectionModel:
    """``encoder`` vgg16 (the paper's) or vgg16_bn: ``width`` counts; else any, ending at ``output_stride``.
    ``fc_width`` 0: 4096 with VGG-16, else 1024. ``batch_size_per_image``: proposals an image and training step;
    ``negative_from``: least overlap of a negative, 0 where classes are learned from scratch on few photos."""
    from imago.models.detection import fast_rcnn as forms
    from imago.models.encoders import build_encoder

    if not 0 <= negative_from < 0.5 or batch_size_per_image < 1:
        raise ValueError(
            "negative_from lies from 0 up to 0.5, batch_size_per_image is 1 or more; "
            f"got {negative_from} and {batch_size_per_image}"
        )
    if encoder in ("vgg16", "vgg16_bn"):
        _check_published(pretrained, width, fc_width or 4096)
        net = forms.build_vgg_fast_rcnn(
            classes,
            in_channels,
            pretrained,
            width=width,
            fc_width=fc_width or 4096,
            norm=encoder == "vgg16_bn",
            dropout=dropout,
        )
    else:
        maps = build_encoder(encoder, in_channels, pretrained, output_stride)
        net = forms.build_encoder_fast_rcnn(maps, classes, in_channels, fc_width or 1024, dropout)
    net.batch_size_per_image, net.negative_from = batch_size_per_image, negative_from
    return net


def build_rcnn(
    classes: int = 2,
    in_channels: int = 3,
    encoder: str = "vgg16",
    pretrained: bool = False,
    width: int = 64,
    fc_width: int = 4096,
    crop: int = 227,
) -> DetectionModel:
    """``encoder`` vgg16 (``width`` and ``fc_width`` count), alexnet (the paper's two), or any; ``crop``: pixels."""
    from imago.models.detection.rcnn import build_rcnn

    if in_channels != 3:
        raise ValueError(f"R-CNN looks at crops of 3 channels; got in_channels={in_channels}")
    if encoder == "vgg16":
        _check_published(pretrained, width, fc_width)
    return build_rcnn(classes, encoder, pretrained, crop, width, fc_width)


def build_fasterrcnn(
    classes: int = 2,
    in_channels: int = 3,
    encoder: str = "resnet50",
    pretrained: bool = False,
    width: int = 0,
    fc_width: int = 0,
    sizes: Sequence[float] = (),
    proposals: int = 0,
    batch_size_per_image: int = 0,
    frozen_norms: bool = False,
    frozen_stages: int = 0,
) -> DetectionModel:
    """``encoder`` vgg16 or vgg16_bn: the paper's net, ``width`` 64 is VGG's; else a pyramid of ``width`` 256 channels
    over it. 0 and empty: the published form's own. ``sizes``: of the anchors, pixels; one a map of the pyramid.
    ``proposals``: that go on in use, ``batch_size_per_image``: regions an image and training step; fewer are faster.
    ``frozen_norms``, ``frozen_stages``: what a pretrained encoder keeps as it came, see fpn.py."""
    from imago.models.detection import faster_rcnn as forms
    from imago.models.detection.fpn import FeaturePyramid
    from imago.models.encoders import build_encoder

    if encoder in ("vgg16", "vgg16_bn"):
        if frozen_norms or frozen_stages:
            name = "frozen_norms" if frozen_norms else "frozen_stages"
            raise ValueError(f"{name} is for encoders with a pyramid; leave it out with VGG-16")
        _check_published(pretrained, width or 64, fc_width or 4096)
        net = forms.build_vgg_faster_rcnn(
            classes, in_channels, width or 64, norm=encoder == "vgg16_bn", fc_width=fc_width or 4096,
            sizes=sizes or (128, 256, 512), proposals=proposals or 300,
            batch_size_per_image=batch_size_per_image or 128, pretrained=pretrained,
        )  # fmt: skip
    else:
        features = FeaturePyramid(
            build_encoder(encoder, in_channels, pretrained), width or 256, frozen_norms, frozen_stages
        )
        net = forms.build_fpn_faster_rcnn(
            classes, in_channels, features, fc_width=fc_width or 1024, sizes=sizes or (32, 64, 128, 256, 512),
            proposals=proposals or 1000, batch_size_per_image=batch_size_per_image or 512,
        )  # fmt: skip
    return net


def build_maskrcnn(
    classes: int = 2,
    in_channels: int = 3,
    encoder: str = "resnet50",
    pretrained: bool = False,
    width: int = 256,
    fc_width: int = 1024,
    sizes: Sequence[float] = (32, 64, 128, 256, 512),
    proposals: int = 1000,
    batch_size_per_image: int = 512,
    mask_widths: Sequence[int] = (256, 256, 256, 256),
    separable: bool = False,
    frozen_norms: bool = False,
    frozen_stages: int = 0,
) -> DetectionModel:
    """``width``: channels of the pyramid; ``fc_width``: of the box head; ``sizes``: of the anchors, pixels, one a map;
    ``separable``: the mask head of an eighth of the multiplications; frozen layers as for fasterrcnn."""
    from imago.models.detection.fpn import FeaturePyramid
    from imago.models.detection.mask_rcnn import MaskRCNN
    from imago.models.encoders import build_encoder

    features = FeaturePyramid(build_encoder(encoder, in_channels, pretrained), width, frozen_norms, frozen_stages)
    widths = tuple(mask_widths)
    return MaskRCNN(
        classes,
        in_channels,
        features,
        fc_width=fc_width,
        sizes=sizes,
        proposals=proposals,
        batch_size_per_image=batch_size_per_image,
        mask_widths=widths,
        separable=separable,
    )


def build_yolov1(
    classes: int = 2,
    in_channels: int = 3,
    width: int = 64,
    size: int = 448,
    boxes: int = 2,
    norm: bool = True,
    published: bool = False,
) -> DetectionModel:
    """``size`` is the image's side, a multiple of 64. The paper's: ``width`` 64, ``boxes`` 2, ``norm`` False."""
    from imago.models.detection.yolov1 import yolov1

    return yolov1(classes, in_channels, width, size=size, boxes=boxes, norm=norm, published=published)


def build_yolov1_fast(
    classes: int = 2,
    in_channels: int = 3,
    width: int = 16,
    size: int = 448,
    boxes: int = 2,
    norm: bool = True,
    published: bool = False,
) -> DetectionModel:
    """As yolov1; ``width`` is 16 in the authors' .cfg."""
    from imago.models.detection.yolov1 import yolov1_fast

    return yolov1_fast(classes, in_channels, width, size=size, boxes=boxes, norm=norm, published=published)


def build_yolov2(classes: int = 2, in_channels: int = 3, width: int = 32, anchors: Pairs = ()) -> DetectionModel:
    """``width`` 32 is the paper's; ``anchors``, any number of them, empty: those for COCO."""
    from imago.models.detection.yolov2 import ANCHORS, yolov2

    return yolov2(classes, in_channels, width, anchors or ANCHORS)


def build_yolov2_tiny(
    classes: int = 2, in_channels: int = 3, width: int = 16, last: int = 32, anchors: Pairs = ()
) -> DetectionModel:
    """``width`` is 16 in the authors' .cfg, ``last`` 32 (COCO) or 64 (VOC)."""
    from imago.models.detection.yolov2 import ANCHORS, yolov2_tiny

    return yolov2_tiny(classes, in_channels, width, last, anchors or ANCHORS)


def yolov3_builder(spp: bool) -> Builder:
    def build_yolov3(
        classes: int = 2,
        in_channels: int = 3,
        width: int = 32,
        anchors: Pairs = (),
        masks: Sequence[Sequence[int]] = (),
    ) -> DetectionModel:
        """``width`` 32 is the paper's; ``anchors``: nine, the smallest first; empty: those for COCO. ``spp``: with
        pyramid pooling before the coarsest answers."""
        from imago.models.detection.yolov3 import ANCHORS, MASKS, yolov3

        return yolov3(classes, in_channels, width, anchors or ANCHORS, masks or MASKS, spp=spp)

    return build_yolov3


def build_yolov3_tiny(
    classes: int = 2,
    in_channels: int = 3,
    width: int = 16,
    anchors: Pairs = (),
    masks: Sequence[Sequence[int]] = (),
) -> DetectionModel:
    """``width`` is 16 in the authors' .cfg; ``anchors``: six, the smallest first; empty: those for COCO."""
    from imago.models.detection.yolov3 import TINY_ANCHORS, TINY_MASKS, yolov3_tiny

    return yolov3_tiny(classes, in_channels, width, anchors or TINY_ANCHORS, masks or TINY_MASKS)


def read_thresholds(net: DetectionModel) -> dict[str, Any]:
    """As options, which a model's card keeps."""
    return {name: getattr(net, name) for name in THRESHOLDS}
