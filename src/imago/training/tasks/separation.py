"""Training nets that label insides and borders (``--objects``), judged by the objects that are made of them."""

from __future__ import annotations

from imago.core.model_card import ModelCard
from imago.inference.predictor import Predictor
from imago.training.choose_separation import choose_separation
from imago.training.tasks.base import Say
from imago.training.tasks.semantic import SemanticTask


class SeparationTask(SemanticTask):
    """A label map of borders and insides; objects grow from the insides."""

    name = "separation"

    def open_predictor(self, card: ModelCard, say: Say) -> tuple[Predictor, ModelCard]:
        predictor, card = super().open_predictor(card, say)
        learnt = [sample for source in self.data.train for sample in source.samples]
        how, reached = choose_separation(predictor.scores, learnt, card.distance)
        predictor = predictor.with_options(separation=how)
        shape = f", split at necks below {how.neck:g}" if how.neck else ""
        seeds = f"a distance of {how.seed_distance:g}" if how.seed_distance else f"{how.seed:g}"
        say(
            f"objects: seeds from {seeds}, foreground from {how.foreground:g}{shape}; mean precision "
            f"{reached:.3f} on training photos"
        )
        return predictor, card.with_(separation=how)
