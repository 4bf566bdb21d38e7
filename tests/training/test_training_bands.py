"""Photos of other channels than grey and RGB: trained on, reported, exported, used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bands import BANDS, draw_bands, write_bands
from PIL import Image
from tiffs import write_tiff
from tiny_run import silent, tiny

from imago.cli.main import run as run_command
from imago.core.errors import DataError
from imago.data.augment.pipeline import augment
from imago.data.augment.settings import NO_AUGMENTATION, Augmentation
from imago.data.band_statistics import measure_bands
from imago.data.open_dataset import open_dataset
from imago.inference.load import load
from imago.models import checkpoint
from imago.training.config import DataSource, TrainConfig
from imago.training.train import build, train


def config(out: Path, **changes: object) -> TrainConfig:
    values = {
        "data": (DataSource("bands"),),
        "channels": BANDS,
        "show_bands": (5, 3, 1),
        "epochs": 8,
        "lr": 0.02,
        "ema": 0.5,
    }
    return tiny(out, **{**values, **changes})


def test_six_bands_from_the_folder_to_the_finished_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_bands(tmp_path / "bands", compression="lzw", predictor=2)
    train(
        config(tmp_path / "run", export=True, name="bands", epoch_photos=24, epochs=6, augment=NO_AUGMENTATION),
        tmp_path,
        say=silent,
    )
    report = (tmp_path / "run" / "report.html").read_text()
    assert "Worst images" in report
    _, card = checkpoint.load(tmp_path / "run" / "best.safetensors")
    assert card.scores["bands/iou"] > 0.8
    assert all(100 < low < high < 3000 for low, high in card.input.ranges)
    assert card.input.show_bands == (5, 3, 1)
    assert card.input.mean != (0.5,) * BANDS
    model = str(tmp_path / "run" / "model.onnx")
    photo = folder / "images" / "s7.tif"
    out = tmp_path / "out"
    assert (
        run_command(["segment", str(photo), "--model", model, "-o", str(out), "--save", "mask,overlay,alpha", "-q"])
        == 0
    )
    assert run_command(["cutout", str(photo), "--model", model, "-o", str(out), "-q"]) == 0
    image, label = draw_bands(7)
    mask = np.asarray(Image.open(out / "s7.mask.png")) > 0
    assert (mask & (label > 0)).sum() / (mask | (label > 0)).sum() > 0.6
    cutout = np.asarray(Image.open(out / "s7.cutout.png"))
    assert cutout.shape == (48, 64, 4)
    predictor = load(model)
    whole = predictor(image)  # an array of the same values
    assert (whole.label_map == mask).mean() > 0.99
    (low, high), shown = card.input.ranges[4], whole.photo.rgb[:, :, 0]
    wanted = np.clip((image[:, :, 4] - low) / (high - low), 0, 1) * 255
    assert np.abs(shown - wanted).max() < 1.01
    capsys.readouterr()
    assert run_command(["evaluate", model, str(folder), "--json", "-", "--report", str(tmp_path / "e.html")]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["iou"]["mean"] > 0.6
    assert (
        run_command(["segment", str(photo), "--model", model, "-o", str(tmp_path / "x"), "--show-bands", "1,2,9"]) == 1
    )
    assert "one or three bands from 1 to 6" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("channels", "dtype", "extra"),
    [(2, "uint8", 0), (4, "uint8", 2), (4, "uint16", 0), (5, "float32", 0), (13, "uint16", 0)],
)
def test_any_bands_and_depth_take_a_step(tmp_path: Path, channels: int, dtype: str, extra: int) -> None:
    folder = write_bands(tmp_path / "bands", 4)
    for index in range(4):
        image, _ = draw_bands(index)
        image = np.concatenate([image, image, image], axis=2)[:, :, :channels]
        values = (image // 12).astype(np.uint8) if dtype == "uint8" else image.astype(dtype)
        photometric = 2 if channels == 4 else 1
        (folder / "images" / f"s{index}.tif").write_bytes(write_tiff(values, extra=extra, photometric=photometric))
    train(config(tmp_path / "run", channels=channels, show_bands=(), epochs=1), tmp_path, say=silent)
    _, card = checkpoint.load(tmp_path / "run" / "best.safetensors")
    assert len(card.input.mean) == channels
    assert bool(card.input.ranges) == (dtype != "uint8")


def test_wrong_bands_are_faults_of_the_data(tmp_path: Path) -> None:
    write_bands(tmp_path / "bands", 4)
    with pytest.raises(DataError) as told:
        build(config(tmp_path / "run", channels=4, show_bands=()), tmp_path, False, silent)
    assert len(told.value.faults) == 4
    assert "s0.tif: has 6 bands; the model takes 4" in told.value.faults[0]


def test_a_resumed_run_keeps_its_statistics(tmp_path: Path) -> None:
    folder = write_bands(tmp_path / "bands", 4)
    first = config(tmp_path / "run", epochs=1)
    train(first, tmp_path, say=silent)
    from imago.cli.train import read_run

    stored, root, *_ = read_run(tmp_path / "run")
    (folder / "images" / "s0.tif").write_bytes(write_tiff(np.full((48, 64, BANDS), 60000, np.uint16)))
    again = build(stored, root, True, silent)
    assert again.card.input.ranges == checkpoint.load(tmp_path / "run" / "best.safetensors")[1].input.ranges
    assert again.data.train[0].samples[0].ranges == again.card.input.ranges


def test_statistics(tmp_path: Path) -> None:
    write_bands(tmp_path / "bands", 4, tags=((42113, 2, 2, b"0\0"),))
    samples = open_dataset(tmp_path / "bands", channels=BANDS).split("train")
    found = measure_bands(samples, BANDS)
    pooled = np.concatenate([draw_bands(i)[0].reshape(-1, BANDS) for i in range(3)]).astype(float)
    for band, (low, high) in enumerate(found.ranges):
        assert np.percentile(pooled[:, band], 0.05) <= low <= np.percentile(pooled[:, band], 0.2)
        assert np.percentile(pooled[:, band], 99.8) <= high <= np.percentile(pooled[:, band], 99.95)
        scaled = np.clip((pooled[:, band] - low) / (high - low), 0, 1)
        assert found.mean[band] == pytest.approx(scaled.mean(), abs=0.01)
        assert found.std[band] == pytest.approx(scaled.std(), abs=0.01)


@pytest.mark.parametrize("channels", [1, 2, 4, 6, 13])
def test_every_augmentation_takes_any_channels(channels: int) -> None:
    image = (np.random.default_rng(0).random((40, 50, channels)) * 255).astype(np.uint8)
    label = np.zeros((40, 50), np.uint8)
    label[10:30, 10:35] = 1
    usual = Augmentation()
    shares = [name for name, value in vars(usual).items() if isinstance(value, float)]
    for name in shares:
        try:
            how = Augmentation(**{name: 1.0})
        except ValueError:  # not a share
            continue
        made, _, _ = augment(image, label, (32, 32), how, np.random.default_rng(1), [(image, label)] * 6)
        assert made.shape == (32, 32, channels), name
