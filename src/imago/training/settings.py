"""The settings of a training in their groups. Which task a setting applies to, and why not to others, stands at it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from imago.core.bands import MOST_BANDS, Ranges, check_ranges, check_shown
from imago.core.input_spec import IMAGENET_MEAN, IMAGENET_STD, InputSpec, SizeRule
from imago.core.settings import LABEL_MAPS, NOT_RCNN, check_values, setting
from imago.core.tta import TTA
from imago.models.catalog import names_of, options_of, task_of
from imago.training.net_options import read_net_options

USUAL_EPOCHS = 50

_LOSS = "each net has the loss of its paper"
_CROPS = "it looks at crops of one size, which --option crop=227 sets"
_GROWING = "it is for nets that find objects; let --start-size grow the frames"


@dataclass(frozen=True)
class NetSettings:
    """Which net is trained, and from which weights."""

    model: str = setting(
        "u2netp",
        f"Architecture, and after a colon its encoder: {', '.join(names_of('semantic'))}; of nets that find objects: "
        f"{', '.join(names_of('detection'))}.",
    )
    encoder: str = setting("", "Encoder: resnet34_slim, or any timm network that fits; empty: the architecture's own.")
    pretrained: bool = setting(
        False,
        "Start the encoder from published ImageNet weights: efficientnet_lite0, -1 and -2 come with the extra "
        "[train], others need a network once.",
    )
    option: tuple[str, ...] = setting(
        (), "Further options of the net, as name=value (width=32); of its parts as proposals.count=500."
    )
    weights: str = setting(
        "",
        "Weights to start from: a .safetensors model, or published ones (.pth), matched by name, else by order and "
        "shape; what does not fit (another head) starts fresh.",
    )
    objects: bool = setting(
        False,
        "Tell single objects apart (cells, leaves): learn insides and borders, then grow the insides.",
        tasks=LABEL_MAPS,
        why="these nets find single objects by themselves",
    )
    distance: bool = setting(
        False,
        "Learn a distance map beside insides and borders: how far inside its object a pixel lies. Seeds may be taken "
        "from it, which tells round objects apart where no border shows.",
        tasks=("separation",),
        why="it tells objects of a label map apart; it goes with --objects",
    )
    head: Literal["auto", "sigmoid", "softmax"] = setting(
        "auto",
        "auto: sigmoid for two classes, softmax for more.",
        tasks=LABEL_MAPS,
        why="each net has the head of its paper",
    )

    def __post_init__(self) -> None:
        check_values(self)
        model, colon, encoder = self.model.partition(":")  # pspnet:resnet50 is model pspnet, encoder resnet50
        if colon:
            if self.encoder not in ("", encoder):
                raise ValueError(f"--model {self.model} and --encoder {self.encoder} name two encoders; give one")
            object.__setattr__(self, "model", model)
            object.__setattr__(self, "encoder", encoder)
        for name in ("encoder", "pretrained"):
            if getattr(self, name) and name not in options_of(self.model):
                raise ValueError(f"model {self.model!r} has no {name} to choose; leave --{name} out")

    @property
    def task(self) -> str:
        """The task of the training, one of ``core.settings.TASKS``."""
        if self.model == "rcnn":  # the one net that is trained in stages
            return "rcnn"
        if task_of(self.model) == "detection":
            return "detection"
        return "separation" if self.objects else "semantic"

    def options(self) -> dict[str, Any]:
        """``option``, ``encoder`` and the like as keyword arguments of the builder. Raises ImagoError."""
        options: dict[str, Any] = {"encoder": self.encoder} if self.encoder else {}
        options |= {"pretrained": True} if self.pretrained else {}
        options |= {"distance": True} if self.distance else {}
        return options | read_net_options(self.option)


@dataclass(frozen=True)
class InputSettings:
    """What the net sees of a photo."""

    size: int = setting(
        320, "Side of the network's frame in pixels (or of a square of equal area).", tasks=NOT_RCNN, why=_CROPS
    )
    inference_size: int = setting(
        0,
        "Side that the finished model is used at; 0: --size. Larger: finer outlines, slower.",
        tasks=NOT_RCNN,
        why=_CROPS,
    )
    start_size: int = setting(
        0,
        "Side at the start; grows to --size over the first three quarters. 0: no growing.",
        tasks=NOT_RCNN,
        why=_CROPS,
    )
    multiscale: bool = setting(
        False,
        "Frames of another side each epoch, 0.75 to 1.25 of --size (YOLO v2).",
        tasks=("detection",),
        why={"semantic": _GROWING, "separation": _GROWING, "rcnn": _CROPS},
    )
    rule: SizeRule = setting("area", "How a photo is brought to the frame.", tasks=NOT_RCNN, why=_CROPS)
    shapes: bool = setting(
        True, "With rule area: frames of the shapes that the photos have, not only squares.", tasks=NOT_RCNN, why=_CROPS
    )
    multiple: int = setting(32, "Sides of the frame are multiples of this.", tasks=NOT_RCNN, why=_CROPS)
    channels: int = setting(
        3, "Channels of the photos, 1 to 32: 1 grey, 3 RGB, others are the bands of TIFFs, of 8 or 16 bits or float."
    )
    show_bands: tuple[int, ...] = setting(
        (),
        "Which bands reports and overlays show as red, green and blue, counted from 1, as 4,3,2.  [default: the first]",
        commas=True,
    )
    mean: tuple[float, ...] = setting(
        (),
        "Taken out of each channel, on the 0..1 scale; by default what the pretrained encoder, or --weights, was "
        "trained on; of three channels of 8 bits else ImageNet's, of others those of the training photos.",
        commas=True,
    )
    std: tuple[float, ...] = setting((), "What each channel is then divided by; default as --mean.", commas=True)
    # Values that become 0 and 255, of each channel of photos of more than 8 bits; found on training photos.
    ranges: Ranges = field(default=(), metadata={"cli": False})

    def __post_init__(self) -> None:
        check_values(self)
        check_least(self, 1, "size", "multiple", "channels")
        check_least(self, 0, "start_size")
        if self.channels > MOST_BANDS:
            raise ValueError(f"channels lie from 1 to {MOST_BANDS}; got {self.channels}")
        check_ranges(self.ranges, self.channels)
        check_shown(self.show_bands, self.channels)
        for name in ("mean", "std"):
            if getattr(self, name) and len(getattr(self, name)) != self.channels:
                raise ValueError(f"{name} has a number for each of {self.channels} channels; got {getattr(self, name)}")
        if self.inference_size and (self.inference_size < 16 or self.rule == "resize"):
            raise ValueError(
                f"inference_size is at least 16 and needs a rule other than resize; got {self.inference_size}"
            )
        if self.start_size and not 16 <= self.start_size <= self.size:
            raise ValueError(f"start_size lies from 16 to size ({self.size}); got {self.start_size}")
        if (self.start_size or self.multiscale) and self.rule == "resize":
            name = "start_size" if self.start_size else "multiscale"
            raise ValueError(f"{name} needs a net of any size; it does not go with rule resize")
        if self.start_size and self.multiscale:
            raise ValueError("start_size and multiscale both choose the side of the frames; leave one out")

    def side_at(self, share: float, epoch: int, seed: int) -> int:
        """Side of the frames of ``epoch``, begun when ``share`` (0..1) of the training is done."""
        if self.multiscale:  # YOLO v2 (arXiv:1612.08242), section 2: another side from time to time
            return round(self.size * float(np.random.default_rng((seed, epoch, 1)).uniform(0.75, 1.25)))
        if not self.start_size:
            return self.size
        return round(self.start_size + (self.size - self.start_size) * min(1.0, share / 0.75))

    def build_spec(self, multiple: int, side_px: int = 0) -> InputSpec:
        """What the trained model will want to be fed; ``side_px`` 0 is ``inference_size``, or ``size``."""
        mean = self.mean or (IMAGENET_MEAN if self.channels == 3 else (0.5,) * self.channels)
        std = self.std or (IMAGENET_STD if self.channels == 3 else (0.25,) * self.channels)
        step = max(self.multiple, multiple)
        side_px = side_px or self.inference_size or self.size
        side = max(step, round(side_px / step) * step) if self.rule != "resize" else side_px
        return InputSpec(
            self.rule, (side, side), step, self.channels, mean, std, ranges=self.ranges, show_bands=self.show_bands
        )


@dataclass(frozen=True)
class OptimizationSettings:
    """How long and by which steps the net learns."""

    epochs: int = setting(0, f"Length of the training. 0: {USUAL_EPOCHS}, or with --minutes as many as they allow.")
    minutes: float = setting(0.0, "Length in minutes instead; 0: by epochs.")
    epoch_photos: int = setting(0, "Training pictures in an epoch; 0: as many as there are photos.")
    batch_size: int = setting(
        8,
        "Photos in a step, on each device.",
        tasks=NOT_RCNN,
        why="a step is 32 crops of objects and 96 of background, of all photos; set --option stages.positives=32 and "
        "stages.negatives=96",
    )
    grad_accum_steps: int = setting(1, "Steps whose gradients are summed before the weights move.")
    loss: str = setting(
        "auto",
        "Sum of ce, bce, dice, focal, ohem, jaccard, lovasz, such as bce+0.5*dice; auto: bce+dice, ce+dice.",
        tasks=LABEL_MAPS,
        why=_LOSS,
    )
    class_weights: Literal["none", "median", "log"] = setting(
        "none",
        "median: median frequency balancing of the classes (SegNet); log: 1 / ln(1.02 + share) (ENet).",
        tasks=LABEL_MAPS,
        why=_LOSS,
    )
    optimizer: Literal["adamw", "adam", "sgd"] = setting("adamw", "Optimizer.")
    lr: float = setting(1e-3, "Largest learning rate.")
    weight_decay: float = setting(1e-2, "Weight decay (not on biases and norms).")
    momentum: float = setting(0.9, "Momentum of SGD.", needs=("uses_sgd", "it is for --optimizer sgd"))
    schedule: Literal["cosine", "poly", "constant"] = setting(
        "cosine", "Course of the learning rate after the warm-up."
    )
    warmup: float = setting(0.03, "Share of the training in which the learning rate rises.")
    grad_clip: float = setting(1.0, "Largest norm of the gradient; 0: no clipping.")
    ema: float = setting(0.998, "Decay of the moving average of the weights, a step; 0: none.")

    def __post_init__(self) -> None:
        check_values(self)
        check_least(self, 1, "batch_size", "grad_accum_steps")
        check_least(self, 0, "epochs", "minutes", "epoch_photos")
        check_least(self, 0, "weight_decay", "grad_clip")
        if self.lr <= 0:
            raise ValueError(f"lr must be above 0; got {self.lr}")
        if not 0 <= self.ema < 1 or not 0 <= self.warmup < 1:
            raise ValueError(f"ema and warmup lie from 0 up to 1; got {self.ema} and {self.warmup}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum lies from 0 up to 1; got {self.momentum}")

    @property
    def uses_sgd(self) -> bool:
        return self.optimizer == "sgd"

    @property
    def most_epochs(self) -> int:
        """The epoch that it ends with at the latest."""
        return self.epochs or (sys.maxsize if self.minutes else USUAL_EPOCHS)


@dataclass(frozen=True)
class RuntimeSettings:
    """Where it runs, and what it writes while it does."""

    precision: Literal["auto", "32", "bf16", "16"] = setting("auto", "Arithmetic; auto: what the device does fast.")
    seed: int = setting(0, "Seed of everything random.")
    workers: int = setting(-1, "Processes that prepare pictures; -1: by the cores.")
    cache_gb: float = setting(4.0, "Memory for decoded photos.")
    proposals: str = setting(
        "", "Folder that keeps proposals of selective search; runs may share it.  [default: OUT/proposals]"
    )
    device: str = setting("auto", "auto, cpu, cuda or mps.")
    devices: int = setting(0, "Devices on each node; 0: all there are.")
    nodes: int = setting(
        1, "Nodes; several processes start with: torchrun --no-python --nproc-per-node N imago train ..."
    )
    save_minutes: float = setting(5.0, "Minutes between saved states (and after each epoch); 0: after each step.")
    tensorboard: bool = setting(False, "Write TensorBoard logs too.")

    def __post_init__(self) -> None:
        check_values(self)
        check_least(self, 1, "nodes")
        check_least(self, 0, "seed", "cache_gb", "devices", "save_minutes")


@dataclass(frozen=True)
class EvaluationSettings:
    """How the net is judged while it learns, and what the best epoch is chosen by."""

    patience: int = setting(0, "Epochs without a better score before it stops; 0: never.")
    validate_every: int = setting(1, "Epochs between validations.")
    select: Literal["mean", "worst"] = setting(
        "mean",
        "What the best epoch is chosen by, where several data folders have validation photos: the mean of their "
        "scores, or the worst of them.",
    )
    validate_photos: int = setting(0, "Most validation photos for each data folder while training; 0: all.")

    def __post_init__(self) -> None:
        check_values(self)
        check_least(self, 1, "validate_every")
        check_least(self, 0, "patience", "validate_photos")


@dataclass(frozen=True)
class ExportSettings:
    """The finished model: its file, how it answers, what its card says."""

    export: bool = setting(True, "Export the best weights to ONNX at the end.")
    half: bool = setting(
        True, "Store the exported weights as float16.", needs=("export", "nothing is exported (--no-export)")
    )
    tta_flip: bool = setting(
        False,
        "The finished model answers with the mean over photo and mirror image: twice the time.",
        tasks=LABEL_MAPS,
        why="the finds of a photo and of its mirror image are not averaged",
    )
    tta_scales: tuple[float, ...] = setting(
        (1.0,),
        "The finished model answers with the mean over these sizes, such as 1,1.3: so many times the time.",
        tasks=LABEL_MAPS,
        why="it looks at a photo once",
        commas=True,
    )
    tta_zoom: bool = setting(
        False,
        "The finished model looks again at what it found, cut out and enlarged: up to twice the time.",
        tasks=LABEL_MAPS,
        why="it looks at a photo once",
    )
    min_component_fraction: float = setting(
        0.0,
        "Two classes: leave out separate parts below this share of the largest one.",
        tasks=LABEL_MAPS,
        why="it takes parts from a two-class mask",
    )
    name: str = setting("", "Name of the model; empty: the run's folder.")
    license: str = setting("unknown", "Licence of the weights.")
    note: str = setting("", "A remark for the model card.")

    def __post_init__(self) -> None:
        check_values(self)
        TTA(scales=self.tta_scales)  # which knows what sizes there are
        if not 0 <= self.min_component_fraction < 1:
            raise ValueError(f"min_component_fraction is a share below 1; got {self.min_component_fraction}")


def check_least(settings: Any, least: int, *names: str) -> None:
    """Raises ValueError where one of the fields ``names`` is below ``least``, 0 or 1."""
    wanted = "be 1 or more" if least else "not be negative"
    for name in names:
        if getattr(settings, name) < least:
            raise ValueError(f"{name} must {wanted}; got {getattr(settings, name)}")
