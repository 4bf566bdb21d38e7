"""All contestants on the same images: measured, tested against the best, and put on one page."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from imago.comparison.contestants import Contestant
from imago.comparison.cost import Cost, measure_cost
from imago.core.errors import DataError, ImagoError
from imago.core.labels import Labels
from imago.data.dataset import Sample
from imago.evaluation.evaluate import evaluate
from imago.evaluation.result import Evaluation
from imago.files.writing import atomic_write
from imago.inference.load import load
from imago.metrics.bootstrap import Difference, paired_difference

PICTURES = 8  # validation images shown through every net


@dataclass(frozen=True)
class Entry:
    """One contestant that could be measured."""

    contestant: Contestant
    evaluation: Evaluation
    cost: Cost
    history: tuple[dict[str, Any], ...] = ()  # of its training: rows of metrics.csv
    to_best: Difference | None = None  # the best one's score less this one's; None for the best itself

    @property
    def name(self) -> str:
        return self.contestant.name

    @property
    def score(self) -> float:
        return self.evaluation.score

    @property
    def per_image(self) -> dict[str, float]:
        return {image.name: image.score for image in self.evaluation.images}


@dataclass(frozen=True)
class Comparison:
    """What came of it, the best first."""

    labels: Labels
    entries: tuple[Entry, ...]
    failed: tuple[str, ...] = ()  # one line each
    samples: tuple[Sample, ...] = field(default=(), repr=False)

    @property
    def front(self) -> tuple[str, ...]:
        """Names of the entries that no other one is both faster and better than, the fastest first."""
        names, best = [], -math.inf
        for entry in sorted(self.entries, key=lambda e: (e.cost.median_ms, -e.score)):
            if entry.score > best:
                names.append(entry.name)
                best = entry.score
        return tuple(names)

    def shown(self, count: int = PICTURES) -> tuple[Sample, ...]:
        """Half of them the images that the entries differ most on, half the hardest for the best entry."""
        table = np.array([[entry.per_image[s.name] for s in self.samples] for entry in self.entries])
        spread = np.nan_to_num(table.max(axis=0) - table.min(axis=0))
        order = [*np.argsort(-spread, kind="stable")[: (count + 1) // 2], *np.argsort(table[0], kind="stable")]
        return tuple(self.samples[index] for index in list(dict.fromkeys(order))[:count])

    def to_json(self) -> dict[str, Any]:
        return {
            "labels": self.labels.to_json(),
            "images": [sample.name for sample in self.samples],
            "front": list(self.front),
            "failed": list(self.failed),
            "entries": [
                {
                    "name": entry.name,
                    "model": str(entry.contestant.file or ""),
                    "cost": entry.cost.to_json(),
                    "to_best": None if entry.to_best is None else _plain(entry.to_best),
                    "history": list(entry.history),
                    "evaluation": entry.evaluation.to_json(),
                }
                for entry in self.entries
            ],
        }

    def to_csv(self) -> str:
        """A row an entry."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        summary = list(self.entries[0].evaluation.summary)
        bounds = [name for score in summary for name in (score, f"{score}_low", f"{score}_high")]
        costs = ["bytes", "weights", "multiply_adds", "median_ms", "p95_ms", "peak_mb"]
        writer.writerow(["name", *bounds, "behind_best", "p", *costs, *(f"iou/{name}" for name in self.labels.names)])
        for entry in self.entries:
            values = [entry.evaluation.summary[name] for name in summary]
            cells = [number for value in values for number in (value.mean, value.low, value.high)]
            behind = entry.to_best
            cells += [behind.mean, behind.p] if behind else [0.0, math.nan]
            cells += [float(getattr(entry.cost, name)) for name in costs]
            cells += [row.iou.mean for row in entry.evaluation.classes]
            writer.writerow([entry.name, *(f"{cell:.6g}" if math.isfinite(cell) else "" for cell in cells)])
        return stream.getvalue()


def compare(
    contestants: Sequence[Contestant],
    samples: Sequence[Sample],
    labels: Labels,
    say: Callable[[str], None],
    *,
    failed: Sequence[str] = (),
    progress: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> Comparison:
    """Measures every contestant (all have files) on ``samples``. One that cannot be measured is reported; raises
    ImagoError where none can."""
    if not samples:
        raise DataError("there are no images to compare on; choose another --split or folder")
    entries, problems = [], list(failed)
    for contestant in contestants:
        try:
            entries.append(_measured(contestant, samples, labels, progress))
            say(f"{contestant.name}: {entries[-1].score:.4f}, {entries[-1].cost.median_ms:.1f} ms")
        except ImagoError as error:
            problems.append(f"{contestant.name}: {error}")
            say(problems[-1])
    if not entries:
        raise ImagoError("no model could be measured: " + "; ".join(problems))
    entries.sort(key=lambda entry: -entry.score)
    best = entries[0]
    ranked = [best, *(_against(best, entry) for entry in entries[1:])]
    return Comparison(labels, tuple(ranked), tuple(problems), tuple(samples))


def _measured(
    contestant: Contestant, samples: Sequence[Sample], labels: Labels, progress: Callable[[str, int, int], None]
) -> Entry:
    assert contestant.file is not None
    predictor = load(contestant.file)
    card = predictor.card
    if len(card.labels) != len(labels):
        raise ImagoError(
            f"{contestant.file}: knows {len(card.labels)} classes, the data has {len(labels)}; bring them together "
            "with --group, or leave it out"
        )
    evaluation = evaluate(predictor, samples, progress=lambda done: progress(contestant.name, done, len(samples)))
    height, width = samples[0].label().shape
    cost = measure_cost(contestant.file, samples[0].image_path, (height, width))
    return Entry(contestant, evaluation, cost, _history(contestant.file.parent / "metrics.csv"))


def _history(path: Path) -> tuple[dict[str, Any], ...]:
    if not path.is_file():
        return ()
    with path.open(encoding="utf-8", newline="") as stream:
        return tuple({name: float(value) for name, value in row.items() if value} for row in csv.DictReader(stream))


def _against(best: Entry, entry: Entry) -> Entry:
    function, first = best.evaluation.main_score()
    _, second = entry.evaluation.main_score()
    return Entry(
        entry.contestant, entry.evaluation, entry.cost, entry.history, paired_difference(function, first, second)
    )


def _plain(difference: Difference) -> dict[str, float | None]:
    values = {"mean": difference.mean, "low": difference.low, "high": difference.high, "p": difference.p}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def write(comparison: Comparison, page: str, out: Path) -> tuple[Path, ...]:
    """``comparison.html``, ``.json`` and ``.csv`` in ``out``, replacing older ones."""
    texts = {
        "comparison.html": page,
        "comparison.json": json.dumps(comparison.to_json(), ensure_ascii=False, indent=1) + "\n",
        "comparison.csv": comparison.to_csv(),
    }
    for name, text in texts.items():
        with atomic_write(out / name, overwrite=True) as stream:
            stream.write(text.encode("utf-8"))
    return tuple(out / name for name in texts)
