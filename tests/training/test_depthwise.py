"""The fast backward step of depthwise convolutions gives the gradients of the plain one."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from imago.training.depthwise import DepthwiseConv2d, speed_up_depthwise


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.sampled_from([3, 5]),
    stride=st.sampled_from([1, 2, 3]),
    height=st.integers(1, 19),
    width=st.integers(1, 19),
    channels=st.integers(2, 9),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_gradients_are_those_of_float32(kernel, stride, height, width, channels, bias, seed):
    torch.manual_seed(seed)
    plain = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=bias)
    plain.weight.data = plain.weight.data.bfloat16().float()  # else the rounding of the weights is what is measured
    fast = copy.deepcopy(plain)
    assert speed_up_depthwise(nn.Sequential(fast)) == 1
    x = torch.randn(2, channels, height, width).bfloat16().float()
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = fast(ours)
    expected = plain(theirs)
    assert out.dtype == torch.bfloat16
    assert torch.allclose(out.float(), expected, atol=0.02, rtol=0.02)
    weigh = torch.randn(out.shape).bfloat16()
    out.backward(weigh)
    expected.backward(weigh.float())
    for name in ("weight", "bias") if bias else ("weight",):
        mine, its = getattr(fast, name).grad, getattr(plain, name).grad
        assert mine.dtype == torch.float32
        assert torch.allclose(mine, its, atol=0.01 * float(its.abs().max()) + 0.02)
    assert torch.allclose(ours.grad, theirs.grad, atol=0.01 * float(theirs.grad.abs().max()) + 0.01)


@pytest.mark.parametrize(
    ("conv", "counted"),
    [
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), 1),
        (nn.Conv2d(8, 8, 5, stride=2, padding=2, groups=8), 1),
        (nn.Conv2d(8, 8, 3, padding=1), 0),  # not depthwise
        (nn.Conv2d(8, 16, 3, padding=1, groups=8), 0),  # two outputs a channel
        (nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8), 0),
        (nn.Conv2d(8, 8, 7, padding=3, groups=8), 0),
        (nn.Conv2d(8, 8, 3, groups=8), 0),  # no padding
        (nn.Conv2d(8, 8, 3, padding=1, groups=8, padding_mode="reflect"), 0),
    ],
)
def test_only_what_it_can_do_is_changed(conv, counted):
    net = nn.Sequential(conv)
    assert speed_up_depthwise(net) == counted
    assert isinstance(net[0], DepthwiseConv2d) == bool(counted)


def test_outside_of_bfloat16_it_is_the_plain_convolution():
    conv = nn.Conv2d(4, 4, 5, padding=2, groups=4)
    x = torch.randn(1, 4, 9, 9)
    before = conv(x)
    speed_up_depthwise(nn.Sequential(conv))
    assert torch.equal(conv(x), before)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(conv(x).float(), before, atol=0.05)
