"""What a report shows of segments: classes, confusion of pixels, segments drawn on photos."""

from __future__ import annotations

import numpy as np

from imago.core.labels import Labels
from imago.core.panoptic import Panoptic
from imago.draw.charts import heat_table
from imago.draw.html import bar, class_table, format_number, section, shrink_photo
from imago.draw.panoptic import draw_panoptic
from imago.evaluation.panoptic_results import PanopticEvaluation

THUMBNAIL_PX = 480  # longest side of a picture: names on objects can still be read


class PanopticReport:
    """See ``report.TaskReport``."""

    def sections(self, evaluation: PanopticEvaluation) -> list[str]:
        """Scores of the classes, confusion matrix."""
        return [
            section("Classes", _classes(evaluation)),
            section("Confusion matrix", _confusion(evaluation)),
        ]

    def draw(self, image: np.ndarray, truth: Panoptic, found: Panoptic, labels: Labels) -> dict[str, np.ndarray]:
        """Segments on the photo, uint8 (H, W, 3)."""
        small = shrink_photo(image, THUMBNAIL_PX)
        size_hw = small.shape[0], small.shape[1]
        drawn = {
            name: draw_panoptic(small, panoptic.shrink(size_hw), labels, legend=False)
            for name, panoptic in (("truth", truth), ("found", found))
        }
        return {"photo": small, **drawn}


def _classes(evaluation: PanopticEvaluation) -> str:
    rows = []
    for row, color in zip(evaluation.classes, evaluation.labels.colors[1:], strict=True):
        if row.segments or row.found:
            counts = (str(row.segments), str(row.found), str(row.matched))
            pq = f"{format_number(row.pq.mean)}{bar(row.pq.mean)}"
            kind = "thing" if row.is_thing else "stuff"
            rows.append((color, row.name, (kind, *counts, pq, *map(format_number, (row.sq, row.rq)))))
    return class_table(("class", "kind", "segments", "found", "matched", "PQ", "SQ", "RQ"), rows)


def _confusion(evaluation: PanopticEvaluation) -> str:
    matrix = evaluation.matrix
    there = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
    part = matrix[np.ix_(there, there)].astype(np.float64)
    total = part.sum(axis=1, keepdims=True)
    shares = np.divide(part, total, out=np.full(part.shape, np.nan), where=total > 0)
    names = [
        name if value else "void"
        for value, (name, shown) in enumerate(zip(evaluation.labels.names, there, strict=True))
        if shown
    ]
    heat = heat_table(shares, names, "truth \\ found")
    return (
        "<p>Each row shows, in per cent, what the pixels of one class were taken for. Void: in no segment.</p>"
        f'<div class="wide">{heat}</div>'
    )
