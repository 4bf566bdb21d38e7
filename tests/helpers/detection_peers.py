"""What the tests need around torchvision's nets that find objects."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList


class Unchanged(nn.Module):
    """In place of torchvision's preparation: the images come as they are to be."""

    def forward(self, images: Tensor, targets: None) -> tuple[ImageList, None]:
        return ImageList(images, [tuple(images.shape[-2:])] * len(images)), targets

    def postprocess(self, result: list[Any], *sizes: Any) -> list[Any]:
        return result
