"""Validation while training says what the user's evaluation says, wherever both say something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from cells import write_cells
from tiny_run import BINARY, silent, tiny

from imago.evaluation.evaluate import evaluate
from imago.evaluation.semantic import SemanticScoring
from imago.inference.predictor import Predictor
from imago.models.base import SegmentationNet, Target
from imago.training.config import DataSource
from imago.training.train import build
from imago.training.validate import SCORING, fit_label, validate, watch_net


@pytest.mark.parametrize("group", ["", BINARY])
def test_validation_is_the_users_evaluation(group: str, root: Path, tmp_path: Path) -> None:
    run = build(tiny(tmp_path / "run", data=(DataSource("tiny", group=group),)), root, False, silent)
    run.net.eval()
    (samples,) = run.data.val.values()
    engine = watch_net(run.net, run.card, torch.device("cpu"))  # type: ignore[arg-type]
    told: list[tuple[int, int]] = []
    seen = validate(engine, {"one": samples, "two": samples[:1]}, lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]

    whole = evaluate(Predictor(engine), samples, scoring=SemanticScoring(refine_edges=False))
    quick = evaluate(Predictor(engine), samples, scoring=SCORING)
    assert set(quick.summary) == set(whole.summary) - {"boundary_f", "max_f", "mae"}
    assert all(quick.summary[name].mean == whole.summary[name].mean for name in quick.summary)
    assert seen.by_folder["one"] == whole.score
    assert seen.score == np.mean(list(seen.by_folder.values()))
    if not group:  # nothing is left out that would move the scores of several classes
        assert whole.score == evaluate(Predictor(engine), samples).score


def test_the_loss_is_the_mean_over_photos(root: Path, tmp_path: Path) -> None:
    run = build(tiny(tmp_path / "run"), root, False, silent)
    run.net.eval()
    (samples,) = run.data.val.values()
    engine = watch_net(run.net, run.card, torch.device("cpu"))  # type: ignore[arg-type]
    losses = []
    for sample in samples:
        frame, plan = run.card.input.fit(sample.image())
        target = Target(torch.from_numpy(fit_label(sample.label_map(), plan)[None].astype(np.int64)))
        with torch.inference_mode():
            losses.append(float(run.net.criterion(run.net(torch.from_numpy(frame)[None])[0], target)))  # type: ignore[operator]
    assert validate(engine, {"tiny": samples}).loss == pytest.approx(np.mean(losses))


def test_no_second_look_and_no_objects_while_training(root: Path, tmp_path: Path) -> None:
    """What costs time, and what is made of label maps later, is left to the end of the run."""
    run = build(tiny(tmp_path / "run", tta_flip=True, tta_scales=(1.0, 1.5)), root, False, silent)
    looks: list[int] = []
    run.net.register_forward_hook(lambda module, images, outputs: looks.append(1))
    run.net.eval()
    (samples,) = run.data.val.values()
    validate(watch_net(run.net, run.card, torch.device("cpu")), {"tiny": samples})  # type: ignore[arg-type]
    assert len(looks) == len(samples)


def test_a_distance_map_is_no_class_while_training(tmp_path: Path) -> None:
    """The label map is judged, and its loss; the channel beside it is left out."""
    write_cells(tmp_path / "cells", 4)
    cells = {"data": (DataSource("cells"),), "model": "unet", "option": ("width=4",), "rule": "pad", "size": 64}
    run = build(tiny(tmp_path / "run", objects=True, distance=True, **cells), tmp_path, False, silent)
    assert isinstance(run.net, SegmentationNet)
    run.net.eval()
    engine = watch_net(run.net, run.card, torch.device("cpu"))
    (samples,) = run.data.val.values()
    assert engine.run(np.zeros((1, 3, 64, 80), np.float32)).shape == (1, 3, 64, 80)
    assert engine.last[0].shape == (1, 4, 64, 80)
    seen = validate(engine, {"cells": samples})
    assert 0 < seen.score < 1
    assert seen.loss == pytest.approx(seen.loss)  # a number
