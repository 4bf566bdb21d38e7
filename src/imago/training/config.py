"""Everything that decides what a training does. The command line, recipes and config.json are made from it: there every
setting stands under its own flat name, whatever group it is in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_type_hints

from imago.core.errors import DataError
from imago.core.plain_values import convert, read_fields
from imago.core.read_settings import ReadSettings, check_min_area
from imago.core.settings import GROUP, NOT_RCNN, check_values, iter_settings, setting
from imago.core.text import escape
from imago.data.augment.settings import Augmentation
from imago.files.text import read_toml
from imago.training.settings import (
    EvaluationSettings,
    ExportSettings,
    InputSettings,
    NetSettings,
    OptimizationSettings,
    RuntimeSettings,
)


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
    reading: dict[str, Any] = field(default_factory=dict)  # fields of ReadSettings that differ for this folder
    about: str = ""  # for the model card: name and licence of the data

    def __post_init__(self) -> None:
        check_values(self)
        if self.weight <= 0:
            raise ValueError(f"{self.path}: weight must be above 0; got {self.weight}")
        if len(set(self.val)) < len(self.val):
            raise ValueError(f"{self.path}: val names a photo twice; got {', '.join(self.val)}")
        if self.regions not in ("", "whole", "parts"):
            raise ValueError(f"{self.path}: regions is whole or parts; got {self.regions!r}")
        if self.regions and (not self.group or self.licenses):
            raise ValueError(f"{self.path}: regions reads label maps by their group, and they have no licences")
        check_min_area(self.min_area, f"{self.path}: ")
        if self.empty and (self.group or self.licenses):
            raise ValueError(f"{self.path}: empty means photos without masks; leave out group and licences")
        if self.empty and self.min_area:
            raise ValueError(f"{self.path}: empty means photos without objects; leave out min_area")

    def name(self, root: Path) -> str:
        """The folder's own name, as scores are listed."""
        return (root / self.path).resolve().name


@dataclass(frozen=True)
class TrainConfig:
    """The settings of one training, in groups. ``of`` and ``with_`` take them by their flat names."""

    data: tuple[DataSource, ...] = field(default=(), metadata={"cli": False})
    classes: tuple[str, ...] = field(default=(), metadata={"cli": False})  # nets that find objects: what all folders
    # are grouped to, in order; each may annotate some of them (imago.data.grouping). Empty: the first folder's
    out: str = setting("runs/run", "Folder of the run.", short="-o")
    preset: Literal["none", "fast", "balanced", "accurate"] = setting(
        "none",
        "Choose net, size, batch, learning rate and length by rules from the data and the free memory.",
        tasks=NOT_RCNN,
        why="presets choose for nets that are trained in one go; set --epochs, --lr and --option stages.NAME=VALUE",
    )
    net: NetSettings = field(default_factory=NetSettings, metadata=GROUP)
    input: InputSettings = field(default_factory=InputSettings, metadata=GROUP)
    optimization: OptimizationSettings = field(default_factory=OptimizationSettings, metadata=GROUP)
    reading: ReadSettings = field(default_factory=ReadSettings, metadata=GROUP)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings, metadata=GROUP)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings, metadata=GROUP)
    export: ExportSettings = field(default_factory=ExportSettings, metadata=GROUP)
    augment: Augmentation = field(default_factory=Augmentation, metadata={"cli": False})

    def __post_init__(self) -> None:
        check_values(self)

    @classmethod
    def of(cls, **values: Any) -> TrainConfig:
        """From settings by their flat names (``size=320``). Raises TypeError for unknown names, ValueError for values
        that cannot be."""
        return cls().with_(**values)

    def with_(self, **changes: Any) -> TrainConfig:
        """A copy with other settings, by their flat names. Raises as ``of``."""
        own: dict[str, Any] = {}
        for part in fields(self):
            if "group" in part.metadata:
                value = getattr(self, part.name)
                names = [f.name for f in fields(value) if f.name in changes]
                if names:
                    own[part.name] = replace(value, **{name: changes[name] for name in names})
            elif part.name in changes:
                own[part.name] = changes[part.name]
        unknown = sorted(changes.keys() - {f.name for f, _ in iter_settings(TrainConfig)})
        if unknown:
            raise TypeError(f"unknown settings {', '.join(unknown)}")
        return replace(self, **own)

    def reading_of(self, entry: DataSource) -> ReadSettings:
        """How the annotations of one of the folders are read."""
        return replace(self.reading, **entry.reading)

    def flat(self) -> dict[str, Any]:
        """Every setting by its flat name."""
        values: dict[str, Any] = {}
        for part in fields(self):
            value = getattr(self, part.name)
            is_group = "group" in part.metadata
            values |= {f.name: getattr(value, f.name) for f in fields(value)} if is_group else {part.name: value}
        return values

    @property
    def groups(self) -> tuple[Any, ...]:
        """The dataclasses that hold the settings."""
        return tuple(getattr(self, part.name) for part in fields(self) if "group" in part.metadata)

    def data_lines(self, root: Path) -> tuple[str, ...]:
        """What the model card says of the data: name and remark of each folder."""
        return tuple(escape(d.name(root)) + (f": {d.about}" if d.about else "") for d in self.data)

    def to_json(self) -> str:
        """The settings by their flat names."""
        values = self.flat()
        values |= {"data": [asdict(source) for source in self.data], "augment": asdict(self.augment)}
        return json.dumps(values, indent=1)

    @classmethod
    def from_values(cls, values: Mapping[str, Any], source: str) -> TrainConfig:
        """From a recipe's or a saved run's plain values. Unknown names are an error in words."""
        known = {own.name: get_type_hints(owner)[own.name] for own, owner in iter_settings(cls)}
        unknown = sorted(values.keys() - known.keys())
        if unknown:
            raise DataError(f"{source}: unknown settings {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        try:
            config = cls.of(**{name: convert(value, known[name], name) for name, value in values.items()})
            data = []
            for at, entry in enumerate(config.data):  # a wrong name or value is found now, not an hour later
                augment = read_fields(Augmentation, entry.augment, f"data[{at}].augment")
                replace(config.augment, **augment)
                reading = read_fields(ReadSettings, entry.reading, f"data[{at}].reading")
                replace(config.reading, **reading)
                data.append(replace(entry, augment=augment, reading=reading))
            return replace(config, data=tuple(data))
        except ValueError as error:
            raise DataError(f"{source}: {error}") from error


def read_recipe(path: Path) -> TrainConfig:
    """A recipe: the settings as TOML by their flat names, ``[augment]`` and one ``[[data]]`` for each folder."""
    config = TrainConfig.from_values(read_toml(path, "recipe"), str(path))
    # A grouping is looked for beside the recipe that names it.
    return replace(config, data=tuple(replace(d, group=_beside(path, d.group)) for d in config.data))


def read_given(path: Path) -> set[str]:
    """The settings that a recipe names itself. Raises DataError."""
    return set(read_toml(path, "recipe"))


def _beside(recipe: Path, group: str) -> str:
    return str(recipe.parent / group) if group.endswith(".toml") and (recipe.parent / group).is_file() else group
