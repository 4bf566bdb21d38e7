"""Proposals of selective search for all photos of a run: found once, before the training, and kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from imago.core.proposal_options import ProposalOptions
from imago.data.dataset import Sample
from imago.data.selective_search import CachedProposals
from imago.training.config import TrainConfig


def cache_proposals(config: TrainConfig, folder: Path) -> CachedProposals:
    """Where the run in ``folder`` keeps them."""
    return CachedProposals(Path(config.runtime.proposals) if config.runtime.proposals else folder / "proposals")


def find_proposals(
    samples: Sequence[Sample], options: ProposalOptions, kept: CachedProposals, threads: int,
    shown: Callable[[int, int], None],
) -> None:  # fmt: skip
    """What was found before (by a run that was killed, or by another that keeps them in the same folder) is not found
    again, so that it goes on where it stopped. ``shown`` is told how many photos are done, of how many."""
    pool = ThreadPoolExecutor(threads)  # selective search lets go of Python's lock
    try:
        for done, _ in enumerate(pool.map(lambda sample: kept(sample.image(), options), samples), 1):
            shown(done, len(samples))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C need not wait for all photos
