"""The parts of YOLO that darknet has and torch has not."""

from __future__ import annotations

import torch
from torch import nn
from yolo_forms import noise

from imago.models.detection.darknet import LocalConv, ToUnit, maxima_in_place, reorg


def test_reorg_by_hand() -> None:
    """Four channels of 2 x 2, read as one of 4 x 4, whose 2 x 2 blocks are taken apart."""
    got = reorg(torch.arange(16.0).reshape(1, 4, 2, 2))
    assert got.shape == (1, 16, 1, 1)
    assert got.flatten().tolist() == [0, 2, 8, 10, 1, 3, 9, 11, 4, 6, 12, 14, 5, 7, 13, 15]


def test_reorg_is_what_darknet_calculates() -> None:
    """Place (k, j, i) of the (C, H, W) output takes (k % (C / 4), 2 j + dy, 2 i + dx) of (C / 4, 2 H, 2 W)."""
    channels, height, width = 8, 4, 6
    values = torch.arange(channels * height * width)
    read = values.reshape(channels // 4, 2 * height, 2 * width)
    want = torch.empty(channels, height, width, dtype=torch.int64)
    for k in range(channels):
        block = k // (channels // 4)
        for j in range(height):
            for i in range(width):
                want[k, j, i] = read[k % (channels // 4), 2 * j + block // 2, 2 * i + block % 2]
    got = reorg(values.reshape(1, channels, height, width))
    assert torch.equal(got, want.reshape(1, 4 * channels, height // 2, width // 2))


def test_maxima_in_place() -> None:
    got = maxima_in_place(torch.tensor([[[[1.0, 2, 0], [4, 3, -1], [0, -5, -7]]]]))
    assert got[0, 0].tolist() == [[4, 3, 0], [4, 3, -1], [0, -5, -7]]


def test_local_layer_is_a_convolution_where_all_places_are_equal() -> None:
    torch.manual_seed(0)
    local, conv = LocalConv(2, 5, 3), nn.Conv2d(2, 5, 3, padding=1)
    with torch.no_grad():
        local.weight.copy_(conv.weight.flatten(1).expand(9, -1, -1))
        assert conv.bias is not None
        local.bias.copy_(conv.bias[:, None].expand(-1, 9))
        x = noise(2, 2, 3, 3)
        torch.testing.assert_close(local(x), nn.functional.leaky_relu(conv(x), 0.1))
        local.weight[4] = 0  # the place in the middle
        assert not torch.allclose(local(x), nn.functional.leaky_relu(conv(x), 0.1))
        assert torch.equal(local(x)[:, :, 1, 1], nn.functional.leaky_relu(conv.bias, 0.1).expand(2, -1))


def test_images_come_back_to_0_1() -> None:
    image = torch.rand(1, 3, 4, 4)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normal = (image - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(ToUnit(3)(normal), image)
    torch.testing.assert_close(ToUnit(1)((image[:, :1] - 0.5) / 0.25), image[:, :1])
