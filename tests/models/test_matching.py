"""Weights of another net to start from: by name, and by order and shape where the names are other people's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from imago.core.errors import ModelError
from imago.models import build
from imago.models.matching import load_matching


def renamed(net: nn.Module, counters: bool = True) -> dict[str, Tensor]:
    """As another code of the same paper would list it."""
    values = [(name, value) for name, value in net.state_dict().items() if counters or "num_batches" not in name]
    return {f"layer{index}.{name.rpartition('.')[2]}": value for index, (name, value) in enumerate(values)}


def narrow(classes: int) -> Any:
    torch.manual_seed(classes)
    return build("unet", classes=classes, width=4)


def test_by_name_to_another_head(tmp_path: Path) -> None:
    net, other = narrow(1), narrow(5)
    save_file(net.state_dict(), tmp_path / "a.safetensors")
    fresh = other.head.weight.clone()
    start = load_matching(other, tmp_path / "a.safetensors")
    assert (start.by, start.fresh) == ("name", ("head.weight", "head.bias"))
    assert str(start).endswith("tensors matched by name; 2 in head start fresh")
    assert torch.equal(other.head.weight, fresh)
    assert torch.equal(other.down[0][0].weight, net.down[0][0].weight)
    assert torch.equal(other.down[0][1].running_mean, net.down[0][1].running_mean)


@pytest.mark.parametrize("counters", [True, False], ids=["as torch writes today", "as before 0.4.1"])
@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: {"state_dict": t, "epoch": 300}, lambda t: {"model": t}])
@pytest.mark.parametrize(("classes", "fresh"), [(12, ()), (5, ("full.weight", "full.bias"))])
def test_published_enet_by_order(
    classes: int, fresh: tuple[str, ...], wrap: Any, counters: bool, tmp_path: Path
) -> None:
    """Such a file exists: the authors' ENet, turned from Lua into PyTorch."""
    published = build("enet", classes=12, width=8)
    with torch.no_grad():
        for value in published.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.rand_like(value) + 0.5)
    torch.save(wrap(renamed(published, counters)), tmp_path / "enet.pth")
    net = build("enet", classes=classes, width=8)
    start = load_matching(net, tmp_path / "enet.pth")
    assert (start.by, start.fresh) == ("order", fresh)
    if not fresh:
        images = torch.rand(1, 3, 64, 64)
        with torch.no_grad():
            assert torch.equal(net.eval()(images)[0], published.eval()(images)[0])


def test_weights_of_segmentation_models_pytorch(tmp_path: Path) -> None:
    reference = smp.Unet("resnet18", encoder_weights=None, classes=2).eval()
    torch.save(reference.state_dict(), tmp_path / "smp.pth")
    net = build("unet", encoder="resnet18", classes=2).eval()
    assert load_matching(net, tmp_path / "smp.pth").by == "order"
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(net(images)[0], reference(images), rtol=1e-4, atol=1e-5)


def test_a_few_equal_names_do_not_hide_the_order(tmp_path: Path) -> None:
    net = narrow(1)
    tensors = renamed(net)
    first = next(iter(tensors))
    tensors = {("head.bias" if name == first else name): value for name, value in tensors.items()}
    torch.save(tensors, tmp_path / "a.pth")
    assert load_matching(narrow(1), tmp_path / "a.pth").by == "order"


@pytest.mark.parametrize("architecture", ["unet", "enet"])
def test_another_net_is_refused(architecture: str, tmp_path: Path) -> None:
    torch.save({f"x{index}": torch.zeros(index + 1) for index in range(9)}, tmp_path / "a.pth")
    with pytest.raises(ModelError, match=r"a\.pth: none of its 9 tensors fits this net by name, and not in order"):
        load_matching(build(architecture, width=8), tmp_path / "a.pth")
