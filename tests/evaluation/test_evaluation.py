"""One model over annotated images: scores against hand-made numbers, order, JSON, table, faults."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from test_report import Page
from tiny_onnx import write_tiny

from imago.cli.main import run
from imago.core.errors import DataError, ImageError, ImagoError
from imago.core.input_spec import InputSpec
from imago.core.labels import Labels, binary_labels
from imago.core.model_card import ModelCard, Task
from imago.evaluation.detection import DetectionScoring
from imago.evaluation.evaluate import Model, evaluate
from imago.evaluation.semantic import SemanticScoring
from imago.evaluation.semantic_results import SEMANTIC_SCORE_NAMES, SemanticEvaluation
from imago.metrics import confusion
from imago.metrics.confusion import ConfusionMatrix


@dataclass
class Answer:
    label_map: np.ndarray | None
    alpha: np.ndarray | None = None


@dataclass
class RedIsSubject:
    """A whole, if simple, binary model: alpha is the red channel."""

    card: ModelCard
    soft: bool = True

    def __call__(self, image: np.ndarray) -> Answer:
        alpha = image[:, :, 0].astype(np.float32) / 255
        return Answer((alpha >= 0.5).astype(np.uint8), alpha if self.soft else None)


@dataclass
class BlueIsClass:
    """A whole, if simple, semantic model: the class is the value of the blue channel."""

    card: ModelCard

    def __call__(self, image: np.ndarray) -> Answer:
        return Answer(np.ascontiguousarray(image[:, :, 2]))


@dataclass
class Sample:
    name: str
    pixels: np.ndarray
    truth: np.ndarray
    reads: list[str] = field(default_factory=list)

    def image(self) -> np.ndarray:
        self.reads.append(self.name)
        return self.pixels

    def label_map(self) -> np.ndarray:
        return self.truth


def card(task: Task, labels: Labels) -> ModelCard:
    return ModelCard("plain", "", {}, task, labels, InputSpec())


BINARY = RedIsSubject(card("binary", binary_labels()))
THREE = Labels(("background", "cat", "dog & co"))
SEMANTIC = BlueIsClass(card("semantic", THREE))


def red(name: str, alpha: list[list[float]], truth: list[list[int]]) -> Sample:
    plane = np.round(np.array(alpha) * 255).astype(np.uint8)
    return Sample(name, np.stack([plane, 0 * plane, 0 * plane], axis=-1), np.array(truth, np.uint8))


def blue(name: str, predicted: list[list[int]], truth: list[list[int]]) -> Sample:
    plane = np.array(predicted, np.uint8)
    return Sample(name, np.stack([0 * plane, 0 * plane, plane], axis=-1), np.array(truth, np.uint8))


RED_SAMPLES = [
    red("half", [[1, 1, 0, 0]], [[1, 0, 0, 255]]),  # IoU 1/2
    red("right", [[1, 1, 1, 0]], [[1, 1, 1, 0]]),  # 1
    red("empty", [[0, 0, 0, 0]], [[0, 0, 0, 0]]),  # no subject, none found: 1
    red("wrong", [[0, 0, 0, 1]], [[1, 1, 0, 0]]),  # 0
    red("unknown", [[0, 0, 0, 1]], [[255, 255, 255, 255]]),  # says nothing
]


def test_binary_by_hand() -> None:
    result = evaluate(BINARY, RED_SAMPLES)
    value = {name: interval.mean for name, interval in result.summary.items()}
    assert value["iou_image_mean"] == pytest.approx((0.5 + 1 + 0) / 3)  # of those that show the subject
    assert value["false_alarm_rate"] == 0
    assert value["iou"] == pytest.approx(4 / 8)
    assert value["dice"] == pytest.approx(8 / 12)
    assert value["precision"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert value["recall"] == pytest.approx((1 + 1 + 0) / 3)
    assert value["max_f"] == pytest.approx((1.3 / (1.3 + 1) + 1 + 0) / 3)
    assert value["mae"] == pytest.approx((1 / 3 + 0 + 0 + 3 / 4) / 4)
    assert value["pixel_accuracy"] == pytest.approx(11 / 15)
    assert result.score == value["iou_image_mean"]
    assert [image.name for image in result.images] == ["wrong", "half", "right", "empty", "unknown"]
    assert [image.name for image in result.worst(2)] == ["wrong", "half"]
    assert [image.name for image in result.best(2)] == ["right", "half"]  # an empty photo is no achievement
    assert math.isnan({image.name: image.scores["boundary_f"] for image in result.images}["empty"])
    assert list(result.summary) == [name for name in SEMANTIC_SCORE_NAMES if name in result.summary]
    assert set(result.summary) == set(SEMANTIC_SCORE_NAMES)


def test_empty_photos_cannot_hide_what_is_missed() -> None:
    """Most photos are empty, and a model that finds nothing anywhere is right on all of them: it is worth nothing."""
    empty = [red(f"empty{index}", [[0, 0, 0, 0]], [[0, 0, 0, 0]]) for index in range(8)]
    blind = evaluate(BINARY, [*empty, red("missed", [[0, 0, 0, 0]], [[1, 1, 0, 0]])])
    assert blind.score == 0
    assert blind.summary["false_alarm_rate"].mean == 0
    wild = evaluate(BINARY, [*empty[:3], red("cried", [[0, 0, 0, 1]], [[0, 0, 0, 0]]), red("half", [[1, 0]], [[1, 1]])])
    assert wild.score == 0.5
    assert wild.summary["false_alarm_rate"].mean == 0.25
    assert wild.worst(1)[0].name == "cried"  # a page shows it first
    assert wild.difference(evaluate(BINARY, [*empty[:3], wild_truth("cried"), wild_truth("half")])).mean == -0.5
    assert math.isnan(evaluate(BINARY, empty).score)  # nothing can be said of it
    assert "false_alarm_rate" not in evaluate(BINARY, RED_SAMPLES[:2]).summary


def wild_truth(name: str) -> Sample:
    truth = {"cried": [[0, 0, 0, 0]], "half": [[1, 1]]}[name]
    return red(name, [[float(value) for value in row] for row in truth], truth)


def test_max_f_is_the_maximum_of_the_mean_curve() -> None:
    # The first image is best above 0.6, the second below 0.4: no threshold suits both.
    samples = [red("a", [[0.9, 0.6]], [[1, 0]]), red("b", [[0.4, 0.0]], [[1, 0]])]
    result = evaluate(BINARY, samples)
    loose = 1.3 / (1.3 + 1)  # one hit, one false
    assert result.summary["max_f"].mean == pytest.approx((loose + 1) / 2)
    assert [image.scores["max_f"] for image in result.images if image.name == "a"] == [1]
    assert isinstance(result, SemanticEvaluation)
    assert result.curve is not None
    assert max(result.curve["f_beta"]) == pytest.approx((loose + 1) / 2, abs=1e-5)
    assert len(result.curve["threshold"]) == len(result.curve["precision"]) == 255


def test_a_model_without_alpha_is_scored_by_its_label_map() -> None:
    hard = evaluate(RedIsSubject(BINARY.card, soft=False), RED_SAMPLES)
    assert hard.summary["mae"].mean == evaluate(BINARY, RED_SAMPLES).summary["mae"].mean
    assert hard.summary["iou_image_mean"] == evaluate(BINARY, RED_SAMPLES).summary["iou_image_mean"]


def test_semantic_by_hand() -> None:
    samples = [
        blue("a", [[0, 0, 1, 1]], [[0, 0, 1, 255]]),
        blue("b", [[0, 0, 1, 1]], [[0, 1, 1, 0]]),
    ]
    result = evaluate(SEMANTIC, samples)
    assert result.matrix.tolist() == [[3, 1, 0], [1, 2, 0], [0, 0, 0]]
    value = {name: interval.mean for name, interval in result.summary.items()}
    assert value["mean_iou"] == pytest.approx((3 / 5 + 2 / 4) / 2)
    assert value["pixel_accuracy"] == pytest.approx(5 / 7)
    assert value["mean_pixel_accuracy"] == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert "iou_image_mean" not in value
    assert isinstance(result, SemanticEvaluation)
    assert result.curve is None
    rows = {row.name: row for row in result.classes}
    assert rows["cat"].iou.mean == pytest.approx(2 / 4)
    assert rows["cat"].share == pytest.approx(3 / 7)
    assert math.isnan(rows["dog & co"].iou.mean)
    assert math.isnan(rows["dog & co"].boundary_f)
    assert [(image.name, image.score) for image in result.images] == [
        ("b", pytest.approx(1 / 3)),
        ("a", pytest.approx(1)),
    ]


def many(count: int) -> list[Sample]:
    random = np.random.default_rng(0)
    samples = []
    for index in range(count):
        truth = random.integers(0, 3, (20, 30))
        predicted = np.where(random.random(truth.shape) < 0.3 + 0.6 * random.random(), truth, 0)
        samples.append(blue(f"{index:03}", predicted.tolist(), truth.tolist()))
    return samples


def test_intervals_hold_their_mean_and_do_not_depend_on_order() -> None:
    samples = many(40)
    result = evaluate(SEMANTIC, samples)
    for value in result.summary.values():
        assert value.low < value.mean < value.high
    for row in result.classes:
        assert row.iou.low < row.iou.mean < row.iou.high
    other = evaluate(SEMANTIC, samples[::-1])
    assert other.scores == pytest.approx(result.scores)
    pooled = ConfusionMatrix(3)
    for sample in samples:
        pooled.update(sample.pixels[:, :, 2], sample.truth)
    assert result.score == pytest.approx(pooled.mean_iou())
    per_class = np.array([row.iou.mean for row in result.classes])
    assert per_class == pytest.approx(confusion.iou(pooled.counts()))


def test_boundary_can_be_left_out() -> None:
    result = evaluate(SEMANTIC, many(3), scoring=SemanticScoring(boundary=False))
    assert "boundary_f" not in result.summary
    assert math.isnan(result.classes[0].boundary_f)
    json.dumps(result.to_json(), allow_nan=False)


def test_what_is_left_out_changes_nothing_else() -> None:
    """Each flag takes away what it names; what stays is equal to the last digit."""
    for model, samples in ((BINARY, RED_SAMPLES), (SEMANTIC, many(4))):
        whole = evaluate(model, samples, scoring=SemanticScoring())
        for scoring, gone in (
            (SemanticScoring(boundary=False), {"boundary_f"}),
            (SemanticScoring(alpha=False), {"max_f", "mae"}),
            (SemanticScoring(resamples=0), set()),
        ):
            part = evaluate(model, samples, scoring=scoring)
            assert list(part.summary) == [name for name in whole.summary if name not in gone]
            assert all(part.summary[name].mean == whole.summary[name].mean for name in part.summary)
            assert [image.name for image in part.images] == [image.name for image in whole.images]
            json.dumps(part.to_json(), allow_nan=False)
            assert "nan" not in part.table()
        assert all(math.isnan(value.low) for value in part.summary.values())  # the last: no intervals


def test_classes_are_brought_together_by_name() -> None:
    samples = many(4)
    whole = evaluate(SEMANTIC, samples)
    turned = BlueIsClass(card("semantic", Labels(("cat", "dog & co", "background"))))
    order = np.array([1, 2, 0])  # its value 0 is a cat, 1 a dog, 2 the background
    for sample in samples:
        plane = np.argsort(order)[sample.pixels[:, :, 2]].astype(np.uint8)
        sample.pixels = np.stack([0 * plane, 0 * plane, plane], axis=-1)
    answer = evaluate(turned, samples, labels=THREE)
    assert answer.labels.names == THREE.names
    assert answer.to_json()["summary"] == whole.to_json()["summary"]


def test_a_binary_model_whose_subject_comes_first() -> None:
    whole = evaluate(BINARY, RED_SAMPLES)
    turned = RedIsSubject(card("binary", Labels(("subject", "background"))))
    negative = [Sample(sample.name, 255 - sample.pixels, sample.truth) for sample in RED_SAMPLES]
    answer = evaluate(turned, negative, labels=binary_labels())
    for name in ("iou", "mae", "max_f", "pixel_accuracy"):
        assert answer.summary[name].mean == pytest.approx(whole.summary[name].mean), name


def test_a_model_that_knows_more_than_the_data() -> None:
    """What the data do not mark is background to them."""
    sample = blue("a", [[0, 1, 2, 2]], [[0, 0, 1, 0]])
    answer = evaluate(SEMANTIC, [sample], labels=Labels(("background", "dog & co")))
    assert answer.matrix.tolist() == [[2, 1], [0, 1]]


def test_a_data_set_brings_its_classes_and_splits() -> None:
    @dataclass
    class Split:
        labels: Labels

        def split(self, name: str) -> tuple[Sample, ...]:
            return {"val": (many(2)[0],), "all": tuple(many(2))}[name]

    assert len(evaluate(SEMANTIC, Split(THREE)).images) == 1
    assert len(evaluate(SEMANTIC, Split(THREE), split="all").images) == 2
    with pytest.raises(DataError, match="the data has 4 classes"):
        evaluate(SEMANTIC, Split(Labels(("background", "cat", "dog & co", "cow"))))


def test_a_model_of_another_task_is_refused() -> None:
    with pytest.raises(ImagoError, match="model 'plain' finds no single objects"):
        evaluate(SEMANTIC, many(1), scoring=DetectionScoring())
    boxes = BlueIsClass(card("boxes", THREE))
    with pytest.raises(ImagoError, match=r"model 'plain' finds objects .* cannot be scored by pixels"):
        evaluate(boxes, many(1), scoring=SemanticScoring())


def test_images_are_read_once_each_not_all_at_first_and_progress_is_told() -> None:
    reads: list[str] = []
    ahead: list[int] = []
    samples = many(20)
    for sample in samples:
        sample.reads = reads
    done: list[int] = []

    def progress(count: int) -> None:
        done.append(count)
        ahead.append(len(reads) - count)

    evaluate(SEMANTIC, iter(samples), scoring=SemanticScoring(boundary=False), progress=progress)
    assert reads == [sample.name for sample in samples]
    assert done == list(range(1, 21))
    assert max(ahead) <= 3


def strict(text: str) -> dict:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(("model", "samples"), [(BINARY, RED_SAMPLES), (SEMANTIC, many(1))])
def test_json_and_table(model: Model, samples: list[Sample]) -> None:
    result = evaluate(model, samples)
    values = strict(json.dumps(result.to_json()))
    assert values["images_count"] == len(result.images) == len(values["images"])
    assert values["summary"]["mean_iou"]["mean"] == pytest.approx(result.scores["mean_iou"])
    assert np.array(values["confusion_matrix"]).sum() == result.matrix.sum()
    table = result.table()
    lines = table.splitlines()
    assert lines[0].startswith(f"plain: {len(result.images)} image")
    for name in result.summary:
        assert SEMANTIC_SCORE_NAMES[name] in table
    for name in result.labels.names:
        assert name in table
    assert "nan" not in table
    assert max(map(len, lines)) <= 100
    summary = [line for line in lines if line.startswith(tuple(SEMANTIC_SCORE_NAMES.values()))]
    summary = [line for line in summary if "without foreground" not in line]  # of one image: no interval
    assert len({line.rindex(".") for line in summary}) == 1  # the points stand below each other


class Broken(Sample):
    def image(self) -> np.ndarray:
        raise ImageError(f"{self.name}.jpg: the file is cut off")


def test_faults_name_the_image() -> None:
    with pytest.raises(DataError, match="nothing to evaluate"):
        evaluate(BINARY, [])
    with pytest.raises(DataError, match=r"^b: the truth holds the value 7, but there are 2 classes"):
        evaluate(BINARY, [RED_SAMPLES[0], red("b", [[1, 1]], [[1, 7]])])
    with pytest.raises(DataError, match=r"^b: the prediction must be a label map of the mask's size \(1, 3\)"):
        evaluate(BINARY, [red("b", [[1, 1]], [[1, 0, 0]])])
    with pytest.raises(ImageError, match=r"bad\.jpg: the file is cut off"):
        evaluate(BINARY, [RED_SAMPLES[0], Broken("bad", RED_SAMPLES[0].pixels, RED_SAMPLES[0].truth)])


# -- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def red_model(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "model" / "red.onnx", name="red")


GROUP = "background=background,box; disc=disc"  # the disc of the made-up scenes is red, the box blue


def test_command_prints_a_table_and_writes_json(
    red_model: Path, tiny_dataset: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.json"
    arguments = ["evaluate", str(red_model), str(tiny_dataset), "--group", GROUP]
    assert run([*arguments, "--json", str(out)]) == 0
    printed = capfd.readouterr()
    assert printed.out.startswith("red: 3 images, 2 classes")
    assert "matched by their order: background, disc in the data, background, subject in the model" in printed.err
    values = strict(out.read_text("utf-8"))
    assert [image["name"] for image in values["images"]] != []
    assert values["split"] == "val"
    assert 0 < values["summary"]["iou_image_mean"]["mean"] < 1
    assert run([*arguments, "--json", str(out)]) == 1  # not over a file that is there
    refused = capfd.readouterr()
    assert "is there already" in refused.err
    assert refused.out == ""  # said before the work, not after it
    assert run([*arguments, "--json", str(out), "--overwrite", "--split", "all", "--limit", "4"]) == 0
    assert strict(out.read_text("utf-8"))["images_count"] == 4


def test_command_on_standard_output_prints_only_json(
    red_model: Path, tiny_dataset: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", str(red_model), str(tiny_dataset), "--group", GROUP, "--json", "-", "--no-boundary"]) == 0
    values = strict(capfd.readouterr().out)
    assert values["images_count"] == 3
    assert "boundary_f" not in values["summary"]


def test_command_writes_a_report(
    red_model: Path, tiny_dataset: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "deep" / "<report>.html"
    arguments = ["evaluate", str(red_model), str(tiny_dataset), "--group", GROUP, "--json", "-", "--report", str(page)]
    assert run(arguments) == 0
    printed = capfd.readouterr()
    values = strict(printed.out)  # nothing but the scores
    assert f"{page}: scores, best and worst photos" in printed.err
    read = Page(page.read_text("utf-8"))
    assert len(read.all("img")) == 3 * 3  # the photo, the truth, the prediction; no photo is worst and best
    assert "overwrite" not in read.words
    assert any("matched by their order" in word for word in read.words)
    assert read.all("img")[0]["alt"] == f"photo of {values['images'][0]['name']}"
    assert f"{values['summary']['iou_image_mean']['mean']:.4f}" in read.words
    for words in ("Scores", "Classes", "Confusion matrix", "Worst images", "Best images", GROUP):
        assert words in read.words
    assert run(arguments) == 1
    refused = capfd.readouterr()
    assert "<report>.html" in refused.err
    assert "is there already" in refused.err
    assert refused.out == ""
    assert run([*arguments, "--overwrite", "--limit", "1"]) == 0
    assert len(Page(page.read_text("utf-8")).all("img")) == 3


def cut_off(data: Path) -> None:
    photo = data / "images" / "scene10.jpg"
    photo.write_bytes(photo.read_bytes()[:400])


@pytest.mark.parametrize(
    ("arguments", "damage", "words"),
    [
        ([], None, "has 3 classes (background, disc, box), but the model 'red' has 2 (background, subject)"),
        (["--group", GROUP, "--split", "test"], None, "there is no split 'test'"),
        (["--group", GROUP], cut_off, "scene10.jpg"),
    ],
)
def test_command_says_in_one_line_what_is_wrong(
    red_model: Path,
    tiny_dataset: Path,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    damage: Callable[[Path], None] | None,
    words: str,
) -> None:
    if damage is not None:
        damage(tiny_dataset)
    assert run(["evaluate", str(red_model), str(tiny_dataset), *arguments]) == 1
    printed = capfd.readouterr()
    faults = [line for line in printed.err.splitlines() if not line.startswith("note:")]
    faults = [" ".join(faults)] if damage is not None else faults  # how many, and a line each
    assert len(faults) == 1
    assert words in faults[0]
    assert printed.out == ""
