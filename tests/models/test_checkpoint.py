"""Checkpoints: what is written comes back, what is damaged says so, and the authors' weights find their places."""

from __future__ import annotations

import gzip
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from imago.core.errors import ImagoError, ModelError
from imago.core.input_spec import InputSpec
from imago.core.labels import Labels, binary_labels
from imago.core.model_card import METADATA_KEY, ModelCard
from imago.files.model_file import read_safetensors_card
from imago.models import build
from imago.models.base import SegmentationNet
from imago.models.checkpoint import load, load_average, save
from imago.models.published.u2net import load_official, translate_name

OPTIONS: dict[str, Any] = {"classes": 1, "in_channels": 3, "width": 4}


def card(architecture: str = "unet", **options: Any) -> ModelCard:
    options = options or OPTIONS
    classes = options.get("classes", 1)
    labels = binary_labels() if classes == 1 else Labels(tuple(f"class {i}" for i in range(classes)))
    return ModelCard(
        "trial", architecture, options, "binary" if classes == 1 else "semantic", labels, InputSpec(), license="CC0-1.0"
    )


@pytest.fixture
def net() -> SegmentationNet:
    torch.manual_seed(3)
    net = build("unet", **OPTIONS)
    net(torch.rand(2, 3, 32, 32))  # moves the running means, so that they are stored values too
    return net.eval()


def answer(net: SegmentationNet) -> torch.Tensor:
    with torch.no_grad():
        return net(torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32))[0]


def test_round_trip(net: SegmentationNet, tmp_path: Path) -> None:
    path = tmp_path / "runs" / "best.safetensors"  # the folder is made
    save(net, card(), path)
    loaded, its_card = load(path)
    assert its_card == card()
    assert not loaded.training
    assert torch.equal(answer(loaded), answer(net))
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


def test_the_mean_of_several(net: SegmentationNet, tmp_path: Path) -> None:
    save(net, card(), tmp_path / "a.safetensors")
    larger = {name: value * 3 if value.is_floating_point() else value for name, value in net.state_dict().items()}
    net.load_state_dict(larger)
    save(net, card().with_(input=InputSpec(size_hw=(384, 384)), name="second"), tmp_path / "b.safetensors", half=True)
    mean, its_card = load_average([tmp_path / "a.safetensors", tmp_path / "b.safetensors"])
    assert its_card == card()
    assert not mean.training
    for name, value in mean.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, larger[name] * (2 / 3), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (card(classes=1, in_channels=3, width=5), r"b\.safetensors: options and"),
        (card(classes=2, in_channels=3, width=4), r"b\.safetensors: options and"),
        (card().with_(labels=Labels(("rest", "leaf"))), r"b\.safetensors: labels and"),
        (card().with_(input=InputSpec(mean=(0, 0, 0))), r"b\.safetensors: input and"),
    ],
)
def test_only_one_net_is_averaged(net: SegmentationNet, tmp_path: Path, other: ModelCard, words: str) -> None:
    save(net, card(), tmp_path / "a.safetensors")
    save(build(other.architecture, **other.options), other, tmp_path / "b.safetensors")
    with pytest.raises(ModelError, match=words):
        load_average([tmp_path / "a.safetensors", tmp_path / "b.safetensors"])


def test_half_is_half_as_large_and_nearly_equal(net: SegmentationNet, tmp_path: Path) -> None:
    save(net, card(), tmp_path / "full.safetensors")
    save(net, card(), tmp_path / "half.safetensors", half=True)
    sizes = [(tmp_path / name).stat().st_size for name in ("full.safetensors", "half.safetensors")]
    assert sizes[1] < 0.65 * sizes[0]
    stored = load_file(tmp_path / "half.safetensors")
    assert {t.dtype for t in stored.values()} == {torch.float16, torch.float32, torch.int64}
    assert {t.dtype for name, t in stored.items() if "running" in name} == {torch.float32}
    loaded, its_card = load(tmp_path / "half.safetensors")
    assert its_card.precision == "float16"
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(answer(loaded), answer(net), rtol=0.01, atol=0.01)


def test_half_refuses_what_it_cannot_hold(net: SegmentationNet, tmp_path: Path) -> None:
    with torch.no_grad():
        net.head.weight[0, 0] = 1e5
    with pytest.raises(ModelError, match=r"head\.weight go past 65504.*half=False"):
        save(net, card(), tmp_path / "half.safetensors", half=True)
    assert not list(tmp_path.iterdir())


