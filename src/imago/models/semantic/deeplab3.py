"""DeepLab v3 (Chen, Papandreou, Schroff and Adam 2017, arXiv:1706.05587).

A dilated encoder (output stride 16 or 8), atrous spatial pyramid pooling with batch norm and image-level features, one
head. ``multi_grid`` sets the holes of the last stage's blocks (section 3.2.1; 1, 2, 4 is the paper's best).
The form is torchvision's, whose published weights load: a 3 x 3 convolution between the pyramid and the scores, and an
auxiliary head (0.5) on the map before the last; ASPP rates 12, 24, 36 there even for MobileNetV3 at stride 16
(``rates``). Differs from the paper: both of these.
"""

from __future__ import annotations

from torch import Tensor, nn

from imago.models.blocks import conv_norm
from imago.models.encoders import Encoder
from imago.models.semantic.aspp import ASPP, rates_for
from imago.models.semantic.auxiliary import AuxiliaryNet


class DeepLabV3(AuxiliaryNet):
    """``width``: channels of the pyramid, 256 in the paper. Any size of input."""

    def __init__(
        self, encoder: Encoder, classes: int, in_channels: int, width: int = 256, aux: bool = True,
        rates: tuple[int, ...] = (),
    ) -> None:  # fmt: skip
        super().__init__(classes, in_channels)
        self.encoder = encoder
        self.pyramid = ASPP(encoder.channels[-1], width, rates or rates_for(encoder.strides[-1]))
        self.head = nn.Sequential(*conv_norm(width, width), nn.Conv2d(width, classes, 1))
        self.add_auxiliary(0.5 if aux else 0.0)

    def scores(self, x: Tensor) -> Tensor:
        return self.head(self.pyramid(x))
