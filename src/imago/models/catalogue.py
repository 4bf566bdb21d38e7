"""Published weights that can be downloaded by name: address, size, checksum, licence, and the card they lack.

The files are those of rembg's release v0.0.0: the authors' checkpoints as ONNX. Sizes and SHA-256 were compared over
several independent public lists. Nothing here downloads: see ``imago.files.download``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imago.core.card import ModelCard
from imago.core.labels import binary_labels
from imago.core.spec import InputSpec
from imago.files.download import Remote, models_folder, sha256_of


@dataclass(frozen=True)
class Published:
    """One entry: where the file is, and what it says of itself."""

    remote: Remote
    card: ModelCard

    @property
    def path(self) -> Path:
        """Where it lies once it is downloaded."""
        return models_folder() / f"{self.card.name}.onnx"


_RELEASE = "https://github.com/danielgatis/rembg/releases/download/v0.0.0/"


def _u2net(name: str, architecture: str, size: int, sha256: str, foreground: str, data: str, note: str) -> Published:
    card = ModelCard(
        name=name,
        architecture=architecture,
        options={"classes": 1, "in_channels": 3},
        task="binary",
        labels=binary_labels(foreground),
        # As the authors' own test script prepares an image: divided by its largest value, then ImageNet's mean and std.
        input=InputSpec(rule="squash", size_hw=(320, 320), multiple=1, scale="max"),
        output="probability",
        stretch=True,
        data=(data,),
        licence="Apache-2.0",
        note=note,
    )
    return Published(Remote(f"{_RELEASE}{name}.onnx", size, sha256), card)


CATALOGUE: dict[str, Published] = {
    entry.card.name: entry
    for entry in (
        _u2net(
            "u2net",
            "u2net",
            175_997_641,
            "8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491",
            "subject",
            "DUTS-TR (10,553 images, for academic use)",
            "Official weights of U2-Net (Qin et al. 2020, arXiv:2005.09007): whatever stands out in a photo.",
        ),
        _u2net(
            "u2netp",
            "u2netp",
            4_574_861,
            "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
            "subject",
            "DUTS-TR (10,553 images, for academic use)",
            "Official weights of the small U2-Net (Qin et al. 2020, arXiv:2005.09007): whatever stands out in a photo.",
        ),
        _u2net(
            "u2net_human_seg",
            "u2net",
            175_997_641,
            "01eb6a29a5c4d8edb30b56adad9bb3a2a0535338e480724a213e0acfd2d1c73c",
            "person",
            "Supervisely Person (for research use)",
            "Official weights of U2-Net (Qin et al. 2020) for people.",
        ),
    )
}


def recognise(path: Path) -> ModelCard | None:
    """The card of a published file, found by size and checksum whatever its name; None if it is none of them."""
    size = path.stat().st_size
    likely = [entry for entry in CATALOGUE.values() if entry.remote.size == size]
    if not likely:
        return None
    checksum = sha256_of(path)
    return next((entry.card for entry in likely if entry.remote.sha256 == checksum), None)
