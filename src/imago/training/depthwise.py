"""Depthwise convolutions in bfloat16 on a CPU, with a backward step that is not slower than in float32.

PyTorch's own backward step (oneDNN, torch 2.14, one core of a Xeon with AMX) takes 5 to 60 times as long in bfloat16 as
in float32 in two cases: the gradient of the input at stride 2, and that of a 5 x 5 kernel. An EfficientNet spends two
thirds of its training there. Both can be said by calls that are fast. Measured, 16 images, ms:

    channels, side, kernel, stride   gradient of the input   of the kernel
    96, 128, 3, 2                    326 -> 86               16
    144, 64, 5, 2                    164 -> 10               166 -> 41
    240, 32, 5, 1                      9 -> 3                226 -> 21
    672, 16, 5, 1                      6 -> 2                150 -> 18
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function


def speed_up_depthwise(net: nn.Module) -> int:
    """Gives each depthwise convolution of ``net`` the fast backward step; answers how many there were.

    Names, weights and answers stay. It acts under bfloat16 autocast on a CPU alone.
    """
    count = 0
    for module in net.modules():
        if type(module) is nn.Conv2d and _fits(module):
            module.__class__ = DepthwiseConv2d
            count += 1
    return count


def _fits(conv: nn.Conv2d) -> bool:
    kernel, stride = conv.kernel_size, conv.stride
    return (
        conv.groups == conv.in_channels == conv.out_channels > 1
        and kernel[0] == kernel[1]
        and kernel[0] in (3, 5)
        and stride[0] == stride[1]
        and conv.dilation == (1, 1)
        and conv.padding == (kernel[0] // 2, kernel[0] // 2)
        and conv.padding_mode == "zeros"
    )


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise ``nn.Conv2d``, padded by half its kernel; (N, C, H, W) -> (N, C, H / stride, W / stride)."""

    def forward(self, input: Tensor) -> Tensor:
        fast = (
            torch.is_grad_enabled()
            and input.device.type == "cpu"
            and torch.is_autocast_enabled("cpu")
            and torch.get_autocast_dtype("cpu") == torch.bfloat16
        )
        if not fast:
            return super().forward(input)
        out: Tensor = _DepthwiseFunction.apply(input.bfloat16(), self.weight, self.stride[0])
        return out if self.bias is None else out + self.bias.bfloat16()[:, None, None]


class _DepthwiseFunction(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        kernel = weight.to(x.dtype)
        ctx.save_for_backward(x, kernel)
        ctx.stride = stride
        return F.conv2d(x, kernel, stride=stride, padding=weight.shape[-1] // 2, groups=weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, kernel = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        grad_x = _input_gradient(grad, kernel, ctx.stride, x.shape[-2:]) if ctx.needs_input_grad[0] else None
        grad_weight = _kernel_gradient(x, grad, kernel, ctx.stride) if ctx.needs_input_grad[1] else None
        return grad_x, grad_weight, None


def _input_gradient(grad: Tensor, kernel: Tensor, stride: int, size_hw: torch.Size) -> Tensor:
    """A convolution with the turned kernel, of the gradient with zeros between its places."""
    if stride > 1:
        spread = grad.new_zeros(grad.shape[0], *size_hw, grad.shape[1]).permute(0, 3, 1, 2)
        spread[:, :, ::stride, ::stride] = grad
        grad = spread
    return F.conv2d(grad, kernel.flip(-1, -2), padding=kernel.shape[-1] // 2, groups=kernel.shape[0])


def _kernel_gradient(x: Tensor, grad: Tensor, kernel: Tensor, stride: int) -> Tensor:
    """float32, shaped as ``kernel``. That of 5 x 5 is put together of four of 3 x 3, which overlap in the middle."""
    if kernel.shape[-1] == 3:
        return _plain_kernel_gradient(x, grad, kernel, stride, 1).float()
    out = torch.zeros(kernel.shape, dtype=torch.float32)
    padded = F.pad(x, (2, 2, 2, 2))
    height, width = ((side - 1) * stride + 3 for side in grad.shape[-2:])
    corner = kernel[:, :, :3, :3].contiguous()
    for y in (0, 2):
        for left in (0, 2):
            part = padded[:, :, y : y + height, left : left + width].contiguous(memory_format=torch.channels_last)
            out[:, :, y : y + 3, left : left + 3] = _plain_kernel_gradient(part, grad, corner, stride, 0)
    return out


def _plain_kernel_gradient(x: Tensor, grad: Tensor, kernel: Tensor, stride: int, padding: int) -> Tensor:
    both, one = [padding, padding], [1, 1]
    return torch.ops.aten.convolution_backward(
        grad, x, kernel, None, [stride, stride], both, one, False, [0, 0], kernel.shape[0], [False, True, False]
    )[1]
