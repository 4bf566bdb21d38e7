"""What an evaluation of segments found out. See ``Evaluation``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from imago.evaluation.results import ClassScores, Evaluation, Rows, count_words, finite, format_score
from imago.metrics.bootstrap import RESAMPLES, Difference, Interval, paired_difference
from imago.metrics.confusion import nan_mean
from imago.metrics.panoptic import quality

Part = Literal["pq", "sq", "rq"]
PARTS: tuple[Part, ...] = ("pq", "sq", "rq")
_WORDS = {"pq": "panoptic quality", "sq": "segmentation quality", "rq": "recognition quality"}
# Every score in the summary, in the order of the table; each the mean over classes.
PANOPTIC_SCORE_NAMES: dict[str, str] = {
    score + part: f"{_WORDS[score]} ({score.upper()}), {words}"
    for part, words in (("", "mean over classes"), ("_things", "things"), ("_stuff", "stuff"))
    for score in PARTS
}


@dataclass(frozen=True)
class PanopticClassScores(ClassScores):
    """One class over all images; nan where it is neither in the truth nor found."""

    is_thing: bool
    segments: int  # in the truth, crowds not counted
    found: int  # without those that are void or crowd
    matched: int
    pq: Interval
    sq: float
    rq: float

    @property
    def main(self) -> Interval:
        return self.pq

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "is_thing": self.is_thing,
            "segments": self.segments,
            "found": self.found,
            "matched": self.matched,
            "pq": self.pq.to_json(),
            "sq": finite(self.sq),
            "rq": finite(self.rq),
        }


@dataclass(frozen=True)
class PanopticEvaluation(Evaluation):
    """``matrix`` counts pixels, 0 is void; ``classes`` are without it; ``counts`` belong to ``names``."""

    classes: tuple[PanopticClassScores, ...]
    counts: np.ndarray = field(repr=False, compare=False)  # float64 (N, K, 4), see metrics.panoptic

    score_names: ClassVar[dict[str, str]] = PANOPTIC_SCORE_NAMES

    @property
    def main(self) -> str:
        return "pq"

    @property
    def headline(self) -> tuple[str, ...]:
        return "pq", "sq", "rq", "pq_things", "pq_stuff"

    @property
    def contents(self) -> str:
        things = sum(row.is_thing for row in self.classes if row.segments or row.found)
        stuff = sum(not row.is_thing for row in self.classes if row.segments or row.found)
        segments = count_words(sum(row.segments for row in self.classes), "segment", "segments")
        return f"{segments}; {count_words(things, 'class', 'classes')} of things, {stuff} of stuff"

    def facts(self) -> dict[str, Any]:
        return {"task": "panoptic"}

    def details(self) -> dict[str, Any]:
        return {}

    def tables(self) -> list[Rows]:
        rows: Rows = [("class", "kind", "segments", "found", "matched", "PQ", "SQ", "RQ")]
        for row in self.classes:
            if row.segments or row.found:
                counts = (str(row.segments), str(row.found), str(row.matched))
                numbers = map(format_score, (row.pq.mean, row.sq, row.rq))
                rows.append((row.name, "thing" if row.is_thing else "stuff", *counts, *numbers))
        return [rows]

    def _paired(self, other: PanopticEvaluation, resamples: int | None) -> Difference:
        function = mean_quality("pq", np.ones(len(self.labels), bool))
        return paired_difference(function, self.counts, other.counts, resamples=resamples or RESAMPLES)


def mean_quality(score: Part, chosen: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """How the mean over the classes that are ``chosen``, bool (K,), follows from sums over images, float64 (R, K, 4):
    float64 (R,); nan where none of them is there."""

    def function(sums: np.ndarray) -> np.ndarray:
        values: np.ndarray = getattr(quality(sums), score)
        return nan_mean(values[..., chosen])

    return function
