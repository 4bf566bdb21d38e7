"""A model of objects evaluated on made-up images: what comes out, its table, its JSON, its page."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from detection_scenes import draw_instances, guess
from html_page import Page

from imago.core.errors import DataError
from imago.core.input_spec import InputSpec
from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.core.model_card import ModelCard
from imago.evaluation.detection import DetectionScoring
from imago.evaluation.detection_results import DETECTION_SCORE_NAMES, DetectionEvaluation
from imago.evaluation.evaluate import evaluate
from imago.evaluation.report import Example, ReportData, pick_examples, render
from imago.metrics.tide import ERROR_TYPES

LABELS = Labels(("background", "<b>disc</b>", "box & co", "ring"))


@dataclass(frozen=True)
class Drawn:
    """An image whose first pixel says which one it is."""

    number: int
    unannotated: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return f"photo <{self.number}>"

    def image(self) -> np.ndarray:
        return np.full((240, 320, 3), self.number, np.uint8)

    def instances(self) -> Instances:
        return draw_instances(self.number)


SAMPLES = [Drawn(number) for number in range(6)]


def perfect(image: np.ndarray) -> Instances:
    return draw_instances(int(image[0, 0, 0]))


def middling(image: np.ndarray) -> Instances:
    number = int(image[0, 0, 0])
    return guess(draw_instances(number), number)


def blind(image: np.ndarray) -> Instances:
    return Instances.make((240, 320))


@dataclass(frozen=True)
class Finder:
    """A whole, if simple, model that finds objects."""

    predict: Callable[[np.ndarray], Instances]
    card: ModelCard
    show_bands: tuple[int, ...] = ()

    def objects(self, image: np.ndarray) -> Instances:
        return self.predict(image)


def finder(predict: Callable[[np.ndarray], Instances], labels: Labels = LABELS, name: str = "model") -> Finder:
    return Finder(predict, ModelCard(name, "", {}, "instances", labels, InputSpec()))


def measure(
    predict: Callable[[np.ndarray], Instances], samples: Sequence[Any] = SAMPLES, **scoring: Any
) -> DetectionEvaluation:
    return evaluate(finder(predict), samples, scoring=DetectionScoring(**scoring))


def bare(instances: Instances) -> Instances:
    return Instances.make(instances.size_hw, instances.boxes, instances.classes, instances.scores)


@pytest.fixture(scope="module")
def middle() -> DetectionEvaluation:
    return evaluate(finder(middling, name="<middling>"), SAMPLES, scoring=DetectionScoring(resamples=20))


def test_the_truth_found_has_full_marks() -> None:
    told: list[int] = []
    answer = evaluate(finder(perfect), SAMPLES, scoring=DetectionScoring(resamples=10), progress=told.append)
    assert answer.iou_type == "mask"
    assert answer.score == pytest.approx(1.0)
    assert set(answer.summary) == set(DETECTION_SCORE_NAMES)
    full = [name for name in answer.summary if "ar1" not in name]  # AR1: one find an image
    assert [answer.summary[name].mean for name in full] == pytest.approx([1.0] * len(full), nan_ok=True)
    assert [row.best_f for row in answer.classes] == pytest.approx([1.0] * 3)
    assert not any(answer.error_counts.values())
    assert told == [1, 2, 3, 4, 5, 6]
    off = answer.matrix.copy()
    np.fill_diagonal(off, 0)
    assert off.sum() == 0
    assert answer.matrix.sum() == sum(row.objects for row in answer.classes)


def test_a_blind_model_has_none() -> None:
    answer = measure(blind, resamples=10)
    assert answer.score == 0
    asked = sum(row.objects for row in answer.classes)
    assert answer.error_counts == {**dict.fromkeys(ERROR_TYPES, 0), "missed": asked}
    assert answer.tide_errors.by_type["missed"] == pytest.approx(1.0)
    empty = [sample.name for sample in SAMPLES if not len(sample.instances())]
    assert [image.name for image in answer.best(len(empty)) if image.score == 1] == empty[::-1]


def test_a_middling_model(middle: DetectionEvaluation) -> None:
    assert 0.1 < middle.score < 0.9
    assert middle.score == middle.summary["mask_ap"].mean == pytest.approx(middle.scores["mask_ap"])
    for name, value in middle.summary.items():
        assert value.low <= value.mean + 1e-9, name
        assert value.high >= value.mean - 1e-9, name
    assert middle.score == pytest.approx(np.mean([row.ap.mean for row in middle.classes]))
    scores = [image.score for image in middle.images]
    assert scores == sorted(scores)
    assert np.mean(scores) == pytest.approx(middle.summary["mean_precision"].mean)
    assert middle.worst(2) == middle.images[:2]
    assert middle.best(1) == middle.images[-1:]
    # The curves are those that AP is the mean of.
    assert np.nanmean(middle.curves[0]) == pytest.approx(middle.summary["mask_ap50"].mean)
    assert np.nanmean(middle.curves[1]) == pytest.approx(middle.summary["mask_ap75"].mean)
    assert middle.tide_errors.ap50 == pytest.approx(middle.summary["mask_ap50"].mean)


def test_json_and_table(middle: DetectionEvaluation) -> None:
    said = json.loads(json.dumps(middle.to_json(), allow_nan=False))
    assert said["summary"]["mask_ap"]["mean"] == middle.score
    assert said["errors"]["missed"]["count"] == middle.error_counts["missed"]
    assert len(said["images"]) == 6
    table = middle.table()
    for words in ("<middling>: 6 images", "masks: AP at IoU 0.75", "VOC mAP, 11 points", "duplicate", "box & co"):
        assert words in table


def test_boxes_alone() -> None:
    answer = measure(lambda image: bare(perfect(image)), resamples=5)
    assert answer.iou_type == "box"
    assert not any(name.startswith("mask") for name in answer.summary)
    assert answer.score == answer.summary["box_ap"].mean == pytest.approx(1.0)


def test_judged_by_boxes_though_there_are_masks(middle: DetectionEvaluation) -> None:
    """As a model of the same boxes alone is judged, so that the two can be compared; the masks' scores stay."""
    answer = measure(middling, by_boxes=True, resamples=5)
    alone = measure(lambda image: bare(middling(image)), resamples=5)
    assert (answer.iou_type, answer.main) == ("box", "box_ap")
    assert answer.summary["mask_ap"].mean == middle.summary["mask_ap"].mean
    assert answer.images == alone.images
    assert answer.error_counts == alone.error_counts
    assert [value.mean for value in answer.by_class()] == [value.mean for value in alone.by_class()]
    assert answer.difference(alone, resamples=5).mean == 0


