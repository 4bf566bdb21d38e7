"""Imago's nets beside the same nets of torchvision and segmentation-models-pytorch: exported, and in training.

    OMP_NUM_THREADS=2 python benchmarks/peers.py

Both have the same weights, copied over, and a row is given only where their files answer alike. Ours is saved and
exported as ``imago export`` does: batch and sides stay free, probabilities come out. Theirs goes through
``torch.onnx.export`` by hand, as most would call it: ``dynamo=True``, sides as in the example, the softmax added so
that both files end in the same numbers (``--free-sides`` leaves theirs open too). Both run in ONNX Runtime with the
same options. A training step is forward, cross-entropy (of the auxiliary head too, where there is one, half counted),
backward and SGD with momentum; float32, channels last, one batch in memory. All take turns, one run each.

segmentation-models-pytorch's PSPNet is left out: it cuts the ResNet behind its second stage, where the paper's and ours
dilate the third and fourth. Needs segmentation-models-pytorch beside the ``train`` extra.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from report import machine, say, table, verdict

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from imago.models.base import SegmentationNet

LIMIT = 1.05  # our time by theirs, at most
CLASSES = 21
AUX_WEIGHT = 0.5  # of torchvision's auxiliary heads, in its recipes and in ours
ALIKE = 1e-2  # largest difference of a probability between the files, in standard deviations of theirs


@dataclass(frozen=True)
class Pair:
    """A net of ours and its peer: ``peer`` is the name in ``library``."""

    architecture: str
    options: dict[str, Any]
    library: str
    peer: str
    peer_options: dict[str, Any] = field(default_factory=dict)


AUX = {"aux_loss": True}
PAIRS = {
    "fcn:resnet50": Pair("fcn", {"encoder": "resnet50"}, "torchvision", "fcn_resnet50", AUX),
    "deeplabv3:resnet50": Pair("deeplabv3", {"encoder": "resnet50"}, "torchvision", "deeplabv3_resnet50", AUX),
    "deeplabv3:mobilenet_v3_large": Pair(
        "deeplabv3",
        {"encoder": "mobilenet_v3_large", "output_stride": 16, "rates": (12, 24, 36)},
        "torchvision",
        "deeplabv3_mobilenet_v3_large",
        AUX,
    ),
    "lraspp:mobilenet_v3_large": Pair("lraspp", {}, "torchvision", "lraspp_mobilenet_v3_large"),
    "unet:resnet34": Pair("unet", {"encoder": "resnet34"}, "smp", "Unet", {"encoder_name": "resnet34"}),
    "unet:vgg16": Pair("unet", {"encoder": "vgg16"}, "smp", "Unet", {"encoder_name": "vgg16"}),
    "deeplabv3plus:resnet50": Pair(
        "deeplabv3plus", {"encoder": "resnet50"}, "smp", "DeepLabV3Plus", {"encoder_name": "resnet50"}
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time of our nets by that of the same nets of others (at most 1.05).")
    parser.add_argument("--rows", nargs="+", choices=PAIRS, default=list(PAIRS), help="which nets (default: all)")
    parser.add_argument("--what", nargs="+", choices=("file", "step"), default=["file", "step"], help="default: both")
    parser.add_argument("--size", type=int, default=320, help="side of the images, a multiple of 32 (default 320)")
    parser.add_argument("--batch-size", type=int, default=4, help="images a training step, 2 or more (default 4)")
    parser.add_argument("--turns", type=int, default=15, help="turns of the files that count (default 15)")
    parser.add_argument("--steps", type=int, default=8, help="training steps of each that count (default 8)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: all cores")
    parser.add_argument("--device", default="cpu", help="of the training steps: cpu or cuda (default cpu)")
    parser.add_argument("--free-sides", action="store_true", help="their file takes any batch and size, as ours does")
    options = parser.parse_args()
    if options.size % 32 or options.batch_size < 2:
        parser.error(
            "--size must be a multiple of 32, and --batch-size 2 or more: batch norm of one value has no spread"
        )
    print(machine(), end="\n\n")
    rows = [["net", "peer", "what", "imago ms", "peer ms", "ratio", "at most", "reached"]]
    for name in options.rows:
        pair = PAIRS[name]
        theirs = their_net(pair)
        ours = our_net(pair, theirs)
        for what in sorted(options.what):  # the file first: the steps change the weights
            if what == "file":
                title = f"file at {options.size}, {options.threads} threads"
                mine, other = files(pair, ours, theirs, options, name)
            else:
                title = f"step of {options.batch_size} at {options.size}, {options.device}"
                mine, other = steps(ours, theirs, options, name)
            ratio = mine / other
            rows.append(
                [
                    name, f"{pair.library} {pair.peer}", title, f"{1000 * mine:.1f}", f"{1000 * other:.1f}",
                    f"{ratio:.3f}", f"{LIMIT}", verdict(ratio <= LIMIT),
                ]
            )  # fmt: skip
    print(table(rows))


def their_net(pair: Pair) -> nn.Module:
    """With random weights, and batch norms that have seen something, so that the answers are no constants."""
    import torch

    torch.manual_seed(0)
    if pair.library == "torchvision":
        from torchvision.models import segmentation

        net = getattr(segmentation, pair.peer)(
            weights=None, weights_backbone=None, num_classes=CLASSES, **pair.peer_options
        )
    else:
        import segmentation_models_pytorch as smp

        net = getattr(smp, pair.peer)(encoder_weights=None, classes=CLASSES, **pair.peer_options)
        if pair.peer == "DeepLabV3Plus":
            # The one difference: where a stage keeps its size, theirs has holes in the first 3 x 3 convolution too.
            first = net.encoder.layer4[0].conv2
            first.dilation = first.padding = (1, 1)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.9, 1.1)
    return net.eval()


def our_net(pair: Pair, theirs: nn.Module) -> SegmentationNet:
    """With their weights: both keep their tensors in the order of the calculation."""
    from imago.models import build

    net = build(pair.architecture, classes=CLASSES, **pair.options).eval()
    net.load_state_dict(dict(zip(net.state_dict(), theirs.state_dict().values(), strict=True)))
    return net


def outputs_of(answer: Any) -> list[Tensor]:
    """The logits of a peer: torchvision gives a dict, segmentation-models-pytorch a tensor."""
    return list(answer.values()) if isinstance(answer, dict) else [answer]


def files(
    pair: Pair, ours: SegmentationNet, theirs: nn.Module, options: argparse.Namespace, title: str
) -> tuple[float, float]:
    """Seconds of our file and of theirs for one image: medians over the turns."""
    import numpy as np

    from imago.inference.runtime import import_onnxruntime

    onnxruntime = import_onnxruntime()

    side = options.size
    image = np.random.default_rng(0).normal(size=(1, 3, side, side)).astype(np.float32)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.log_severity_level = 3  # errors only
    with tempfile.TemporaryDirectory() as name:
        say(f"  {title}: both are exported")
        sessions = [
            onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
            for path in (
                export_ours(pair, ours, side, Path(name)),
                export_theirs(theirs, image, Path(name), options.free_sides),
            )
        ]
    feeds = [{session.get_inputs()[0].name: image} for session in sessions]
    mine, other = (session.run(None, feed)[0] for session, feed in zip(sessions, feeds, strict=True))
    check_alike(mine, other, title)
    runs = [lambda s=s, f=f: s.run(None, f) for s, f in zip(sessions, feeds, strict=True)]  # type: ignore[misc]
    return in_turns(runs[0], runs[1], options.turns, f"{title}, file")


def export_ours(pair: Pair, net: SegmentationNet, side: int, folder: Path) -> Path:
    """As ``imago export`` does, from a checkpoint."""
    from imago.core.input_spec import InputSpec
    from imago.core.labels import Labels
    from imago.core.model_card import ModelCard
    from imago.export.export import export_run
    from imago.models import checkpoint

    labels = Labels(tuple(f"class {index}" for index in range(CLASSES)))
    card = ModelCard(
        "peer", pair.architecture, {"classes": CLASSES, **pair.options}, "semantic", labels,
        InputSpec("area", (side, side), multiple=32),
    )  # fmt: skip
    checkpoint.save(net, card, folder / "ours.safetensors")
    return export_run(folder / "ours.safetensors", folder / "ours.onnx").path


def export_theirs(net: nn.Module, image: np.ndarray, folder: Path, free: bool) -> Path:
    """By hand, with the softmax that ours has inside."""
    import torch

    class Probabilities(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, image: Tensor) -> Tensor:
            return torch.softmax(outputs_of(self.net(image))[0], dim=1)

    example = torch.from_numpy(image).expand(2, -1, -1, -1) if free else torch.from_numpy(image)
    shapes: Any = None
    if free:
        count = torch.export.Dim.DYNAMIC
        shapes = {"image": {0: count, 2: count, 3: count}}
    program = torch.onnx.export(
        Probabilities().eval(), (example,), dynamo=True, dynamic_shapes=shapes, input_names=["image"], verbose=False
    )
    assert program is not None
    program.save(folder / "theirs.onnx")
    return folder / "theirs.onnx"


def check_alike(mine: np.ndarray, other: np.ndarray, title: str) -> None:
    """Two times are compared only where the same is calculated."""
    difference, spread = float(abs(mine - other).max()), float(other.std())
    if not difference <= ALIKE * spread:  # "not <=", so that nan is refused too
        raise SystemExit(
            f"{title}: the files answer differently, by up to {difference:.2g} where theirs spreads by {spread:.2g}; "
            f"expected at most {ALIKE} of that. Is the peer another release, built otherwise?"
        )


def steps(ours: SegmentationNet, theirs: nn.Module, options: argparse.Namespace, title: str) -> tuple[float, float]:
    """Seconds of a training step of ours and of theirs: medians over the turns."""
    import torch
    import torch.nn.functional as F

    from imago import losses
    from imago.losses import Target

    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(0)
    size_hw = (options.size, options.size)
    images = torch.randn(options.batch_size, 3, *size_hw, generator=generator).to(options.device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(CLASSES, (options.batch_size, *size_hw), generator=generator).to(options.device)
    ours.criterion = losses.build("ce", classes=CLASSES)

    def our_loss() -> Tensor:
        return sum(ours.loss(images, Target(labels)).values())  # type: ignore[return-value]

    def their_loss() -> Tensor:
        main, *aux = (F.cross_entropy(logits, labels) for logits in outputs_of(theirs(images)))
        return main + AUX_WEIGHT * aux[0] if aux else main

    return in_turns(
        stepper(ours, our_loss, options.device), stepper(theirs, their_loss, options.device), options.steps,
        f"{title}, step",
    )  # fmt: skip


def stepper(net: nn.Module, loss_of: Callable[[], Tensor], device: str) -> Callable[[], None]:
    """One training step of ``net`` at each call."""
    import torch

    net.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        loss_of().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device == "cuda":
            torch.cuda.synchronize()  # a GPU works on after the call has returned

    return step


def in_turns(ours: Callable[[], Any], theirs: Callable[[], Any], turns: int, title: str) -> tuple[float, float]:
    """Medians of the seconds of each; they take turns, and who begins changes."""
    for warm_up in (ours, theirs) * 2:
        warm_up()
    spent: dict[Callable[[], Any], list[float]] = {ours: [], theirs: []}
    for turn in range(turns):
        for call in (ours, theirs) if turn % 2 == 0 else (theirs, ours):
            start = time.perf_counter()
            call()
            spent[call].append(time.perf_counter() - start)
    mine, other = statistics.median(spent[ours]), statistics.median(spent[theirs])
    say(f"  {title}: imago {1000 * mine:.1f} ms, peer {1000 * other:.1f} ms, {turns} turns")
    return mine, other


if __name__ == "__main__":
    main()
