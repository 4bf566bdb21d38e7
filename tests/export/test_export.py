"""Exported files answer as torch does, say what they are, and are refused where they do not."""

from __future__ import annotations

import json
import logging
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import draw_scene

from imago.cli.main import run
from imago.core.errors import ImagoError, ModelError
from imago.core.input_spec import InputSpec
from imago.core.labels import Labels, binary_labels
from imago.core.model_card import METADATA_KEY, ModelCard
from imago.export.export import export_run, make_images, pick_spread, read_samples, read_validation_photos
from imago.export.semantic import ExportReport, export_onnx
from imago.files.images import read_image
from imago.files.model_file import read_onnx_card, read_safetensors_card
from imago.models import build, checkpoint
from imago.models.base import SegmentationNet

PHOTOS = [draw_scene(seed, (80, 112))[0] for seed in range(2)]


def small_net(classes: int = 1, in_channels: int = 3, architecture: str = "unet", **options: object) -> SegmentationNet:
    """A narrow net whose norms have seen photos, so that folding them has something to fold."""
    torch.manual_seed(0)
    net = build(architecture, classes=classes, in_channels=in_channels, **(options or {"width": 4}))
    net.train()
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(4, in_channels, 64, 64))
        last = net.head if hasattr(net, "head") else net.fuse
        last.weight.mul_(8)  # else all answers would lie near 0.5
    return net.eval()


def card_of(net: SegmentationNet, spec: InputSpec, **options: object) -> ModelCard:
    labels = binary_labels() if net.classes == 1 else Labels(tuple("abcdefgh"[: net.classes]))
    task = "binary" if net.classes == 1 else "semantic"
    return ModelCard("small", "unet", {"classes": net.classes, **options}, task, labels, spec, output="logit")


def answers(path: Path | bytes, batch: np.ndarray) -> np.ndarray:
    content = path if isinstance(path, bytes) else str(path)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": batch})[0]


