"""Weights copied over from torchvision and segmentation-models-pytorch: our nets answer as theirs do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision.models.segmentation as theirs
from torch import Tensor, nn

from imago.models import build
from imago.models.published.torchvision import PARTS, translate_names
from imago.models.semantic.pspnet import average_parts

smp = pytest.importorskip("segmentation_models_pytorch")


def stirred(net: nn.Module, seed: int = 0) -> nn.Module:
    """Batch norms with memories of their own, so that a swapped pair would show."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(0.1 * torch.randn(module.num_features, generator=generator))  # type: ignore[union-attr]
            module.running_var.copy_(1 + 0.1 * torch.rand(module.num_features, generator=generator))  # type: ignore[union-attr]
    return net.eval()


def holes_as_torchvision(net: nn.Module) -> nn.Module:
    """The first 3 x 3 convolution of a stage that keeps its size has no holes yet in torchvision and timm; in
    segmentation-models-pytorch it has."""
    first = net.encoder.layer4[0].conv1  # type: ignore[union-attr, index]
    first.dilation = first.padding = (1, 1)  # type: ignore[union-attr]
    return net


def images(side: int) -> Tensor:
    return torch.randn(1, 3, side, side + 32, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("ours", "options", "peer", "count"),
    [
        ("fcn", {"encoder": "resnet50"}, theirs.fcn_resnet50, 35_322_218),
        ("deeplabv3", {"encoder": "resnet50"}, theirs.deeplabv3_resnet50, 42_004_074),
        (
            "deeplabv3",
            {"encoder": "mobilenet_v3_large", "output_stride": 16, "rates": (12, 24, 36)},
            theirs.deeplabv3_mobilenet_v3_large,
            11_029_328,
        ),
        ("lraspp", {}, theirs.lraspp_mobilenet_v3_large, 3_221_538),
    ],
)
def test_torchvision(ours: str, options: dict[str, Any], peer: Callable[..., nn.Module], count: int) -> None:
    extra = {} if ours == "lraspp" else {"aux_loss": True}
    reference = stirred(peer(weights=None, weights_backbone=None, num_classes=21, **extra))
    net = build(ours, classes=21, **options).eval()
    net.load_state_dict(translate_names(reference.state_dict(), PARTS[ours]))
    assert sum(p.numel() for p in net.parameters()) == count
    with torch.no_grad():
        expected = reference(images(65))
        found = net(images(65))
    torch.testing.assert_close(found[0], expected["out"], rtol=1e-4, atol=1e-5)
    if "aux" in expected:
        torch.testing.assert_close(found[1], expected["aux"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("ours", "options", "peer", "count"),
    [
        ("unet", {"encoder": "resnet34"}, lambda: smp.Unet("resnet34", encoder_weights=None, classes=21), 24_439_269),
        ("unet", {"encoder": "vgg16"}, lambda: smp.Unet("vgg16", encoder_weights=None, classes=21), 23_751_141),
        (
            "deeplabv3plus",
            {"encoder": "resnet18"},
            lambda: holes_as_torchvision(smp.DeepLabV3Plus("resnet18", encoder_weights=None, classes=21)),
            12_334_437,
        ),
    ],
)
def test_segmentation_models_pytorch(
    ours: str, options: dict[str, Any], peer: Callable[[], nn.Module], count: int
) -> None:
    """Both have their tensors in the order of the calculation, so they are copied by order and shape."""
    reference = stirred(peer())
    net = build(ours, classes=21, **options).eval()
    mine, other = list(net.state_dict().items()), list(reference.state_dict().values())
    assert [tuple(t.shape) for _, t in mine] == [tuple(t.shape) for t in other]
    net.load_state_dict({name: tensor for (name, _), tensor in zip(mine, other, strict=True)})
    assert sum(p.numel() for p in net.parameters()) == count
    with torch.no_grad():
        torch.testing.assert_close(net(images(64))[0], reference(images(64)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
@pytest.mark.parametrize("size_hw", [(6, 6), (8, 11), (13, 7), (5, 60)])
def test_parts_are_averaged_as_adaptive_pooling_does(parts: int, size_hw: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size_hw, generator=torch.Generator().manual_seed(1))
    expected = torch.nn.functional.adaptive_avg_pool2d(x, parts)
    torch.testing.assert_close(average_parts(x, parts), expected, rtol=1e-5, atol=1e-6)
