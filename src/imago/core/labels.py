"""Class names, their colours and the value that means "ignore"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Color = tuple[int, int, int]

IGNORE = 255  # the largest value of a uint8 label map
LARGEST = 65_535  # and of a uint16 one


def default_colors(count: int) -> tuple[Color, ...]:
    """``count`` RGB colours 0..255 that are far apart; the first is black (background).

    The rule is the one of PASCAL VOC's development kit: the bits of the index, taken three at a time,
    become the high bits of red, green and blue.
    """
    colors = []
    for index in range(count):
        red = green = blue = 0
        rest = index
        for shift in range(7, -1, -1):
            red |= (rest & 1) << shift
            green |= ((rest >> 1) & 1) << shift
            blue |= ((rest >> 2) & 1) << shift
            rest >>= 3
        colors.append((red, green, blue))
    return tuple(colors)


BY_NAME = -1
BACKGROUND_NAMES = ("background", "_background_", "__background__", "bg", "null", "unlabeled", "unlabelled")


def find_background(names: Sequence[str]) -> int | None:
    """The value of the class that is called like a background; None where there is none."""
    return next((names.index(name) for name in names if name.lower() in BACKGROUND_NAMES), None)


def class_colors(count: int, background: int | None) -> tuple[Color, ...]:
    """``default_colors`` with black for the background alone, wherever it stands."""
    colors = list(default_colors(count + 1)[1:])
    if background is not None:
        colors.insert(background, (0, 0, 0))
    return tuple(colors[:count])


@dataclass(frozen=True)
class Labels:
    """The classes of a model or a data set, in the order of their values in a label map.

    ``names[i]`` is the class with value ``i``. ``background`` is the value of what is no subject: pictures leave it
    unpainted. Unless it is given it is the class that is called so; None where there is none.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...] = field(default=())  # RGB 0..255, one a class
    ignore: int = IGNORE  # value of pixels that count for nothing
    background: int | None = BY_NAME

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError("labels need at least one name")
        if len(set(self.names)) != len(self.names):
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise ValueError(f"label names must differ; these stand twice: {', '.join(twice)}")
        if not all(self.names):
            raise ValueError(f"every label needs a name; number {self.names.index('')} has none")
        if self.background == BY_NAME:
            object.__setattr__(self, "background", find_background(self.names))
        if self.background is not None and not 0 <= self.background < len(self.names):
            raise ValueError(f"the background is the value of one of {len(self.names)} names; got {self.background}")
        if not self.colors:
            object.__setattr__(self, "colors", class_colors(len(self.names), self.background))
        if len(self.colors) != len(self.names):
            raise ValueError(f"a name and a colour belong together; got {len(self.names)} and {len(self.colors)}")
        wrong = next((color for color in self.colors if not all(0 <= part <= 255 for part in color)), None)
        if wrong is not None:
            raise ValueError(f"colours are three numbers from 0 to 255; got {wrong}")
        if not 0 <= self.ignore <= LARGEST:
            raise ValueError(f"the ignore value is one of a label map, 0 to {LARGEST}; got {self.ignore}")
        if self.ignore < len(self.names):
            raise ValueError(
                f"the ignore value {self.ignore} is also the value of class {self.names[self.ignore]!r}; "
                f"choose one of {len(self.names)} or more"
            )

    def __len__(self) -> int:
        return len(self.names)

    def with_background(self, background: int | None) -> Labels:
        """The same with another background, or none. Default colours follow: black is the background's."""
        usual = self.colors == class_colors(len(self.names), self.background)
        return Labels(self.names, () if usual else self.colors, self.ignore, background)


_VOC = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor"
)


def voc_labels() -> Labels:
    """Background and the 20 classes of PASCAL VOC, in its order and in its colours."""
    return Labels(tuple(_VOC.split()))


_COCO = (
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, "
    "parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, "
    "handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, "
    "surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, "
    "broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, "
    "mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, "
    "teddy bear, hair drier, toothbrush"
)
_COCO_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)  # of COCO's 90 numbers; its data sets have none of these


def coco_labels() -> Labels:
    """Background and COCO's 80 classes of objects, in its order, without gaps."""
    return Labels(("background", *_COCO.split(", ")))


def coco_numbered_labels() -> Labels:
    """Background and COCO's 90 numbers, so that a class's value is its number in COCO's files. Ten of them it left
    free: they are named by themselves, as names must differ."""
    names = iter(_COCO.split(", "))
    numbered = (f"unused {value}" if value in _COCO_UNUSED else next(names) for value in range(1, 91))
    return Labels(("background", *numbered))


def binary_labels(name: str = "subject") -> Labels:
    """Background and one foreground class, which is drawn in a light green."""
    return Labels(names=("background", name), colors=((0, 0, 0), (64, 200, 96)))