def test_one_image_has_no_interval() -> None:
    answer = measure(middling, SAMPLES[1:2])
    assert math.isnan(answer.summary["mask_ap"].low)
    assert math.isfinite(answer.summary["mask_ap"].mean)
    json.dumps(answer.to_json(), allow_nan=False)


def test_least_score_asks_for_less() -> None:
    """Found is what has at least this score; AP does not care."""
    low, high = (measure(middling, score_threshold=s, resamples=5) for s in (0.0, 0.95))
    assert low.score == high.score
    assert low.error_counts["missed"] < high.error_counts["missed"]
    assert sum(row.found for row in low.classes) > sum(row.found for row in high.classes)


def test_paired_difference(middle: DetectionEvaluation) -> None:
    full = measure(perfect, resamples=5)
    better = full.difference(middle, resamples=50)
    assert better.mean == pytest.approx(1 - middle.score)
    assert better.real
    assert better.low <= better.mean <= better.high
    alike = middle.difference(middle, resamples=50)
    assert (alike.mean, alike.real, alike.p) == (0, False, 1)


def test_difference_of_other_images(middle: DetectionEvaluation) -> None:
    other = measure(middling, SAMPLES[:3], resamples=5)
    with pytest.raises(ValueError, match="needs the same images for both"):
        middle.difference(other)
    boxes = measure(lambda image: bare(middling(image)), resamples=5)
    with pytest.raises(ValueError, match="needs the same kind of score"):
        middle.difference(boxes)


def half_bare(image: np.ndarray) -> Instances:
    return bare(perfect(image)) if image[0, 0, 0] == 4 else perfect(image)


