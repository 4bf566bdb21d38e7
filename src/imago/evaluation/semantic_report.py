"""What a report shows of label maps: the scores of classes, the confusion matrix, label maps drawn on photos."""

from __future__ import annotations

import math

import cv2
import numpy as np

from imago.core.labels import Labels
from imago.draw.charts import heat_table
from imago.draw.html import bar, class_table, format_number, section, shrink_photo
from imago.draw.overlay import overlay
from imago.evaluation.semantic_results import SemanticEvaluation

THUMBNAIL_PX = 320  # longest side of a picture


class SemanticReport:
    """See ``report.TaskReport``."""

    def sections(self, evaluation: SemanticEvaluation) -> list[str]:
        """Scores of the classes, confusion matrix."""
        total = evaluation.matrix.sum(axis=1, keepdims=True)
        shares = np.where(total > 0, evaluation.matrix / np.maximum(total, 1), np.nan)
        return [
            section("Classes", _classes(evaluation)),
            section(
                "Confusion matrix",
                "<p>Each row shows, in per cent, what the pixels of one class were taken for.</p>"
                f'<div class="wide">{heat_table(shares, evaluation.labels.names)}</div>',
            ),
        ]

    def draw(self, image: np.ndarray, truth: np.ndarray, found: np.ndarray, labels: Labels) -> dict[str, np.ndarray]:
        """``truth`` and ``found``: uint8 (H, W), classes and "ignore"."""
        small = shrink_photo(image, THUMBNAIL_PX)
        drawn = {"photo": small}
        for caption, label_map in (("truth", truth), ("prediction", found)):
            reduced = cv2.resize(label_map, small.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
            drawn[caption] = overlay(small, reduced, labels, legend=False)
        return drawn


def _classes(evaluation: SemanticEvaluation) -> str:
    rows = []
    for row, color in zip(evaluation.classes, evaluation.labels.colors, strict=True):
        share = f"{row.share * 100:.2f} %" if math.isfinite(row.share) else "–"
        iou = f"{format_number(row.iou.mean)}{bar(row.iou.mean)}"
        numbers = map(format_number, (row.dice, row.boundary_f))
        rows.append((color, row.name, (share, format_number(row.pixel_accuracy), iou, *numbers)))
    return class_table(("class", "share of pixels", "pixel accuracy", "IoU", "Dice", "boundary F"), rows)
