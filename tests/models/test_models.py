"""The gauntlet: every net, in a narrow form, walks through the same examination on images of 64 pixels.

Its last steps, the exported files, stand in test_models_export.py.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from narrow_nets import FORMS, Form, every_form, make, noise, undropped
from torch import Tensor, nn

from imago import losses
from imago.core.errors import ModelError
from imago.core.input_spec import InputSpec
from imago.core.labels import Labels, binary_labels
from imago.core.model_card import ModelCard
from imago.losses import Target
from imago.models import build
from imago.models.base import SegmentationNet
from imago.models.catalog import names_of
from imago.models.checkpoint import load, save


def waves(*shape: int) -> Tensor:
    """Images that no random generator has a part in."""
    return torch.sin(torch.arange(math.prod(shape), dtype=torch.float64) * 0.37).float().reshape(shape)


def filled(net: SegmentationNet) -> SegmentationNet:
    """Weights that no random generator has a part in, of He's spread, so that signals neither fade nor burst."""
    with torch.no_grad():
        for index, weights in enumerate(net.parameters()):
            wave = torch.cos(torch.arange(weights.numel(), dtype=torch.float64) * 0.7 + index).float()
            if weights.ndim > 1:
                weights.copy_(2 * wave.reshape(weights.shape) / math.sqrt(weights[0].numel()))
            else:
                weights.copy_(1 + 0.1 * wave)
    return undropped(net)


def test_every_architecture_is_examined() -> None:
    assert {form.architecture for form in FORMS.values()} == set(names_of("semantic"))


@every_form
@pytest.mark.parametrize(("classes", "in_channels"), [(1, 3), (5, 1), (2, 4)])
def test_shapes(form: Form, classes: int, in_channels: int) -> None:
    net = make(form, classes, in_channels).eval()
    assert (net.multiple, net.classes, net.in_channels) == (form.multiple, classes, in_channels)
    assert len(net.side_weights) == form.outputs
    least = net.least
    odd = [(2 * form.multiple, 3 * form.multiple)] if form.multiple > 1 else [(45, 67), (33, 20), (3 * least, least)]
    with torch.no_grad():
        for height, width in [(64, 64), *odd]:
            outputs = net(noise(2, in_channels, height, width))
            assert [tuple(o.shape) for o in outputs] == [(2, classes, height, width)] * form.outputs
            assert all(torch.isfinite(o).all() for o in outputs)


@every_form
@pytest.mark.parametrize("classes", [1, 5])
def test_decode_gives_probabilities(form: Form, classes: int) -> None:
    net = make(form, classes).eval()
    with torch.no_grad():
        outputs = net(noise(1, 3, 64, 64))
        answer = net.decode(outputs)
    assert answer.dtype == torch.float32
    assert answer.min() >= 0
    assert answer.max() <= 1
    if classes == 1:
        torch.testing.assert_close(answer, 1 / (1 + torch.exp(-outputs[0])))
    else:
        torch.testing.assert_close(answer.sum(1), torch.ones(1, 64, 64))
        assert torch.equal(answer.argmax(1), outputs[0].argmax(1))


@every_form
def test_every_parameter_has_a_gradient(form: Form) -> None:
    """In eval mode: in train mode the bias before a batch norm rightly has none.

    Norms are set to 1 x + 1: timm starts the last of each residual block at 0 (no gradient behind it in the first
    step), and in narrow nets some maps of 2 x 2 pixels would be cut off whole by a ReLU.
    """
    net = make(form, classes=3).eval()
    slopes = any(isinstance(module, nn.PReLU) for module in net.modules())  # which want values below 0 too
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.constant_(module.bias, 0.0 if slopes else 1.0)
    net.criterion = losses.build("ce", classes=3)
    labels = torch.arange(64 * 64).reshape(1, 64, 64) % 3
    sum(net.loss(noise(1, 3, 64, 64), Target(labels)).values()).backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@every_form
def test_images_of_a_batch_do_not_meet(form: Form) -> None:
    """In double precision: sums of three images and of one may be taken in another order, and these nets, filled with
    waves, make much of the last digits of float32."""
    net = filled(make(form)).eval().double()
    images = noise(3, 3, 64, 64).double()
    with torch.no_grad():
        together = net(images)[0]
        alone = torch.cat([net(image[None])[0] for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-9 * together.abs().max().item())


@every_form
@pytest.mark.parametrize("classes", [1, 3])
def test_saved_and_loaded_is_the_same(form: Form, classes: int, tmp_path: Path) -> None:
    net = make(form, classes)
    net(noise(2, 3, 64, 64))  # moves the running means
    net.eval()
    labels = binary_labels() if classes == 1 else Labels(("a", "b", "c"))
    task = "binary" if classes == 1 else "semantic"
    card = ModelCard("trial", form.architecture, {"classes": classes, **form.options}, task, labels, InputSpec())
    save(net, card, tmp_path / "net.safetensors")
    loaded, its_card = load(tmp_path / "net.safetensors")
    assert its_card == card
    images = noise(1, 3, 64, 64)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(loaded(images), net(images), strict=True))