def other_class(image: np.ndarray) -> Instances:
    instances = perfect(image)
    return replace(instances, classes=instances.classes + 3)


def not_a_number(image: np.ndarray) -> Instances:
    instances = perfect(image)
    return replace(instances, scores=instances.scores * np.float32(math.nan))


@pytest.mark.parametrize(
    ("predict", "words"),
    [
        (lambda image: Instances.make((10, 10)), r"photo <0>: .* must be those of \(240, 320\) pixels; got \(10, 10\)"),
        (half_bare, "the model has masks in photo <0> and boxes alone in photo <4>; give masks to all or to none"),
        (other_class, r"the model has an object of class \d, but objects are 1 to 3"),
        (not_a_number, r"scores must be numbers; \d+ are not"),
    ],
)
def test_what_cannot_be_scored(predict, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=words):
        measure(predict)


def test_nothing_to_evaluate() -> None:
    with pytest.raises(DataError, match="the list of images is empty"):
        measure(perfect, [])
    with pytest.raises(ValueError, match="score_threshold must lie between 0 and 1; got 50"):
        measure(perfect, score_threshold=50)


def test_the_page(middle: DetectionEvaluation) -> None:
    best, worst = pick_examples(finder(middling), SAMPLES, middle, most=2)
    assert [example.name for example in best] == [i.name for i in middle.best(2)]
    assert [(example.name, example.score) for example in worst] == [(i.name, i.score) for i in middle.worst(2)]
    assert all((example.found.scores >= 0.5).all() for example in worst)
    gray = Example("to_gray", np.zeros((240, 320), np.uint8), SAMPLES[0].instances(), SAMPLES[0].instances(), 1.0)
    text = render(ReportData("a <title>", middle, best=[gray], worst=worst))
    read = Page(text)
    assert len(read.all("img")) == 3 * 3
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in read.all("img"))
    assert len(read.all("svg")) == 4
    for words in ("Mistakes", "<b>disc</b>", "photo <", "Worst images", "Best images", "location"):
        assert any(words in word for word in read.words), words
    assert "nan" not in text
    assert "<b>disc" not in text


def test_finds_of_classes_that_nobody_marked_count_nowhere() -> None:
    """As if the model had not found them: neither right nor wrong."""
    partly = [Drawn(number, unannotated=(2,)) for number in range(3)]
    answer = measure(middling, partly, resamples=5)

    def first_alone(image: np.ndarray) -> Instances:
        found = middling(image)
        return found[found.classes != 2]

    expected = measure(first_alone, SAMPLES[:3], resamples=5)
    assert answer.summary["mask_ap"].mean == expected.summary["mask_ap"].mean
    assert np.array_equal(answer.matrix, expected.matrix)
    assert answer.error_counts == expected.error_counts
    assert not np.array_equal(answer.matrix, measure(middling, SAMPLES[:3], resamples=5).matrix)


def test_the_page_of_a_blind_model_and_one_class() -> None:
    one = Labels(("background", "cell"))

    @dataclass(frozen=True)
    class Cells(Drawn):
        def instances(self) -> Instances:
            return draw_instances(self.number, classes=2)

    answer = evaluate(finder(blind, one), [Cells(0), Cells(1)], scoring=DetectionScoring(resamples=5))
    read = Page(render(ReportData("cells", answer)))
    assert len(read.all("svg")) == 3  # no chart of single classes
    assert "Worst images" not in read.words


def test_a_net_of_boxes_is_scored_by_boxes_also_when_it_finds_nothing() -> None:
    """An image without finds does not say whether they would have had masks; the model's card does."""
    card = ModelCard("model", "", {}, "boxes", LABELS, InputSpec())
    late = Finder(lambda image: bare(perfect(image)) if image[0, 0, 0] > 3 else blind(image), card)
    assert evaluate(finder(blind), SAMPLES, scoring=DetectionScoring(resamples=0)).iou_type == "mask"
    for model in (Finder(blind, card), late):
        answer = evaluate(model, SAMPLES, scoring=DetectionScoring(resamples=0))
        assert answer.iou_type == "box"
        assert "mask_ap" not in answer.summary
