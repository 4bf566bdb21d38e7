"""One model that finds objects over one set of annotated images, at the images' full resolution.

Of each image only the outcome of its comparison is kept (a few hundred bytes an object), so the memory does not grow
with the images' sizes. Masks are scored beside boxes where truth and model both have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, Protocol

import numpy as np

from imago.core.errors import DataError
from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.evaluation.detection_results import DetectionClassScores, DetectionEvaluation
from imago.evaluation.reading import read_ahead
from imago.evaluation.results import ImageScores
from imago.metrics import coco, voc
from imago.metrics.bootstrap import (
    Difference,
    Interval,
    difference_of_draws,
    draw_weights,
    interval,
    interval_of_draws,
)
from imago.metrics.detection_confusion import confusion
from imago.metrics.detection_matching import MOST, Matches, Ranked, rank_matches
from imago.metrics.detection_overlap import Compared, compare_boxes, compare_masks
from imago.metrics.nuclei import mean_precision
from imago.metrics.tide import ERROR_TYPES, ErrorCounts, count_errors, measure_tide_errors

RESAMPLES = 200  # of the bootstrap: AP is worked out anew for each draw


class Sample(Protocol):
    """One annotated image; ``imago.data.dataset.Sample`` is one."""

    @property
    def name(self) -> str: ...

    def image(self) -> np.ndarray: ...  # uint8 (H, W, C)

    def instances(self) -> Instances: ...  # in pixels of the image

    @property
    def unannotated(self) -> tuple[int, ...]: ...  # classes that nobody marked: what is found of them counts nowhere


def evaluate_detection(
    predict: Callable[[np.ndarray], Instances],
    samples: Iterable[Sample],
    labels: Labels,
    *,
    model: str = "model",
    score_threshold: float = 0.5,
    by_boxes: bool = False,
    most: int = MOST,
    resamples: int = RESAMPLES,
    progress: Callable[[int], None] | None = None,
) -> DetectionEvaluation:
    """Runs ``predict`` over ``samples`` and scores it; ``labels`` are those of both, 0 the background.

    AP wants everything that the model finds, down to low scores. What speaks of single objects (mean precision,
    confusion, counts of mistakes) takes those of ``score_threshold`` and more. ``by_boxes``: images, classes and
    mistakes are judged by boxes though there are masks, to be held against a model that has none; the masks' scores
    stay in the summary. ``most``: objects of a class and image that AP looks at, the best scores; COCO's 100 cut off
    what more crowded images hold. ``model`` is the name in the tables; ``progress`` is told the count of images done.
    Raises DataError (or what the sample raises) for the first image that cannot be scored: a mean over the rest would
    be another score.
    """
    if not 0 <= score_threshold <= 1:
        raise ValueError(f"score_threshold must lie between 0 and 1; got {score_threshold}")

    def read(sample: Sample) -> tuple[str, np.ndarray, Instances, tuple[int, ...]]:
        return sample.name, sample.image(), sample.instances(), sample.unannotated

    tally = _Tally(labels, score_threshold, most)
    for done, (name, image, truth, unannotated) in enumerate(read_ahead(samples, read), 1):
        found = predict(image)
        tally.add(name, found[~np.isin(found.classes, unannotated)] if unannotated else found, truth)
        if progress is not None:
            progress(done)
    if not tally.names:
        raise DataError("there is nothing to evaluate: the list of images is empty; choose another split or folder")
    return tally.evaluation(model, resamples, by_boxes)


def ap_difference(first: DetectionEvaluation, second: DetectionEvaluation, resamples: int = RESAMPLES) -> Difference:
    """How much better the AP of ``first`` is, over the same draws of the same images for both (paired bootstrap).

    Raises ValueError where they are not of the same images, classes and kind (masks or boxes).
    """
    for name, one, other in (
        ("images", first.names, second.names),
        ("classes", first.labels.names, second.labels.names),
        ("kind of score", first.iou_type, second.iou_type),
    ):
        if one != other:
            raise ValueError(f"a paired test needs the same {name} for both; {first.model} and {second.model} differ")
    count = len(first.names)
    weights = np.concatenate([np.ones((1, count)), draw_weights(count, resamples)])
    values = coco.scores(first.ranked, weights).summary["ap"] - coco.scores(second.ranked, weights).summary["ap"]
    return difference_of_draws(float(values[0]), _center(values))


class _Side:
    """What is kept of the boxes, or of the masks, of the images seen so far."""

    def __init__(self, classes: int, score_threshold: float, most: int) -> None:
        self.classes, self.score_threshold, self.most = classes, score_threshold, most
        self.matches: list[Matches] = []
        self.mistakes: list[ErrorCounts] = []  # of all that was found
        self.counts = np.zeros(len(ERROR_TYPES), np.int64)  # of what has at least the least score
        self.matrix = np.zeros((classes, classes), np.int64)
        self.precisions: list[float] = []

    def add(self, compared: Compared) -> None:
        clear = compared.above(self.score_threshold)
        self.matches.append(coco.match(compared, self.classes, self.most))
        self.mistakes.append(count_errors(compared, self.classes))
        self.counts += count_errors(clear, self.classes).counts()
        self.matrix += confusion(clear, self.classes)
        self.precisions.append(mean_precision(clear))


class _Tally:
    """What is kept of the images seen so far."""

    def __init__(self, labels: Labels, score_threshold: float, most: int) -> None:
        self.labels, self.score_threshold = labels, score_threshold
        self.names: list[str] = []
        self.counts: list[tuple[int, int]] = []  # objects in the truth, and found
        self.sides = {kind: _Side(len(labels), score_threshold, most) for kind in ("mask", "box")}
        self.voc: list[Matches] = []
        self.masked: dict[str, dict[bool, str]] = {"the truth": {}, "the model": {}}  # with masks or not: first image

    def add(self, name: str, found: Instances, truth: Instances) -> None:
        self._check(name, found, truth)
        boxes = compare_boxes(found, truth)
        self.sides["box"].add(boxes)
        self.voc.append(voc.match(boxes, len(self.labels)))
        if self._masks_in_both():
            self.sides["mask"].add(compare_masks(found, truth))
        self.names.append(name)
        asked = int((~boxes.ignored).sum())
        self.counts.append((asked, int((found.scores >= self.score_threshold).sum())))

    def _masks_in_both(self) -> bool:
        return not any(False in seen for seen in self.masked.values())

    def _check(self, name: str, found: Instances, truth: Instances) -> None:
        if found.size_hw != truth.size_hw:
            raise DataError(f"{name}: the objects found must be those of {truth.size_hw} pixels; got {found.size_hw}")
        if not np.isfinite(found.scores).all():
            raise DataError(f"{name}: scores must be numbers; {int((~np.isfinite(found.scores)).sum())} are not")
        for who, instances in (("the truth", truth), ("the model", found)):
            if not len(instances):
                continue
            wrong = instances.classes[(instances.classes < 1) | (instances.classes >= len(self.labels))]
            if wrong.size:
                raise DataError(
                    f"{name}: {who} has an object of class {wrong[0]}, but objects are 1 to {len(self.labels) - 1}; "
                    "group or remap the classes first"
                )
            seen = self.masked[who]
            seen.setdefault(instances.cropped is not None, name)
            if len(seen) == 2:
                raise DataError(
                    f"{who} has masks in {seen[True]} and boxes alone in {seen[False]}; give masks to all or to none"
                )

    def evaluation(self, model: str, resamples: int, by_boxes: bool) -> DetectionEvaluation:
        has_masks = self._masks_in_both() and any(True in seen for seen in self.masked.values())
        kind: Literal["mask", "box"] = "mask" if has_masks and not by_boxes else "box"
        side = self.sides[kind]
        count = len(self.names)
        # The first row is the score itself, the others are the draws.
        weights = np.concatenate([np.ones((1, count)), draw_weights(count, resamples)])
        summary = {"mean_precision": interval(np.array(side.precisions))}
        tables, scores = {}, {}
        for name in ("mask", "box") if has_masks else ("box",):
            tables[name] = rank_matches(self.sides[name].matches, len(self.labels))
            scores[name] = coco.scores(tables[name], weights)
            summary |= {f"{name}_{score}": _interval(values) for score, values in scores[name].summary.items()}
        by_voc = rank_matches(self.voc, len(self.labels))
        summary["voc_ap"] = _interval(voc.mean_average_precision(by_voc, weights))
        summary["voc_ap11"] = _interval(voc.mean_average_precision(by_voc, weights, 11))
        return DetectionEvaluation(
            model=model,
            labels=self.labels,
            iou_type=kind,
            score_threshold=self.score_threshold,
            summary=summary,
            classes=self._classes(tables[kind], scores[kind], scores["box"]),
            images=self._rows(side),
            matrix=side.matrix,
            error_counts=dict(zip(ERROR_TYPES, side.counts.tolist(), strict=True)),
            tide_errors=measure_tide_errors(side.mistakes),
            curves=np.stack(
                [[coco.precision_curve(one, t) for one in tables[kind]] for t in (coco.AT_50, coco.AT_75)],
            ),
            names=tuple(self.names),
            ranked=tables[kind],
        )

    def _classes(
        self, table: Sequence[Ranked], scores: coco.DetectionScores, box_scores: coco.DetectionScores
    ) -> tuple[DetectionClassScores, ...]:
        rows = []
        for k, (name, one) in enumerate(zip(self.labels.names[1:], table, strict=True)):
            best_f, best_score = coco.best_f(one)
            rows.append(
                DetectionClassScores(
                    name=name,
                    objects=int(one.wanted[0].sum()),
                    found=int((one.scores >= self.score_threshold).sum()),
                    ap=_interval(scores.ap[:, k]),
                    ap50=_interval(scores.ap50[:, k]),
                    box_ap=float(box_scores.ap[0, k]),
                    best_f=best_f,
                    best_score=best_score,
                )
            )
        return tuple(rows)

    def _rows(self, side: _Side) -> tuple[ImageScores, ...]:
        rows = []
        for index in np.argsort(side.precisions, kind="stable"):
            precision, (objects, found) = side.precisions[index], self.counts[index]
            values = {"mean_precision": precision, "objects": float(objects), "found": float(found)}
            rows.append(ImageScores(self.names[index], precision, values))
        return tuple(rows)


def _interval(values: np.ndarray) -> Interval:
    """float (1 + R,): the score, then what it is in each draw."""
    return interval_of_draws(float(values[0]), _center(values))


def _center(values: np.ndarray) -> np.ndarray:
    """float (1 + R,) -> the draws (R,), moved so that their middle is the score.

    AP of a draw is too high on average: a rare class drawn twice has more objects, but no more wrong finds in the other
    images, and drawn not at all it leaves the mean. On coco128 (71 classes) all of a plain 95 % interval lay above the
    score.
    """
    known = values[1:][~np.isnan(values[1:])]
    return known - np.median(known) + values[0] if known.size else known
