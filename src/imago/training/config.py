"""The settings of one training. The command line and the recipes are made from these dataclasses."""

from __future__ import annotations

import inspect
import json
import sys
import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from imago.core.errors import DataError, ModelError
from imago.core.input_spec import IMAGENET_MEAN, IMAGENET_STD, InputSpec, SizeRule
from imago.core.settings import setting
from imago.core.text import escape
from imago.core.tta import TTA
from imago.data.augment.settings import Augmentation
from imago.models import BUILDERS, list_options
from imago.models.detection.builders import DETECTION_BUILDERS
from imago.training.net_options import read_net_options

USUAL_EPOCHS = 50


@dataclass(frozen=True)
class DataSource:
    """One data folder and how it is used. Several of them may train one model."""

    path: str  # relative to the data root
    group: str = ""  # a grouping: TOML file or "background=null; person=rest"; empty: labels as they are
    weight: float = 1.0  # share of the training pictures, relative to the other folders
    licenses: tuple[int, ...] = ()  # COCO only: take photos of these licence ids; empty: all
    min_area: float = 0.0  # nets that label pixels, folders of objects: those below this share of the photo are
    # "ignore", and photos that have no larger one are left out (0.03: what is too small to be a subject)
    val: tuple[str, ...] = ()  # names of its validation photos, in place of the folder's own split
    only: str = ""  # nets that find objects: photos whose names fit, such as "glass*"; empty: all
    regions: Literal["", "whole", "parts"] = ""  # nets that find objects, label maps: each class of a photo is one
    # object, or each connected part; needs a group that names the background
    validate: bool = True  # use its validation photos
    lend: bool = True  # other pictures may take backgrounds and second subjects from it; false where the subject is not
    # all of what a cut-out should show (bags alone: the one who carries them would be a background)
    empty: bool = False  # photos without a subject, no masks: their label map is background everywhere
    augment: dict[str, Any] = field(default_factory=dict)  # fields of Augmentation that differ for this folder
    about: str = ""  # for the model card: name and licence of the data

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise ValueError(f"{self.path}: weight must be above 0; got {self.weight}")
        if len(set(self.val)) < len(self.val):
            raise ValueError(f"{self.path}: val names a photo twice; got {', '.join(self.val)}")
        if self.regions not in ("", "whole", "parts"):
            raise ValueError(f"{self.path}: regions is whole or parts; got {self.regions!r}")
        if self.regions and (not self.group or self.licenses):
            raise ValueError(f"{self.path}: regions reads label maps by their group, and they have no licences")

        if not 0 <= self.min_area < 1:
            raise ValueError(f"{self.path}: min_area is a share of the photo, 0 to below 1; got {self.min_area}")
        if self.empty and (self.group or self.licenses):
            raise ValueError(f"{self.path}: empty means photos without masks; leave out group and licences")
        if self.empty and self.min_area:
            raise ValueError(f"{self.path}: empty means photos without objects; leave out min_area")

    def name(self, root: Path) -> str:
        """The folder's own name, as scores are listed."""
        return (root / self.path).resolve().name


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a training does."""

    data: tuple[DataSource, ...] = field(default=(), metadata={"cli": False})
    classes: tuple[str, ...] = field(default=(), metadata={"cli": False})  # nets that find objects: what all folders
    # are grouped to, in order; each may annotate some of them (imago.data.grouping). Empty: the first folder's
    out: str = setting("runs/run", "Folder of the run.", short="-o")
    model: str = setting(
        "u2netp",
        f"Architecture, and after a colon its encoder: {', '.join(BUILDERS)}; of nets that find objects: "
        f"{', '.join(DETECTION_BUILDERS)}.",
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
        False, "Tell single objects apart (cells, leaves): learn insides and borders, then grow the insides."
    )
    head: Literal["auto", "sigmoid", "softmax"] = setting("auto", "auto: sigmoid for two classes, softmax for more.")

    preset: Literal["none", "fast", "balanced", "accurate"] = setting(
        "none", "Choose net, size, batch, learning rate and length by rules from the data and the free memory."
    )

    size: int = setting(320, "Side of the network's frame in pixels (or of a square of equal area).")
    inference_size: int = setting(
        0, "Side that the finished model is used at; 0: --size. Larger: finer outlines, slower."
    )
    start_size: int = setting(0, "Side at the start; grows to --size over the first three quarters. 0: no growing.")
    multiscale: bool = setting(
        False, "Nets that find objects: frames of another side each epoch, 0.75 to 1.25 of --size (YOLO v2)."
    )
    rule: SizeRule = setting("area", "How a photo is brought to the frame.")
    shapes: bool = setting(True, "With rule area: frames of the shapes that the photos have, not only squares.")
    multiple: int = setting(32, "Sides of the frame are multiples of this.")
    channels: int = setting(3, "Channels of the photos.")
    mean: tuple[float, ...] = setting(
        (),
        "Taken out of each channel, on the 0..1 scale; by default what the pretrained encoder, or --weights, was trained "
        "on, else ImageNet's.",
        commas=True,
    )
    std: tuple[float, ...] = setting((), "What each channel is then divided by; default as --mean.", commas=True)

    epochs: int = setting(0, f"Length of the training. 0: {USUAL_EPOCHS}, or with --minutes as many as they allow.")
    minutes: float = setting(0.0, "Length in minutes instead; 0: by epochs.")
    epoch_photos: int = setting(0, "Training pictures in an epoch; 0: as many as there are photos.")
    batch_size: int = setting(8, "Photos in a step, on each device.")
    grad_accum_steps: int = setting(1, "Steps whose gradients are summed before the weights move.")
    loss: str = setting(
        "auto", "Sum of ce, bce, dice, focal, ohem, jaccard, lovasz, such as bce+0.5*dice; auto: bce+dice, ce+dice."
    )
    class_weights: Literal["none", "median", "log"] = setting(
        "none", "median: median frequency balancing of the classes (SegNet); log: 1 / ln(1.02 + share) (ENet)."
    )

    optimizer: Literal["adamw", "adam", "sgd"] = setting("adamw", "Optimizer.")
    lr: float = setting(1e-3, "Largest learning rate.")
    weight_decay: float = setting(1e-2, "Weight decay (not on biases and norms).")
    momentum: float = setting(0.9, "Momentum of SGD.")
    schedule: Literal["cosine", "poly", "constant"] = setting(
        "cosine", "Course of the learning rate after the warm-up."
    )
    warmup: float = setting(0.03, "Share of the training in which the learning rate rises.")
    grad_clip: float = setting(1.0, "Largest norm of the gradient; 0: no clipping.")
    ema: float = setting(0.998, "Decay of the moving average of the weights, a step; 0: none.")

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

    patience: int = setting(0, "Epochs without a better score before it stops; 0: never.")
    validate_every: int = setting(1, "Epochs between validations.")
    select: Literal["mean", "worst"] = setting(
        "mean",
        "What the best epoch is chosen by, where several data folders have validation photos: the mean of their "
        "scores, or the worst of them.",
    )
    validate_photos: int = setting(0, "Most validation photos for each data folder while training; 0: all.")
    save_minutes: float = setting(5.0, "Minutes between saved states (and after each epoch); 0: after each step.")
    tensorboard: bool = setting(False, "Write TensorBoard logs too.")
    export: bool = setting(True, "Export the best weights to ONNX at the end.")
    half: bool = setting(True, "Store the exported weights as float16.")
    tta_flip: bool = setting(
        False, "The finished model answers with the mean over photo and mirror image: twice the time."
    )
    tta_scales: tuple[float, ...] = setting(
        (1.0,),
        "The finished model answers with the mean over these sizes, such as 1,1.3: so many times the time.",
        commas=True,
    )
    min_component_fraction: float = setting(
        0.0, "Two classes: leave out separate parts below this share of the largest one."
    )
    name: str = setting("", "Name of the model; empty: the run's folder.")
    license: str = setting("unknown", "Licence of the weights.")
    note: str = setting("", "A remark for the model card.")
    augment: Augmentation = field(default_factory=Augmentation, metadata={"cli": False})

    def __post_init__(self) -> None:
        self._split_model()
        for name in ("size", "multiple", "channels", "batch_size", "grad_accum_steps", "nodes", "validate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more; got {getattr(self, name)}")
        for name in ("minutes", "epoch_photos", "weight_decay", "grad_clip", "patience", "save_minutes", "cache_gb"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative; got {getattr(self, name)}")
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
        if self.lr <= 0:
            raise ValueError(f"lr must be above 0; got {self.lr}")
        if not 0 <= self.ema < 1 or not 0 <= self.warmup < 1:
            raise ValueError(f"ema and warmup lie from 0 up to 1; got {self.ema} and {self.warmup}")
        for name in ("encoder", "pretrained"):
            if getattr(self, name) and name not in list_net_options(self.model):
                raise ValueError(f"model {self.model!r} has no {name} to choose; leave --{name} out")
        TTA(scales=self.tta_scales)  # which knows what sizes there are
        if not 0 <= self.min_component_fraction < 1:
            raise ValueError(f"specks is a share below 1; got {self.min_component_fraction}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum lies from 0 up to 1; got {self.momentum}")
        for name in ("epochs", "devices", "validate_photos", "start_size", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative; got {getattr(self, name)}")

    @property
    def most_epochs(self) -> int:
        """The epoch that it ends with at the latest."""
        return self.epochs or (sys.maxsize if self.minutes else USUAL_EPOCHS)

    def uses_augmentation(self, name: str) -> bool:
        """Whether photos of any folder are augmented by ``name``, a field of ``Augmentation``."""
        return any([getattr(self.augment, name), *(source.augment.get(name) for source in self.data)])

    def side_at(self, share: float, epoch: int) -> int:
        """Side of the frames of ``epoch``, begun when ``share`` (0..1) of the training is done."""
        if self.multiscale:  # YOLO v2 (arXiv:1612.08242), section 2: another side from time to time
            return round(self.size * float(np.random.default_rng((self.seed, epoch, 1)).uniform(0.75, 1.25)))
        if not self.start_size:
            return self.size
        return round(self.start_size + (self.size - self.start_size) * min(1.0, share / 0.75))

    def _split_model(self) -> None:
        """``pspnet:resnet50`` is model pspnet, encoder resnet50."""
        model, colon, encoder = self.model.partition(":")
        if not colon:
            return
        if self.encoder not in ("", encoder):
            raise ValueError(f"--model {self.model} and --encoder {self.encoder} name two encoders; give one")
        object.__setattr__(self, "model", model)
        object.__setattr__(self, "encoder", encoder)

    def input_spec(self, multiple: int, side_px: int = 0) -> InputSpec:
        """What the trained model will want to be fed; ``side_px`` 0 is ``inference_size``, or ``size``."""
        mean = self.mean or (IMAGENET_MEAN if self.channels == 3 else (0.5,) * self.channels)
        std = self.std or (IMAGENET_STD if self.channels == 3 else (0.25,) * self.channels)
        step = max(self.multiple, multiple)
        side_px = side_px or self.inference_size or self.size
        side = max(step, round(side_px / step) * step) if self.rule != "resize" else side_px
        return InputSpec(self.rule, (side, side), step, self.channels, mean, std)

    def data_lines(self, root: Path) -> tuple[str, ...]:
        """What the model card says of the data: name and remark of each folder."""
        return tuple(escape(d.name(root)) + (f": {d.about}" if d.about else "") for d in self.data)

    def net_options(self) -> dict[str, Any]:
        """``option`` and ``encoder`` as keyword arguments of the builder. Raises ImagoError."""
        options: dict[str, Any] = {"encoder": self.encoder} if self.encoder else {}
        options |= {"pretrained": True} if self.pretrained else {}
        return options | read_net_options(self.option)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_values(cls, values: dict[str, Any], source: str) -> TrainConfig:
        """From a recipe's or a saved run's plain values. Unknown names are an error in words."""
        values = dict(values)
        known = {f.name for f in fields(cls)}
        unknown = sorted(values.keys() - known)
        if unknown:
            raise DataError(f"{source}: unknown settings {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        try:
            data = tuple(DataSource(**_tuples(entry)) for entry in values.pop("data", ()))
            augment = Augmentation(**values.pop("augment", {}))
            config = cls(data=data, augment=augment, **_tuples(values))
            for entry in data:
                replace(augment, **entry.augment)  # a wrong name or value is found now, not an hour later
        except (TypeError, ValueError) as error:
            raise DataError(f"{source}: {error}") from error
        return config


def list_net_options(architecture: str) -> tuple[str, ...]:
    """The names of what its builder takes. Raises ModelError for an architecture that there is not."""
    if architecture in DETECTION_BUILDERS:
        return tuple(inspect.signature(DETECTION_BUILDERS[architecture]).parameters)
    if architecture not in BUILDERS:
        names = ", ".join((*BUILDERS, *DETECTION_BUILDERS))
        raise ModelError(f"architecture {architecture!r} is not known; choose from {names}")
    return list_options(architecture)


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """TOML and JSON know lists alone."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def read_recipe(path: Path) -> TrainConfig:
    """A recipe: the fields of TrainConfig as TOML, ``[augment]`` and one ``[[data]]`` for each folder."""
    try:
        config = TrainConfig.from_values(tomllib.loads(path.read_text("utf-8")), str(path))
    except OSError as error:
        raise DataError(f"{path}: the recipe cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a TOML file ({error})") from error
    # A grouping is looked for beside the recipe that names it.
    return replace(config, data=tuple(replace(d, group=_beside(path, d.group)) for d in config.data))


def read_given(path: Path) -> set[str]:
    """The settings that a recipe names itself."""
    return set(tomllib.loads(path.read_text("utf-8")))


def _beside(recipe: Path, group: str) -> str:
    return str(recipe.parent / group) if group.endswith(".toml") and (recipe.parent / group).is_file() else group