def by_torch(net: SegmentationNet, batch: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return net.decode(net(torch.from_numpy(batch))).numpy()


NETS = {
    "U-Net of the paper": {"width": 4},
    "U-Net with an encoder": {
        "encoder": "resnet18_half",
        "widths": (16, 16, 8, 8),
        "context": 8,
        "projection": True,
        "classes": 3,
    },
    "U2-Net-p": {"architecture": "u2netp", "width": 4},
}


@dataclass
class Case:
    net: SegmentationNet
    card: ModelCard
    report: ExportReport
    model: onnx.ModelProto


# torch needs 15 s of processor time to trace the 112 convolutions of U2-Net-p with free sizes.
PARAMETERS = [pytest.param(name, marks=pytest.mark.slow if "U2" in name else ()) for name in NETS]


@pytest.fixture(scope="module", params=PARAMETERS, ids=str)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    net = small_net(**NETS[request.param])
    card = card_of(net, InputSpec("area", (64, 64), multiple=32))
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    report = export_onnx(net, card, path, samples=PHOTOS)
    return Case(net, card, report, onnx.load(path))


@pytest.mark.parametrize("shape_nhw", [(1, 64, 96), (2, 128, 64), (3, 32, 32), (1, 32, 160)])
def test_any_batch_and_size_answers_as_torch(case: Case, shape_nhw: tuple[int, int, int]) -> None:
    count, height, width = shape_nhw
    batch = np.random.default_rng(1).normal(size=(count, 3, height, width)).astype(np.float32)
    expected = by_torch(case.net, batch)
    answer = answers(case.report.path, batch)
    assert answer.shape == (count, case.net.classes, height, width)
    assert answer.dtype == np.float32
    assert expected.std() > 0.01
    np.testing.assert_allclose(answer, expected, atol=1e-4)


def test_the_file_has_one_input_one_output_and_nothing_of_this_machine(case: Case) -> None:
    graph = case.model.graph
    assert [value.name for value in graph.input] == ["image"]
    assert [value.name for value in graph.output] == ["mask"]
    norms = [node.op_type for node in graph.node].count("BatchNormalization")
    assert norms == (
        1 if hasattr(case.net, "context") else 0
    )  # the context's norm follows a sum; all others are folded
    content = case.report.path.read_bytes()
    assert len(content) == case.report.bytes
    assert b"site-packages" not in content
    assert str(Path(__file__).parents[2]).encode() not in content
    onnx.checker.check_model(case.model, full_check=True)


def test_the_file_says_what_it_is(case: Case) -> None:
    card = read_onnx_card(case.report.path)
    assert card == case.report.card == case.card.with_(output="probability", precision="float32")
    assert [entry.key for entry in case.model.metadata_props] == [METADATA_KEY]
    assert case.report.sizes == "any multiples of 32"
    assert case.report.compared == 2
    assert 0 <= case.report.mean_difference <= case.report.largest_difference <= 1e-4


def test_fixed_sizes_stay_fixed_and_the_export_is_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    net = small_net(in_channels=1).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    level = logging.getLogger("torch.onnx").level
    card = card_of(net, InputSpec("letterbox", (48, 64), channels=1, mean=(0.5,), std=(0.5,)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = export_onnx(net, card, tmp_path / "m.onnx", samples=[PHOTOS[0][:, :, :1]])
    assert capfd.readouterr() == ("", "")
    assert [str(warning.message) for warning in caught] == []
    assert logging.getLogger("torch.onnx").level == level
    assert net.training  # the net itself is left as it was
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert report.sizes == "48 x 64"
    batch = np.random.default_rng(0).normal(size=(3, 1, 48, 64)).astype(np.float32)
    np.testing.assert_allclose(answers(report.path, batch), by_torch(net.eval(), batch), atol=1e-4)
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
        answers(report.path, batch[:, :, :, :48])


def test_half_is_half_the_bytes_and_runs_in_float32(tmp_path: Path) -> None:
    net = small_net(width=12)
    report = export_onnx(
        net, card_of(net, InputSpec("pad", multiple=16)), tmp_path / "m.onnx", samples=PHOTOS, half=True
    )
    assert report.bytes < 0.55 * sum(4 * parameter.numel() for parameter in net.parameters())
    assert report.card.precision == "float16"
    assert 0 < report.largest_difference < 2e-2
    graph = onnx.load(report.path).graph
    ends = (*graph.input, *graph.output)
    assert {value.type.tensor_type.elem_type for value in ends} == {onnx.TensorProto.FLOAT}
    # What runs after loading: no Cast is left, all convolutions have their float32 weights.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    onnxruntime.InferenceSession(str(report.path), options, providers=["CPUExecutionProvider"])
    loaded = onnx.load(tmp_path / "loaded.onnx").graph
    assert "Cast" not in {node.op_type for node in loaded.node}
    assert onnx.TensorProto.FLOAT16 not in {tensor.data_type for tensor in loaded.initializer}


@pytest.mark.parametrize(
    ("fault", "half", "tolerance", "words"),
    [
        (1.01, False, None, r"differ from torch by up to 0\.\d+ .*on 2 images; allowed are 0\.0001 \(mean 1e-05\)"),
        (np.nan, False, None, "differ from torch by up to nan"),
        (np.nan, False, 1e9, "differ from torch by up to nan"),
        (1.0, True, 1e-6, "allowed are 1e-06.*Export as float32"),
    ],
)
def test_a_file_that_answers_otherwise_is_refused_and_not_left(
    case: Case,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: float,
    half: bool,
    tolerance: float | None,
    words: str,
) -> None:
    def faulty_trace(*_: object) -> onnx.ModelProto:
        """What an exporter with a bug might give: the weights of the head are off."""
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        head = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("head.weight"))
        head.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(head) * np.float32(fault), head.name))
        return model

    if not hasattr(case.net, "head"):
        pytest.skip("one net is enough")
    monkeypatch.setattr("imago.export.semantic.trace", faulty_trace)
    with pytest.raises(ModelError, match=words) as caught:
        export_onnx(case.net, case.card, tmp_path / "m.onnx", samples=PHOTOS, half=half, tolerance=tolerance)
    assert "m.onnx: not written" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    if fault == 1.01:  # the mean has a limit of its own
        largest, mean = map(float, re.findall(r"by up to (\S+) \(mean (\S+)\)", str(caught.value))[0])
        assert mean > 0.12 * largest
        with pytest.raises(ModelError, match="not written"):
            export_onnx(case.net, case.card, tmp_path / "m.onnx", samples=PHOTOS, tolerance=1.1 * largest)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (InputSpec("area", (64, 64), multiple=8), "multiples of 16, but its size rule 'area' gives 8 x 8"),
        (InputSpec("resize", (64, 40)), "multiples of 16, but its size rule 'resize' gives 64 x 40"),
        (InputSpec(channels=1, mean=(0.5,), std=(0.5,)), "takes 3 channels but its card says 1"),
    ],
)
def test_cards_that_do_not_fit_the_net_are_refused(tmp_path: Path, spec: InputSpec, words: str) -> None:
    net = small_net()
    with pytest.raises(ModelError, match=words):
        export_onnx(net, card_of(net, spec), tmp_path / "m.onnx", samples=PHOTOS)


