"""How annotations are read: what the values of masks mean, and what is done with those that are faulty. The same for
every command that opens a data set, and for recipes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from imago.core.settings import LABEL_MAPS, check_values, setting

Faulty = Literal["stop", "clip", "skip"]


@dataclass(frozen=True)
class ReadSettings:
    """How the annotations of a folder are read."""

    mask_threshold: int = setting(
        0, "Masks of two classes: values from this one on are the foreground, all below it the background."
    )
    mask_values: tuple[int, ...] = setting(
        (), "The values that are classes in masks, in order (0,255); any other takes the nearest of them.", commas=True
    )
    mask_snap: bool = setting(
        False, "Pixels of masks whose value or colour is no class (soft rims, JPEGs) take the nearest one."
    )
    ignore: str = setting(
        "auto",
        "The value in masks that counts for nothing, or none. auto: 255, where it is not the foreground.",
        metavar="VALUE|none",
    )
    faulty: Faulty = setting(
        "stop",
        "Faulty annotations and photos. stop: list them all; skip: leave them out; clip: cut boxes and outlines to the "
        "photo, and leave out what cannot be cut.",
    )
    boxes_only: bool = setting(
        False,
        "Objects: take boxes alone, those of outlines too.",
        tasks=("detection", "rcnn"),
        models=("boxes", "instances"),
        why="it learns from masks",
    )
    line_width: int = setting(
        10,
        "Lines and points among drawn objects: how many pixels wide they are (10 is labelme's measure); 0 leaves them "
        "out.",
    )
    class_attribute: str = setting(
        "",
        "VIA, labelme and the like: the attribute of a region that says its class.  [default: by looking, which a note "
        "tells]",
        metavar="NAME",
    )
    background_class: str = setting(
        "",
        "Label maps: the class that is background, which pictures leave unpainted, or none.  [default: what is named "
        "background]",
        tasks=LABEL_MAPS,
        models=("binary", "semantic"),
        why="there is no class of the background to choose",
        metavar="NAME|none",
    )

    split_dir: str = setting(
        "",
        "Folder of lists that imago data split wrote, in place of the data's own split.  [default with --fold: "
        "NAME.split, of DATA's name, in this folder]",
        metavar="DIR",
    )
    fold: int = setting(0, "Which of the folds in --split-dir is kept for validation, from 1 on; 0: none.", metavar="K")

    def __post_init__(self) -> None:
        object.__setattr__(self, "ignore", str(self.ignore))  # TOML knows numbers
        check_values(self)
        if self.ignore not in ("auto", "none") and not self.ignore.isdecimal():
            raise ValueError(f"ignore is a value of the masks, none or auto; got {self.ignore!r}")
        if self.fold < 0:
            raise ValueError(f"fold is a number from 1 on, or 0 for none; got {self.fold}")
        if self.mask_threshold < 0 or any(value < 0 for value in self.mask_values):
            raise ValueError("mask_threshold and mask_values are values of masks, 0 and more")
        if self.mask_values and (len(self.mask_values) < 2 or len(set(self.mask_values)) < len(self.mask_values)):
            raise ValueError(f"mask_values needs two different values or more; got {_join(self.mask_values)}")
        if not 0 <= self.line_width <= 255:
            raise ValueError(f"line_width is 0 to 255 pixels; got {self.line_width}")
        if self.mask_threshold and (self.mask_values or self.mask_snap):
            raise ValueError("mask_threshold says what every value means; leave out mask_values and mask_snap")
        if self.ignored is not None and self.ignored in self.mask_values:
            raise ValueError(f"the value {self.ignored} is among mask_values and is to be ignored; leave one out")

    @property
    def ignored(self) -> int | None:
        """The value that the user says is ignored; None where he names none."""
        return int(self.ignore) if self.ignore.isdecimal() else None

    @property
    def of_masks(self) -> str:
        """The options that are given and say something of mask files alone, as they are written; "" for none."""
        given = {
            "--mask-threshold": self.mask_threshold, "--mask-values": self.mask_values, "--mask-snap": self.mask_snap,
            "--ignore": self.ignore != "auto",
        }  # fmt: skip
        return ", ".join(flag for flag, value in given.items() if value)


def check_min_area(share: float, where: str = "") -> None:
    """Raises ValueError for what is no share of a photo that objects could be smaller than."""
    if not 0 <= share < 1:
        raise ValueError(f"{where}min_area is a share of the photo, from 0 to below 1; got {share}")


def _join(values: tuple[int, ...]) -> str:
    return ",".join(map(str, values))
