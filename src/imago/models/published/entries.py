"""What the catalog knows of published weights: where the file is, what it says of itself, what becomes of it here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imago.core.model_card import ModelCard
from imago.files.download import Remote, models_folder

TORCHVISION = "https://download.pytorch.org/models/"  # where torchvision's files lie

Form = Literal["onnx", "torchvision", "darknet"]
SUFFIXES: dict[Form, str] = {"onnx": ".onnx", "torchvision": ".pth", "darknet": ".weights"}
PROGRAMS: dict[Form, str] = {"onnx": "ONNX Runtime", "torchvision": "PyTorch", "darknet": "darknet"}


@dataclass(frozen=True)
class Published:
    """One entry of the catalog."""

    remote: Remote
    card: ModelCard
    form: Form = "onnx"  # of the remote file; from every other form ``path`` is made here

    @property
    def converted(self) -> bool:
        """Whether the remote file is not the model yet."""
        return self.form != "onnx"

    @property
    def program(self) -> str:
        """What the file was published for, in words."""
        return PROGRAMS[self.form]

    @property
    def path(self) -> Path:
        """Where the model lies once it is downloaded."""
        return models_folder() / f"{self.card.name}.onnx"

    @property
    def landing(self) -> Path:
        """Where the remote file itself comes to lie: ``path``, or another one until it is converted."""
        return models_folder() / f"{self.card.name}{SUFFIXES[self.form]}"

    @property
    def checkpoint(self) -> Path:
        """Where the weights lie to train from, if they were asked for."""
        return models_folder() / f"{self.card.name}.safetensors"