def test_samples_and_a_free_name_are_asked_for_first(tmp_path: Path) -> None:
    net = small_net()
    card = card_of(net, InputSpec("area", (64, 64), multiple=16))
    with pytest.raises(ModelError, match="got none"):
        export_onnx(net, card, tmp_path / "m.onnx", samples=[])
    (tmp_path / "m.onnx").write_bytes(b"mine")
    with pytest.raises(ImagoError, match="--overwrite"):
        export_onnx(net, card, tmp_path / "m.onnx", samples=PHOTOS)
    assert (tmp_path / "m.onnx").read_bytes() == b"mine"


# --- runs


@pytest.fixture
def run_folder(tmp_path: Path, tiny_dataset: Path) -> Path:
    """What a training on ``tiny_dataset`` leaves, as far as the export looks at it."""
    folder = tmp_path / "run"
    folder.mkdir()
    net = small_net(classes=3)
    checkpoint.save(net, card_of(net, InputSpec("area", (64, 64), multiple=16), width=4), folder / "best.safetensors")
    (folder / "config.json").write_text(json.dumps({"data": [{"path": str(tiny_dataset)}]}))
    return folder


def test_a_run_is_compared_on_its_validation_photos(tmp_path: Path, run_folder: Path) -> None:
    report = export_run(run_folder, tmp_path / "m.onnx", name="shapes", license="CC0-1.0", note="a test")
    assert (report.samples, report.compared) == ("validation photos of the run", 3)
    card = read_onnx_card(report.path)
    assert card is not None
    assert (card.name, card.license, card.note) == ("shapes", "CC0-1.0", "a test")
    assert card.options == {"classes": 3, "width": 4}


def test_photos_to_compare_on(tmp_path: Path, run_folder: Path, tiny_dataset: Path) -> None:
    card = read_safetensors_card(run_folder / "best.safetensors")
    found = read_validation_photos(run_folder, card)
    expected = [read_image(tiny_dataset / "images" / f"scene{i:02d}.jpg").pixels for i in (9, 10, 11)]
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert len(read_samples(tiny_dataset / "images", InputSpec())) == 4
    assert len(read_samples(tiny_dataset / "images" / "scene00.jpg", InputSpec())) == 1
    tiny_dataset.rename(tmp_path / "moved")
    assert read_validation_photos(run_folder, card) == []
    (run_folder / "config.json").write_text("{")
    assert read_validation_photos(run_folder, card) == []


def test_command(tmp_path: Path, run_folder: Path, tiny_dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.onnx"
    tiny_dataset.rename(tmp_path / "moved")
    command = ["export", str(run_folder), "--out", str(out), "--half"]
    assert run(command) == 0
    printed = capsys.readouterr().out
    assert re.search(r"m\.onnx: 0\.\d MB, weights as float16", printed)
    assert "any multiples of 16" in printed
    assert "compared with torch on 4 made-up images (the run's photos are not there): largest difference" in printed
    assert run(command) == 1
    assert "m.onnx: is there already; give --overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "--out", "m.onnx"], "nowhere: there is no such run folder or .safetensors file"),
        (["images", "--out", "m.onnx"], "images: holds no best.safetensors"),
        (["images/scene00.jpg", "--out", "m.onnx"], "expected a run folder or a .safetensors file"),
        (["nowhere", "--out", "m.pt"], "m.pt: the exported file must end in .onnx"),
    ],
)
def test_command_says_what_it_wants(
    tiny_dataset: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tiny_dataset)
    assert run(["export", *arguments]) == 1
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert not Path("m.onnx").exists()


@pytest.mark.parametrize(
    ("count", "expected"), [(2, [0, 9]), (4, [0, 3, 6, 9]), (10, list(range(10))), (12, list(range(10)))]
)
def test_spread_by_hand(count: int, expected: list[int]) -> None:
    assert pick_spread(range(10), count) == expected


def test_made_up_images_are_images() -> None:
    images = make_images(4)
    assert all(image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 4 for image in images)
    assert len({image.shape for image in images}) > 1
    np.testing.assert_array_equal(images[0], make_images(4)[0])


@pytest.mark.data
@pytest.mark.slow
def test_real_photos_and_the_net_that_is_shipped(tmp_path: Path, data_root: Path) -> None:
    net = small_net(encoder="resnet34_slim", widths=(96, 64, 32, 16), context=96)
    card = card_of(net, InputSpec())
    photos = [
        read_image(data_root / "people" / "images" / f"{name}.jpg").pixels
        for name in (data_root / "people" / "val.txt").read_text().split()[:4]
    ]
    report = export_onnx(net, card, tmp_path / "m.onnx", samples=photos, half=True)
    assert report.bytes < 10e6
    assert report.largest_difference < 2e-2
