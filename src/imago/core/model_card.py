"""What a model file says of itself: everything that is needed to use it years later without asking anyone."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from imago.core.errors import ModelError
from imago.core.input_spec import InputSpec
from imago.core.labels import Labels
from imago.core.plain_values import build, parse_json
from imago.core.proposal_options import ProposalOptions
from imago.core.separation import Separation
from imago.core.tta import TTA
from imago.core.upgrade import upgrade_card

FORMAT = 3  # raised when a card gets a field: an older Imago refuses what it does not know
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
    tta_zoom: bool = False  # what was found is looked at again, cut out and enlarged
    objects: bool = (
        False  # semantic: the classes are background, border, insides (data.borders): objects are made of them
    )
    distance: bool = False  # with ``objects``: the last channel is no class, but a distance map (data.borders)
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
    precision: Literal["float32", "float16"] = "float32"  # of the stored weights

    def __post_init__(self) -> None:
        for fault in (self._find_fault(), *map(self._find_fault_of_score, self.scores), self._find_fault_of_objects()):
            if fault:
                raise ModelError(f"model {self.name!r}: {fault}")

    def _find_fault(self) -> str:
        if self.task not in get_args(Task):
            return f"task {self.task!r} is not known; choose {', '.join(get_args(Task))}"
        if self.output not in get_args(Output):
            return f"output {self.output!r} is not known; choose {', '.join(get_args(Output))}"
        if self.task == "binary" and len(self.labels) != 2:
            return f"a binary model has two labels; got {len(self.labels)}"
        if not 0 <= self.min_component_fraction < 1 or (self.min_component_fraction and self.task != "binary"):
            return f"min_component_fraction is a share below 1, of a binary model; got {self.min_component_fraction}"
        if self.tta_zoom and self.input.rule == "pad":
            return "tta_zoom enlarges what was found; with rule pad a photo is seen at its own size"
        if not self.tta_scales:
            return "tta_scales needs at least one size, such as 1 for the model's own"
        try:
            TTA(self.tta_flip, self.tta_scales)
        except ValueError as error:
            return f"tta_{error}"
        return ""

    def _find_fault_of_score(self, name: str) -> str:
        return "" if math.isfinite(self.scores[name]) else f"the score {name!r} is no number; leave it out"

    def _find_fault_of_objects(self) -> str:
        labels = self.labels
        parts = len(labels) >= 3 and labels.names[1] == "border" and labels.background == 0
        if self.objects and not (self.task == "semantic" and parts):
            return (
                f"objects are made of background, border and insides; got task {self.task}, labels "
                f"{', '.join(labels.names)} and background {labels.background}"
            )
        if self.distance and not self.objects:
            return "a distance map tells objects apart, and the model makes none"
        if self.separation is not None and not self.objects:
            return "separation is how objects are made, and the model makes none"
        if self.proposals is not None and self.task not in DETECTION_TASKS:
            return f"proposals are for finding objects; its task is {self.task!r}"
        return self._find_fault_of_thresholds() or self._find_fault_of_crops()

    def _find_fault_of_thresholds(self) -> str:
        for name in ("score_thresh", "nms_thresh") if self.task in DETECTION_TASKS else ():
            value = self.options.get(name, 0)
            if type(value) not in (int, float) or not 0 <= value <= 1:
                return f"option {name} is a number from 0 to 1; got {value!r}"
        most = self.options.get("detections_per_img", 1)
        if self.task in DETECTION_TASKS and (type(most) is not int or most < 1):
            return f"option detections_per_img is a whole number, 1 or more; got {most!r}"
        return ""

    def _find_fault_of_crops(self) -> str:
        if self.crop_padding is None:
            return ""
        if self.proposals is None:
            return f"crops (padding {self.crop_padding}) need proposals to be cut at"
        if not {"nms_thresh", "detections_per_img"} <= self.options.keys():
            return (
                "of crops the best are chosen by options nms_thresh and detections_per_img; "
                f"got {', '.join(self.options) or 'none'}"
            )
        if self.crop_padding < 0:
            return f"crop_padding is 0 or more pixels; got {self.crop_padding}"
        return ""

    @property
    def finds_objects(self) -> bool:
        """Whether its user is given single objects."""
        return self.objects or self.task in DETECTION_TASKS

    @property
    def model_type(self) -> str:
        """One of ``core.settings.MODEL_TYPES``: what there is to set of its answer."""
        return "separation" if self.objects else self.task

    @property
    def has_background(self) -> bool:
        """Whether there is a subject that can be cut out."""
        return self.labels.background is not None

    @property
    def object_labels(self) -> Labels:
        """The labels of what the model's user sees: without the border, where objects are made."""
        if not self.objects:
            return self.labels
        names, colors = self.labels.names, self.labels.colors
        return Labels((names[0], *names[2:]), (colors[0], *colors[2:]), self.labels.ignore, self.labels.background)

    def with_(self, **changes: Any) -> ModelCard:
        return replace(self, **changes)

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, source: str = "model card") -> ModelCard:
        """Raises ModelError that names ``source``, and the field, if the text is no valid card or of a newer format."""
        newer = ""
        try:
            values = parse_json(text)
            version = values.get("format") if isinstance(values, dict) else None
            if type(version) is not int or version < 1:
                raise ValueError(f"expected a table with a format from 1 to {FORMAT}")
            if version > FORMAT:
                newer = f"written by a newer Imago (card format {version}, this one reads up to {FORMAT})"
            else:
                card = upgrade_card(values)
                del card["format"]
                _check_complete(card, "", _NEEDED)
                _check_complete(card["input"], "input.", _NEEDED_INPUT)
                return build(cls, card)
        except (ValueError, ModelError) as error:
            raise ModelError(
                f"{source}: the model card inside is damaged ({error}); mend it, or export the model again"
            ) from error
        raise ModelError(f"{source}: {newer}. Update with: pip install -U imago-seg")


_NEEDED = ("name", "architecture", "options", "task", "labels", "input")
_NEEDED_INPUT = ("rule", "size_hw", "multiple", "channels", "mean", "std")  # no file goes by what is usual today


def _check_complete(values: Any, where: str, needed: tuple[str, ...]) -> None:
    if isinstance(values, dict) and (missing := [where + name for name in needed if name not in values]):
        raise ValueError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