@every_form
@pytest.mark.parametrize(("classes", "formula"), [(1, "bce+dice"), (3, "ce+lovasz")])
def test_a_few_steps_lower_the_loss(form: Form, classes: int, formula: str) -> None:
    """Bright, dark and middling squares are to be told apart."""
    net = undropped(make(form, classes)).train()
    net.criterion = losses.build(formula, classes=classes)
    coarse = torch.arange(2 * 2 * 2).reshape(2, 2, 2) * 7 % 5 % max(classes, 2)  # FCN-32s sees no finer ones
    labels = coarse.repeat_interleave(32, 1).repeat_interleave(32, 2)
    images = labels[:, None] - 0.5 + 0.1 * noise(2, 3, 64, 64)
    normed = any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3 if normed else 1e-3)
    history = []
    for _ in range(12):
        terms = net.loss(images, Target(labels))
        assert list(terms) == ["main", *(f"side{i}" for i in range(1, form.outputs))]
        total = sum(terms.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append(total.item())
    assert history[-1] < 0.9 * history[0], history


@every_form
def test_stored_values(form: Form) -> None:
    """A changed net shows here, even if it still learns. Batch norm in train mode, since its memory is empty.

    160 pixels: on 64 the widest dilation of U2-Net would look past the border only, and could be any other.
    """
    net = filled(make(form)).train()
    with torch.no_grad():
        answer = net(waves(2, 3, 160, 160))[0]
    assert (answer.mean().item(), answer.std().item()) == pytest.approx((form.mean, form.std), rel=3e-4, abs=3e-4)


@pytest.mark.parametrize(
    ("architecture", "options", "count"),
    [
        # By hand: 9 i o + o for a 3 x 3 convolution, 4 i o + o for an up-convolution, 64 k + k for the head; 23 layers.
        ("unet", {"norm": False}, 31_031_745),
        ("unet", {"norm": False, "in_channels": 1, "classes": 2}, 31_030_658),  # exactly the paper's figure 1
        ("unet", {}, 31_037_633),
        ("unet", {"width": 32, "norm": False}, 7_760_097),
        ("u2net", {}, 44_009_869),  # the published file holds as many
        ("u2netp", {}, 1_131_181),  # as does this
        ("unet", {"encoder": "resnet18_half", "widths": [256, 128, 64, 32], "projection": True}, 4_875_345),
        ("unet", {"encoder": "resnet34_slim", "widths": [256, 128, 64, 32], "projection": True}, 6_014_801),
        ("unet", {"encoder": "vgg16", "classes": 21}, 23_751_141),
        ("unet", {"encoder": "resnet34", "classes": 21}, 24_439_269),
        # By hand: VGG-16's 14,714,688; fc6 102,764,544; fc7 16,781,312; scores 21 (4096 + 512 + 256 + 3); twice 21² 4².
        ("fcn8s", {"classes": 21}, 134_376_863),
        ("fcn32s", {"classes": 21}, 134_346_581),
        ("fcn", {"classes": 21}, 35_322_218),  # as torchvision says of its own, here and below
        ("fcn", {"encoder": "resnet101", "classes": 21}, 54_314_346),
        ("segnet", {"classes": 12}, 29_446_220),
        ("segnet_basic", {"classes": 12}, 1_416_140),
        ("deeplabv3", {"classes": 21}, 42_004_074),
        ("deeplabv3", {"encoder": "resnet101", "classes": 21}, 60_996_202),
        ("deeplabv3", {"encoder": "mobilenet_v3_large", "classes": 21}, 11_029_328),
        ("lraspp", {"classes": 21}, 3_221_538),
        ("enet", {"classes": 12}, 363_856),  # the paper: 0.37 M
    ],
)
def test_parameter_counts(architecture: str, options: dict[str, Any], count: int) -> None:
    with torch.device("meta"):
        net = build(architecture, **options)
    assert sum(p.numel() for p in net.parameters()) == count


def test_plain_unet_passes_its_signal() -> None:
    """He's weights: without them the answer of the plain form hardly depends on the image."""
    net = make(FORMS["unet-plain"]).eval()
    with torch.no_grad():
        spread = net(noise(1, 3, 64, 64))[0].std().item()
    assert 0.1 < spread < 10


def test_published_encoder_channels_of_any_number() -> None:
    """Where the encoder gives four maps (strides 4 to 32) the answer is enlarged by 4."""
    net = build("unet", encoder="convnext_atto", widths=[16, 8, 8], in_channels=2).eval()
    assert net.encoder.strides == (4, 8, 16, 32)
    with torch.no_grad():
        assert net(noise(1, 2, 64, 32))[0].shape == (1, 1, 64, 32)


@pytest.mark.parametrize(
    ("architecture", "options", "words"),
    [
        ("segnet9", {}, "architecture 'segnet9' is not known; choose from fcn32s, fcn16s, "),
        ("u2net", {"depth": 3}, "'u2net' has no option 'depth'; it takes classes, in_channels, width"),
        ("u2netp", {"width": 10}, "width must be a multiple of 4 (64 in the paper); got 10"),
        ("unet", {"classes": 0}, "classes and in_channels must be 1 or more; got 0 and 3"),
        ("unet", {"encoder": "resnet999"}, "encoder 'resnet999' is not to be had"),
        ("unet", {"encoder": "resnet18_half", "pretrained": True}, "no published weights; use 'resnet18'"),
        (
            "unet",
            {"encoder": "resnet18_half", "widths": [8]},
            "the encoder has 4 steps up, or 5 to full size; got 1 widths",
        ),
        ("unet", {"encoder": "resnet18_half", "widths": [8] * 4, "detail": 4}, "takes 5 widths; got 4 and 4 widths"),
        ("unet", {"encoder": "resnet18_half", "detail": -1}, "detail is 0 or a count of features at full size"),
        ("unet", {"detail": 4}, "detail=4 is for a unet with an encoder; without one it starts at full size"),
        ("maskrcnn", {"distance": True}, "'maskrcnn' has no option 'distance'"),
        ("unet", {"classes": "two"}, "architecture 'unet': "),
        ("deeplabv3", {"encoder": "mobilenet_v3_large", "output_stride": 8}, "was asked for; use output_stride=16"),
        ("pspnet", {"encoder": "vgg16"}, "this net wants one that can be dilated"),
    ],
)
def test_refusals_in_words(architecture: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError) as caught:
        build(architecture, **options)
    assert words in str(caught.value)


@every_form
def test_images_that_do_not_fit(form: Form) -> None:
    net = make(form)
    with pytest.raises(ValueError, match=r"images must be \(N, 3, H, W\); got \(1, 4, 64, 64\)"):
        net(noise(1, 4, 64, 64))
    if form.multiple > 1:
        with pytest.raises(ValueError, match=f"are 65 x 64; this net needs multiples of {form.multiple}. Pad to"):
            net(noise(1, 3, 65, 64))


def test_loss_without_criterion() -> None:
    with pytest.raises(RuntimeError, match=r"set net\.criterion"):
        make(FORMS["unet"]).loss(noise(1, 3, 64, 64), Target(torch.zeros(1, 64, 64, dtype=torch.long)))


@pytest.mark.parametrize("architecture", ["unet", "pspnet", "u2netp"])  # one output, one and a side output, seven
def test_a_distance_map_beside_the_classes(architecture: str, tmp_path: Path) -> None:
    """One channel more, with a sigmoid of its own; the loss judges it where the target has one."""
    form = FORMS[architecture]
    torch.manual_seed(0)
    net = undropped(build(form.architecture, classes=3, distance=True, **form.options))
    assert (net.classes, net.distance) == (3, True)
    net.criterion = losses.build("ce+dice", classes=3)
    images, labels = noise(2, 3, 64, 64), torch.zeros(2, 64, 64, dtype=torch.long)
    outputs = net.eval()(images)
    assert {tuple(output.shape) for output in outputs} == {(2, 4, 64, 64)}
    answer = net.decode(outputs)
    torch.testing.assert_close(answer[:, :3], torch.softmax(outputs[0][:, :3], dim=1))
    torch.testing.assert_close(answer[:, 3], torch.sigmoid(outputs[0][:, 3]))

    weights, distance = torch.rand(2, 64, 64), torch.rand(2, 64, 64)
    labels[0, :9] = 255
    plain = net.criterion(outputs[0][:, :3], Target(labels, weights))
    both = net.judge(outputs[0], Target(labels, weights, distance))
    counted = torch.where(labels == 255, 0.0, weights)
    entropy = nn.functional.binary_cross_entropy_with_logits(outputs[0][:, 3], distance, reduction="none")
    torch.testing.assert_close(net.judge(outputs[0], Target(labels, weights)), plain)
    torch.testing.assert_close(both, plain + (entropy * counted).sum() / counted.sum())
    main = net.loss(images, Target(labels, weights, distance))["main"]
    torch.testing.assert_close(main, both)

    names = Labels(("background", "border", "cell"))
    options = {"classes": 3, "distance": True, **form.options}
    spec = InputSpec(rule="pad", multiple=32)
    card = ModelCard("cells", form.architecture, options, "semantic", names, spec, "logit", objects=True, distance=True)
    save(net, card, tmp_path / "cells.safetensors")
    again, read = load(tmp_path / "cells.safetensors")
    assert read.distance
    torch.testing.assert_close(again.decode(again(images)), answer)
