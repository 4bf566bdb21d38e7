"""What a model file says of itself: everything that is needed to use it years later without asking anyone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from imago.core.errors import ModelError
from imago.core.input_spec import InputSpec
from imago.core.labels import Labels
from imago.core.proposal_options import ProposalOptions
from imago.core.separation import Separation
from imago.core.upgrade import upgrade_card

FORMAT = 2  # raised when an older Imago could no longer read the card
METADATA_KEY = "imago"  # the key in the metadata of .onnx and .safetensors files that holds the card as JSON

# One soft foreground; one class a pixel; objects as boxes; objects as boxes with masks. A model of the last two keeps
# its thresholds (score, iou, most: see imago.models.detection.base) among its options.
Task = Literal["binary", "semantic", "boxes", "instances"]
DETECTION_TASKS = ("boxes", "instances")
Output = Literal["probability", "logit"]  # what the file's first output holds


@dataclass(frozen=True)
class ModelCard:
    """One model: what it is, what it eats, what it answers, how good it is, where it comes from."""

    name: str
    architecture: str  # key of imago.models.catalog.ARCHITECTURES, "" for a network from elsewhere
    options: dict[str, Any]  # keyword arguments of the builder (classes, in_channels, encoder, ...)
    task: Task
    labels: Labels
    input: InputSpec
    output: Output = "probability"
    minmax_normalize: bool = False  # spread the answer to 0..1 by its own least and largest value (official U2-Net)
    tta_flip: bool = False  # the answer is the mean over the photo and its mirror image
    tta_scales: tuple[float, ...] = (1.0,)  # and over these sizes of it
    objects: bool = (
        False  # semantic: the classes are background, border, insides (data.borders): objects are made of them
    )
    separation: Separation | None = None  # with ``objects``: how they are made; None: as Separation() says
    min_component_fraction: float = 0.0  # binary: separate parts below this share of the largest one are left out
    proposals: ProposalOptions | None = None  # boxes, instances: the net judges proposals of selective search
    crop_padding: int | None = None  # it is shown each proposal by itself, warped to ``input``'s size with so many
    # pixels of what lies around it; None: it is shown the image
    scores: dict[str, float] = field(default_factory=dict)  # "people/iou": 0.94 and the like
    data: tuple[str, ...] = ()  # what it was trained on, with licences
    license: str = "unknown"
    recipe: str = ""  # the command that made it
    note: str = ""
    precision: str = "float32"  # of the stored weights

    def __post_init__(self) -> None:
        if self.task not in get_args(Task):
            raise ModelError(
                f"model {self.name!r}: task {self.task!r} is not known; choose {', '.join(get_args(Task))}"
            )
        if self.task == "binary" and len(self.labels) != 2:
            raise ModelError(f"model {self.name!r}: a binary model has two labels; got {len(self.labels)}")
        if self.objects and (self.task != "semantic" or len(self.labels) < 3 or self.labels.names[1] != "border"):
            raise ModelError(
                f"model {self.name!r}: objects are made of background, border and insides; got task {self.task}, "
                f"labels {', '.join(self.labels.names)}"
            )
        if not 0 <= self.min_component_fraction < 1 or (self.min_component_fraction and self.task != "binary"):
            raise ModelError(
                f"model {self.name!r}: min_component_fraction is a share below 1, of a binary model; "
                f"got {self.min_component_fraction}"
            )
        if self.proposals is not None and self.task not in DETECTION_TASKS:
            raise ModelError(f"model {self.name!r}: proposals are for finding objects; its task is {self.task!r}")
        if self.crop_padding is not None and self.proposals is None:
            raise ModelError(f"model {self.name!r}: crops (padding {self.crop_padding}) need proposals to be cut at")
        if self.separation is not None and not self.objects:
            raise ModelError(f"model {self.name!r}: separation is how objects are made, and the model makes none")
        if self.crop_padding is not None and not {"nms_thresh", "detections_per_img"} <= self.options.keys():
            raise ModelError(
                f"model {self.name!r}: of crops the best are chosen by options nms_thresh and detections_per_img; "
                f"got {', '.join(self.options) or 'none'}"
            )

    @property
    def finds_objects(self) -> bool:
        """Whether its user is given single objects."""
        return self.objects or self.task in DETECTION_TASKS

    @property
    def object_labels(self) -> Labels:
        """The labels of what the model's user sees: without the border, where objects are made."""
        if not self.objects:
            return self.labels
        names, colors = self.labels.names, self.labels.colors
        return Labels((names[0], *names[2:]), (colors[0], *colors[2:]), self.labels.ignore)

    def with_(self, **changes: Any) -> ModelCard:
        return replace(self, **changes)

    def to_json(self) -> str:
        return json.dumps(
            {
                "format": FORMAT,
                "name": self.name,
                "architecture": self.architecture,
                "options": self.options,
                "task": self.task,
                "labels": self.labels.to_json(),
                "input": self.input.to_json(),
                "output": self.output,
                "minmax_normalize": self.minmax_normalize,
                "tta_flip": self.tta_flip,
                "tta_scales": list(self.tta_scales),
                "min_component_fraction": self.min_component_fraction,
                "objects": self.objects,
                "separation": None if self.separation is None else asdict(self.separation),
                "proposals": None if self.proposals is None else asdict(self.proposals),
                "crop_padding": self.crop_padding,
                "scores": self.scores,
                "data": list(self.data),
                "license": self.license,
                "recipe": self.recipe,
                "note": self.note,
                "precision": self.precision,
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str, source: str = "model card") -> ModelCard:
        """Raises ModelError that names ``source`` if the text is no card or of a newer format."""
        try:
            values = json.loads(text)
            if values["format"] > FORMAT:
                raise ModelError(
                    f"{source}: written by a newer Imago (card format {values['format']}, this one reads up to "
                    f"{FORMAT}). Update with: pip install -U imago-seg"
                )
            values = upgrade_card(values)
            return cls(
                name=values["name"],
                architecture=values["architecture"],
                options=dict(values["options"]),
                task=values["task"],
                labels=Labels.from_json(values["labels"]),
                input=InputSpec.from_json(values["input"]),
                output=values.get("output", "probability"),
                minmax_normalize=bool(values.get("minmax_normalize", False)),
                tta_flip=bool(values.get("tta_flip", False)),
                tta_scales=tuple(float(scale) for scale in values.get("tta_scales", (1.0,))),
                min_component_fraction=float(values.get("min_component_fraction", 0.0)),
                objects=bool(values.get("objects", False)),
                separation=None if values.get("separation") is None else Separation(**values["separation"]),
                proposals=None if values.get("proposals") is None else ProposalOptions(**values["proposals"]),
                crop_padding=values.get("crop_padding"),
                scores={str(k): float(v) for k, v in values.get("scores", {}).items()},
                data=tuple(values.get("data", ())),
                license=values.get("license", "unknown"),
                recipe=values.get("recipe", ""),
                note=values.get("note", ""),
                precision=values.get("precision", "float32"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{source}: the model card inside is damaged ({error!r}); export the model again"
            ) from error