def test_saving_replaces_whole_and_leaves_nothing_beside(net: SegmentationNet, tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    path.write_bytes(b"the one before")
    save(net, card(), path)
    assert [p.name for p in tmp_path.iterdir()] == ["last.safetensors"]
    assert read_safetensors_card(path).name == "trial"


def test_others_may_read_the_file(net: SegmentationNet, tmp_path: Path) -> None:
    save(net, card(), tmp_path / "net.safetensors")
    (tmp_path / "plain").touch()
    assert (tmp_path / "net.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_in_the_way(net: SegmentationNet, tmp_path: Path) -> None:
    (tmp_path / "last.safetensors").mkdir()
    with pytest.raises(ImagoError, match=r"last\.safetensors: is a folder; a file was to be written there"):
        save(net, card(), tmp_path / "last.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["last.safetensors"]


def test_loading_leaves_the_random_stream(net: SegmentationNet, tmp_path: Path) -> None:
    save(net, card(), tmp_path / "a.safetensors")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load(tmp_path / "a.safetensors")
    assert torch.equal(torch.rand(3), expected)


def test_lists_for_tuples_and_no_download(tmp_path: Path) -> None:
    """JSON gives lists; ``pretrained`` counts when a net is made, not when it is read back."""
    options = {"classes": 2, "encoder": "resnet18_half", "widths": (16, 12, 8, 8), "context": 8}
    net = build("unet", **options).eval()
    path = tmp_path / "e.safetensors"
    save(net, card("unet", **options, pretrained=True), path)
    loaded, its_card = load(path)
    assert its_card.options["widths"] == [16, 12, 8, 8]
    with torch.no_grad():
        images = torch.rand(1, 3, 64, 32)
        assert torch.equal(loaded(images)[0], net(images)[0])


class Trap:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _stub(path: Path) -> None:
    path.write_bytes(b"\x10")


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Trap(path.with_name("sprung"))))


def _no_card(path: Path) -> None:
    save_file(load_file(path), path)


def _other_net(path: Path) -> None:
    save_file(load_file(path), path, metadata={METADATA_KEY: card(**{**OPTIONS, "width": 8}).to_json()})


def _foreign(path: Path) -> None:
    save_file(load_file(path), path, metadata={METADATA_KEY: card().with_(architecture="").to_json()})


def _future(path: Path) -> None:
    save_file(load_file(path), path, metadata={METADATA_KEY: card().with_(architecture="unet9").to_json()})


def _less(path: Path) -> None:
    tensors = load_file(path)
    tensors["stranger"] = tensors.pop("head.bias")
    save_file(tensors, path, metadata={METADATA_KEY: card().to_json()})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (Path.unlink, "there is no such file"),
        (_cut, "not a whole .safetensors file"),
        (_stub, "not a whole .safetensors file"),
        (_pickle, "not a whole .safetensors file"),
        (_no_card, "holds weights but no Imago model card"),
        (_other_net, "have another shape: down.0.0.weight is (4, 3, 3, 3) in the file, (8, 3, 3, 3) in the net"),
        (_foreign, "its card names no architecture"),
        (_future, "architecture 'unet9' is not known; choose from fcn32s, fcn16s, "),
        (_less, "1 tensors are missing: head.bias; 1 tensors have no place: stranger"),
    ],
)
def test_damage_is_told_with_the_name_of_the_file(
    damage: Any, words: str, net: SegmentationNet, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    save(net, card(), path)
    damage(path)
    with pytest.raises(ModelError) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "sprung").exists()


# --- the authors' weights ---


@pytest.fixture(scope="module")
def official_shapes() -> dict[str, dict[str, list[int]]]:
    """Names and shapes in the published ``u2net.pth`` and ``u2netp.pth``."""
    path = Path(__file__).parents[1] / "fixtures" / "u2net_official_shapes.json.gz"
    return json.loads(gzip.decompress(path.read_bytes()))


@pytest.mark.parametrize("architecture", ["u2net", "u2netp"])
def test_key_map_covers_every_tensor_once(architecture: str, official_shapes: dict) -> None:
    with torch.device("meta"):
        own = {name: list(tensor.shape) for name, tensor in build(architecture).state_dict().items()}
    official = official_shapes[architecture]
    mapped = {translate_name(name): shape for name, shape in official.items()}
    assert len(mapped) == len(official) == 798  # one to one
    assert mapped == own


def official_weights(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    torch.manual_seed(11)
    return {
        name: torch.tensor(7) if name.endswith("tracked") else torch.rand(shape) * 0.1 + 0.05
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_official_weights_land_in_their_places(form: str, official_shapes: dict, tmp_path: Path) -> None:
    weights = official_weights(official_shapes["u2netp"])
    path = tmp_path / ("u2netp.safetensors" if form == "safetensors" else "u2netp.pth")
    if form == "safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=form == "zip")  # u2net.pth of 2020 is of the old form
    net = build("u2netp").eval()
    load_official(net, path)
    pairs = [  # the decisive ones by hand, as the module's docstring has them
        (net.encoder[2].enter.conv.weight, "stage3.rebnconvin.conv_s1.weight"),
        (net.encoder[2].down[1].norm.bias, "stage3.rebnconv2.bn_s1.bias"),
        (net.encoder[2].up[3].conv.weight, "stage3.rebnconv4d.conv_s1.weight"),
        (net.decoder[2].enter.norm.running_var, "stage3d.rebnconvin.bn_s1.running_var"),
        (net.side[5].weight, "side6.weight"),
        (net.fuse.bias, "outconv.bias"),
    ]
    for ours, theirs in pairs:
        assert torch.equal(ours, weights[theirs]), theirs
    own = net.state_dict()
    assert all(torch.equal(own[translate_name(name)], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("missing", "there is no such file"),
        ("trap", "not a whole file of weights"),
        ("cut", "not a whole file of weights"),
        ("empty", "not a whole file of weights"),
        ("whole net", "expected a table of names and tensors"),
        ("stranger", "'layer1.weight' is not a tensor of the official U2-Net"),
        ("full form", "have another shape"),
    ],
)
def test_official_files_that_do_not_fit(content: str, words: str, official_shapes: dict, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    weights = official_weights(official_shapes["u2netp"])
    if content == "trap":
        torch.save({"side1.bias": Trap(tmp_path / "sprung")}, path)
    elif content == "cut":
        torch.save(weights, path)
        path.write_bytes(path.read_bytes()[:1000])
    elif content == "empty":
        path.write_bytes(b"")
    elif content == "whole net":
        torch.save({"epoch": 3, "weights": weights}, path)
    elif content == "stranger":
        torch.save({"layer1.weight": torch.zeros(1)}, path)
    elif content == "full form":
        torch.save({**weights, "stage1.rebnconv1.conv_s1.weight": torch.zeros(32, 64, 3, 3)}, path)
    with pytest.raises(ModelError) as caught:
        load_official(build("u2netp"), path)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "sprung").exists()
