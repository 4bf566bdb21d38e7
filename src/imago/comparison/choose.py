"""Which kind of comparison the candidates ask for."""

from __future__ import annotations

from collections.abc import Sequence

from imago.comparison.candidates import Candidate
from imago.comparison.detection import DetectionComparison
from imago.comparison.semantic import SemanticComparison
from imago.comparison.task import ComparisonTask
from imago.core.errors import ImagoError, ModelError
from imago.inference.load import read_card
from imago.models.catalog import task_of


def choose_task(candidates: Sequence[Candidate], objects: bool) -> ComparisonTask:
    """Objects where a candidate finds them; with ``objects`` nets that label pixels learn to separate them.

    Raises ImagoError where some find objects and others label pixels: there is no score for both.
    """
    finds = {candidate: _finds_objects(candidate, objects) for candidate in candidates}
    labelling = [candidate for candidate, found in finds.items() if found is False]
    if not objects and not any(finds.values()):
        return SemanticComparison()
    if labelling:
        finding = ", ".join(candidate.name for candidate, found in finds.items() if found)
        ready = ", ".join(candidate.name for candidate in labelling if candidate.file is not None)
        advice = [f"leave out {ready}, which cannot learn it any more"] if ready else []
        if not all(candidate.file for candidate in labelling):
            advice.append("give --objects, so that nets of label maps learn to tell objects apart")
        raise ImagoError(
            "there is no score for label maps and single objects alike. Label maps: "
            f"{', '.join(candidate.name for candidate in labelling)}. Objects: {finding or '--objects'}. Compare "
            f"them by themselves, or {', and '.join(advice)}"
        )
    return DetectionComparison()


def _finds_objects(candidate: Candidate, objects: bool) -> bool | None:
    """None where its file does not tell; measuring it will say why."""
    if candidate.file is None:
        return objects or task_of(candidate.architecture) == "detection"
    try:
        return read_card(candidate.file).finds_objects
    except ModelError:
        return None
