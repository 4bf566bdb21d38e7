"""The report of a run: whole HTML, nothing from outside, every text escaped, pictures that open."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_scene
from html_page import Page
from PIL import Image

from imago.core.input_spec import InputSpec
from imago.core.labels import Labels
from imago.core.model_card import ModelCard
from imago.evaluation.evaluate import evaluate
from imago.evaluation.report import Example, ReportData, render, write_report
from imago.evaluation.semantic import SemanticScoring
from imago.evaluation.semantic_report import THUMBNAIL_PX
from imago.evaluation.semantic_results import SEMANTIC_SCORE_NAMES, SemanticEvaluation

LABELS = Labels(("back & ground", "<b>disc</b>", '"box"'))


class Answer:
    def __init__(self, label_map: np.ndarray) -> None:
        self.label_map = label_map
        self.alpha = None


class Shifted:
    """Predicts the truth of the scene, moved a little: right but for its borders."""

    card = ModelCard("shifted", "", {}, "semantic", LABELS, InputSpec())

    def __call__(self, image: np.ndarray) -> Answer:
        return Answer(np.roll((image[:, :, 0] > 170).astype(np.uint8), 2, axis=1))


class Scene:
    def __init__(self, seed: int) -> None:
        self.name = f"scene <{seed}> & co"
        self.pixels, self.truth = draw_scene(seed, (480, 640))

    def image(self) -> np.ndarray:
        return self.pixels

    def label_map(self) -> np.ndarray:
        return self.truth


@pytest.fixture(scope="module")
def evaluation() -> SemanticEvaluation:
    return evaluate(Shifted(), [Scene(seed) for seed in range(4)], scoring=SemanticScoring())


@pytest.fixture(scope="module")
def run(evaluation: SemanticEvaluation) -> ReportData:
    model = Shifted()
    examples = []
    for seed in range(2):
        scene = Scene(seed)
        examples.append(Example(scene.name, scene.pixels, scene.truth, model(scene.pixels).label_map, 0.5 + seed / 4))
    history = [
        {"epoch": epoch, "train_loss": 1 / epoch, "lr": 1e-3 * (9 - epoch), **seen}
        for epoch in range(1, 9)
        for seen in ([{"val_loss": 1.2 / epoch, "score": 1 - 1 / epoch}] if epoch % 2 == 0 else [{}])
    ]
    return ReportData(
        title="run <1>",
        evaluation=evaluation,
        history=history,
        settings={
            "model": "unet",
            "data": [{"path": "a&b", "weight": 1.0}, {"path": "c", "weight": 0.5}],
            "weights": "",
            "augment": {"flip": 0.5},
            "betas": (0.9, 0.99),
        },
        best=examples[::-1],
        worst=examples,
        notes=("trained on <nothing>",),
    )


def test_page_is_whole_and_needs_nothing_else(run: ReportData, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.html"
    write_report(path, run)
    text = path.read_text("utf-8")
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert not {"script", "link", "iframe", "object", "a"} & {tag for tag, _ in page.tags}
    for attributes in page.all("img"):
        assert (attributes["src"] or "").startswith("data:image/jpeg;base64,")
    for address in ("http:", "https:", "url(", "@import", "//"):
        outside = text.replace("http://www.w3.org/2000/svg", "")  # a name, not an address to fetch
        for attributes in page.all("img"):
            outside = outside.replace(attributes["src"] or "", "")
        assert address not in outside
    assert "prefers-color-scheme:dark" in text
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    write_report(path, run)  # a resumed run writes it again


def test_every_text_from_outside_is_escaped(run: ReportData) -> None:
    text = render(run)
    for raw in ("<b>disc", "<1>", "<0>", "back & ground", "a&b", "<nothing>"):
        assert raw not in text
    words = Page(text).words
    for shown in ("<b>disc</b>", '"box"', "back & ground", "run <1>", "a&b", "trained on <nothing>"):
        assert shown in words


def test_sections_and_numbers(run: ReportData, evaluation: SemanticEvaluation) -> None:
    page = Page(render(run))
    for title in (
        "Notes", "Training", "Scores", "Classes", "Confusion matrix", "Worst images", "Best images", "Settings"
    ):  # fmt: skip
        assert title in page.words
    for name, value in evaluation.summary.items():
        assert SEMANTIC_SCORE_NAMES[name] in page.words
        assert f"{value.mean:.4f}" in page.words
    for row in evaluation.classes:
        for number in (row.pixel_accuracy, row.iou.mean, row.dice):
            if math.isfinite(number):
                assert f"{number:.4f}" in page.words
    for name, value in (("data 1.path", "a&b"), ("data 2.weight", "0.5"), ("augment.flip", "0.5"), ("weights", "–")):
        assert page.words[page.words.index(name) + 1] == value
    assert page.words[page.words.index("betas") + 1] == "0.9, 0.99"
    assert len(page.all("svg")) == 3
    assert len(page.all("polyline")) == 4  # loss twice, score, rate: epochs without validation do not break the line


def test_pictures_open_and_are_small(run: ReportData) -> None:
    pictures = Page(render(run)).all("img")
    assert len(pictures) == 2 * 2 * 3
    opened = []
    for attributes in pictures[:3]:
        content = base64.b64decode((attributes["src"] or "").split(",")[1])
        picture = Image.open(io.BytesIO(content))
        assert picture.size == (320, 240)
        assert max(picture.size) == THUMBNAIL_PX
        opened.append(np.asarray(picture).astype(int))
    photo, truth, prediction = opened
    assert np.abs(photo - truth).max() > 40  # the wash
    assert np.abs(truth - prediction).max() > 40  # the shift
    assert len(render(run)) < 500_000


def test_report_of_next_to_nothing(evaluation: SemanticEvaluation) -> None:
    bare = ReportData("bare", evaluation)
    words = Page(render(bare)).words
    assert not {"Notes", "Training", "Worst images", "Settings"} & set(words)
    odd = ReportData("odd", evaluation, history=[{"step": 5, "train_loss": math.nan, "val_loss": ""}])
    assert "nan" not in " ".join(Page(render(odd)).words)


def test_gray_photos_are_shown(evaluation: SemanticEvaluation) -> None:
    black, white = np.zeros((20, 30), np.uint8), np.ones((20, 30), np.uint8)
    gray = Example("to_gray", black, black, white, math.nan)
    pictures = Page(render(ReportData("to_gray", evaluation, worst=[gray]))).all("img")
    assert len(pictures) == 3
