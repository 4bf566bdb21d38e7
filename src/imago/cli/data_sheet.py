"""Contact sheets of data sets: photos beside what their annotations were understood to say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imago.core.labels import Labels
    from imago.data.dataset import Dataset, Sample
    from imago.draw.contact_sheet import Tile


def make_tiles(dataset: Dataset, samples: Sequence[Sample]) -> tuple[list[Tile], list[str]]:
    """A tile for each sample that can be read, and the faults of the others, a line each."""
    from imago.core.errors import ImagoError
    from imago.draw.contact_sheet import make_tile

    splits = {sample.image_path: split for split, members in dataset.splits.items() for sample in members}
    tiles, faults = [], []
    for sample in samples:
        try:
            truth = sample.label_map() if sample.has_label_map else sample.instances()
            caption = f"{splits[sample.image_path]}: {sample.name}"
            tiles.append(make_tile(sample.image(), truth, dataset.labels, caption))
        except (ImagoError, ValueError) as error:
            faults.append(str(error))
    return tiles, faults


def save_sheet(
    target: Path, tiles: Sequence[Tile], labels: Labels, words: Sequence[str], title: str, overwrite: bool = False
) -> None:
    """A picture, or where ``target`` ends with .html a page. ``words``: of each class in the legend."""
    from imago.draw.contact_sheet import contact_sheet, sheet_page
    from imago.files.writing import atomic_write

    if target.suffix.lower() in (".html", ".htm"):
        with atomic_write(target, overwrite) as stream:
            stream.write(sheet_page(tiles, labels, words, title).encode("utf-8", "replace"))
        return
    image = contact_sheet(tiles, labels, words, title)
    with atomic_write(target, overwrite) as stream:
        image.save(stream, "PNG" if target.suffix.lower() == ".png" else "JPEG", quality=90)
