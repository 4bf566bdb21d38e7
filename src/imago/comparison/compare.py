"""All candidates on the same images: measured, tested against the best, and put on one page."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from imago.comparison.candidates import Candidate
from imago.comparison.cost import Cost, measure_cost
from imago.comparison.task import ComparisonTask
from imago.core.errors import DataError, ImagoError, ModelError
from imago.core.labels import Labels
from imago.core.model_card import ModelCard
from imago.core.text import to_json, to_utf8
from imago.evaluation.results import Evaluation
from imago.files.text import read_text
from imago.files.writing import atomic_write
from imago.inference.load import load, read_card
from imago.metrics.bootstrap import Difference, Interval

PICTURES = 8  # validation images shown through every net
TIMED = 8  # photos that times are taken on, where the photo matters
UNKNOWN = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Entry:
    """One candidate that could be measured."""

    candidate: Candidate
    evaluation: Evaluation
    cost: Cost
    card: ModelCard
    history: tuple[dict[str, Any], ...] = ()  # of its training: rows of metrics.csv
    to_best: Difference | None = None  # the best one's score less this one's; None for the best itself

    @property
    def name(self) -> str:
        return self.candidate.name

    @property
    def score(self) -> float:
        return self.evaluation.score

    @property
    def per_image(self) -> dict[str, float]:
        return {image.name: image.score for image in self.evaluation.images}


@dataclass(frozen=True)
class Comparison:
    """What came of it, the best first."""

    task: ComparisonTask
    labels: Labels
    entries: tuple[Entry, ...]
    failed: tuple[str, ...] = ()  # one line each
    samples: tuple[Any, ...] = field(default=(), repr=False)  # those of the kind

    @property
    def main(self) -> str:
        """The score that all are ranked by, a name in ``kind.score_names``."""
        return self.entries[0].evaluation.main

    @property
    def scores(self) -> tuple[str, ...]:
        """The scores that at least one entry has."""
        return tuple(name for name in self.task.score_names if any(name in e.evaluation.summary for e in self.entries))

    @property
    def classes(self) -> tuple[tuple[str, tuple[int, int, int]], ...]:
        """Name and colour of what ``by_class`` of the evaluations speaks of: of objects the background is left out."""
        every = tuple(zip(self.labels.names, self.labels.colors, strict=True))
        return every[len(every) - len(self.entries[0].evaluation.by_class()) :]

    @property
    def front(self) -> tuple[str, ...]:
        """Names of the entries that no other one is both faster and better than, the fastest first."""
        names, best = [], -math.inf
        for entry in sorted(self.entries, key=lambda e: (e.cost.median_ms, -e.score)):
            if entry.score > best:
                names.append(entry.name)
                best = entry.score
        return tuple(names)

    def select_shown(self, count: int = PICTURES) -> tuple[Any, ...]:
        """Half of them the images that the entries differ most on, half the hardest for the best entry."""
        # An image that a model has no score of is one in which there was nothing to find, and it found nothing.
        every = [[entry.per_image[s.name] for s in self.samples] for entry in self.entries]
        table = np.nan_to_num(np.array(every), nan=1.0)
        spread = table.max(axis=0) - table.min(axis=0)
        order = [*np.argsort(-spread, kind="stable")[: (count + 1) // 2], *np.argsort(table[0], kind="stable")]
        return tuple(self.samples[index] for index in list(dict.fromkeys(order))[:count])

    def to_json(self) -> dict[str, Any]:
        return {
            "labels": asdict(self.labels),
            "ranked_by": self.main,
            "images": [sample.name for sample in self.samples],
            "front": list(self.front),
            "failed": list(self.failed),
            "entries": [
                {
                    "name": entry.name,
                    "model": str(entry.candidate.file or ""),
                    "cost": entry.cost.to_json(),
                    "to_best": None if entry.to_best is None else _to_plain(entry.to_best),
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
        bounds = [name for score in self.scores for name in (score, f"{score}_low", f"{score}_high")]
        costs = ["bytes", "weights", "multiply_adds", "median_ms", "p95_ms", "peak_mb"]
        of_class = self.task.of_class.split()[0].lower()
        classes = [f"{of_class}/{name}" for name, _ in self.classes]
        writer.writerow(["name", *bounds, "behind_best", "p", *costs, *classes])
        for entry in self.entries:
            values = [entry.evaluation.summary.get(name, UNKNOWN) for name in self.scores]
            cells = [number for value in values for number in (value.mean, value.low, value.high)]
            behind = entry.to_best
            cells += [behind.mean, behind.p] if behind else [0.0, math.nan]
            cells += [float(getattr(entry.cost, name)) for name in costs]
            cells += [value.mean for value in entry.evaluation.by_class()]
            writer.writerow([entry.name, *(f"{cell:.6g}" if math.isfinite(cell) else "" for cell in cells)])
        return stream.getvalue()


def compare(
    task: ComparisonTask,
    candidates: Sequence[Candidate],
    samples: Sequence[Any],
    labels: Labels,
    say: Callable[[str], None],
    *,
    failed: Sequence[str] = (),
    progress: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> Comparison:
    """Measures every candidate (all have files) on ``samples``. One that cannot be measured is reported; raises
    ImagoError where none can."""
    if not samples:
        raise DataError("there are no images to compare on; choose another --split or folder")
    task = task.fair_to(_read_cards(candidates))
    entries, problems = [], list(failed)
    for candidate in candidates:
        try:
            entries.append(_measure(task, candidate, samples, labels, progress))
            say(f"{candidate.name}: {entries[-1].score:.4f}, {entries[-1].cost.median_ms:.1f} ms")
        except ImagoError as error:
            problems.append(f"{candidate.name}: {error}")
            say(problems[-1])
    if not entries:
        raise ImagoError("no model could be measured: " + "; ".join(problems))
    entries.sort(key=lambda entry: -entry.score if math.isfinite(entry.score) else 1.0)
    best = entries[0].evaluation
    others = [replace(entry, to_best=best.difference(entry.evaluation)) for entry in entries[1:]]
    return Comparison(task, labels, (entries[0], *others), tuple(problems), tuple(samples))


def _read_cards(candidates: Sequence[Candidate]) -> list[ModelCard]:
    """Without those that cannot be read: measuring them says why."""
    found = []
    for candidate in candidates:
        assert candidate.file is not None
        with suppress(ModelError):
            found.append(read_card(candidate.file))
    return found


def _measure(
    task: ComparisonTask,
    candidate: Candidate,
    samples: Sequence[Any],
    labels: Labels,
    progress: Callable[[str, int, int], None],
) -> Entry:
    assert candidate.file is not None
    predictor = load(candidate.file)
    evaluation = task.measure(predictor, samples, labels, lambda done: progress(candidate.name, done, len(samples)))
    timed = [samples[index] for index in np.unique(np.linspace(0, len(samples) - 1, TIMED).astype(int))]
    photos = [sample.image() for sample in timed]
    run, given = task.run(predictor, photos), task.inputs(predictor, photos[0])
    cost = measure_cost(candidate.file, run, given, timed[0].image_path)
    return Entry(candidate, evaluation, cost, predictor.card, read_history(candidate.file.parent / "metrics.csv"))


def read_history(path: Path) -> tuple[dict[str, Any], ...]:
    """The rows of a ``metrics.csv``; none where there is none. Raises ModelError for a damaged one."""
    if not path.is_file():
        return ()
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path))))
        return tuple({name: float(value) for name, value in row.items() if value} for row in rows)
    except (OSError, ValueError, TypeError, csv.Error) as error:  # TypeError: a row is longer than the head
        raise ModelError(f"{path}: damaged ({error}); remove it to compare without its curves") from error


def _to_plain(difference: Difference) -> dict[str, float | None]:
    values = {"mean": difference.mean, "low": difference.low, "high": difference.high, "p": difference.p}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def write(comparison: Comparison, page: str, out: Path) -> tuple[Path, ...]:
    """``comparison.html``, ``.json`` and ``.csv`` in ``out``, replacing older ones."""
    texts = {
        "comparison.html": page,
        "comparison.json": to_json(comparison.to_json(), indent=1) + "\n",
        "comparison.csv": comparison.to_csv(),
    }
    for name, text in texts.items():
        with atomic_write(out / name, overwrite=True) as stream:
            stream.write(to_utf8(text))
    return tuple(out / name for name in texts)
