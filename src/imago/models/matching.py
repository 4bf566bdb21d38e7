"""Start a net from weights of another one: the same net with another head, or the same paper in other people's code.

Tensors are matched by name. Where a file has other names throughout, as published weights do, they are matched by order
and shape: two codes of one paper list their tensors in the order of the calculation, as ENet's authors' weights ported
to PyTorch and segmentation-models-pytorch's U-Net do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from imago.core.errors import ModelError
from imago.models.state_dict import read_state_dict

LEAST_SHARE = 0.8  # of the tensors must fit in order and shape, or it is another net: the head may differ, no more
COUNTER = "num_batches_tracked"  # of batch norms; files of before PyTorch 0.4.1 do not have it, and nothing needs it


@dataclass(frozen=True)
class Start:
    """What came of it."""

    by: Literal["name", "order"]
    copied: int  # tensors
    fresh: tuple[str, ...]  # names of the net's tensors that the file has nothing for

    def __str__(self) -> str:
        parts = list(dict.fromkeys(name.partition(".")[0] for name in self.fresh))
        rest = f"{len(self.fresh)} in {', '.join(parts)} start fresh" if self.fresh else "none starts fresh"
        return f"{self.copied} tensors matched by {self.by}; {rest}"


def load_matching(net: nn.Module, path: Path) -> Start:
    """Copy into ``net`` what fits of a ``.safetensors`` or ``.pth`` file, by name, else by order and shape.

    No code from the file is run, and its card, if it has one, is not asked. Raises ModelError that names the file where
    it is no file of weights, or fits in neither way.
    """
    tensors = read_state_dict(path)
    own = net.state_dict()
    by_name = {name: t for name, t in tensors.items() if name in own and own[name].shape == t.shape}
    by_order = match_in_order(own, tensors)
    found = by_order if len(by_order) > len(by_name) else by_name
    if not found:
        raise ModelError(
            f"{path}: none of its {len(tensors)} tensors fits this net by name, and not in order and shape either; "
            "is it another architecture's file?"
        )
    net.load_state_dict(found, strict=False)
    fresh = tuple(name for name in own if name not in found and not name.endswith(COUNTER))
    return Start("order" if found is by_order else "name", len(found), fresh)


def match_in_order(own: dict[str, Tensor], theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """``theirs`` under the names of ``own``, the n-th for the n-th, of equal shape; empty where that is no match."""
    names = [name for name in own if not name.endswith(COUNTER)]
    values = [tensor for name, tensor in theirs.items() if not name.endswith(COUNTER)]
    if len(names) != len(values):
        return {}
    pairs = zip(names, values, strict=True)
    fitting = {name: tensor for name, tensor in pairs if own[name].shape == tensor.shape}
    return fitting if len(fitting) >= LEAST_SHARE * len(names) else {}
