"""Cityscapes' classes (Cordts et al. 2016, arXiv:1604.01685), which are KITTI's too: the 19 that are scored."""

from __future__ import annotations

from imago.data.formats.segments import VOID, ClassTable, Segment

# id, name, colour of the 19 classes that are scored, in the order of their train ids
_SCORED = (
    (7, "road", (128, 64, 128)), (8, "sidewalk", (244, 35, 232)), (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)), (13, "fence", (190, 153, 153)), (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)), (20, "traffic sign", (220, 220, 0)), (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)), (23, "sky", (70, 130, 180)), (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)), (26, "car", (0, 0, 142)), (27, "truck", (0, 0, 70)), (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)), (32, "motorcycle", (0, 0, 230)), (33, "bicycle", (119, 11, 32)),
)  # fmt: skip
FIRST_THING = 24  # ids from here on are counted one by one
NAMES = tuple(name for _, name, _ in _SCORED)
CLASSES = ClassTable(
    NAMES, tuple(number >= FIRST_THING for number, _, _ in _SCORED), tuple(color for _, _, color in _SCORED)
)
TRAIN_IDS = {number: value for value, (number, _, _) in enumerate(_SCORED)}
IDS = tuple(number for number, _, _ in _SCORED)
NOTE = "the 19 classes that Cityscapes scores; all others count for nothing"


def meaning_of(number: int, is_one: bool) -> Segment:
    """What an id means; ``is_one``: it is one thing, and not a group of them."""
    value = TRAIN_IDS.get(number, VOID)
    is_thing = number >= FIRST_THING and value != VOID
    return Segment(value, is_thing, is_thing and not is_one)
