"""Published ImageNet weights: fetched where there is a network, else said at once."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants

from imago.core.errors import ModelError

PROBE_S = 5.0  # the hub's own client asks ten times over a minute before it gives up


class WeightsUnavailable(ModelError):
    """Published weights exist, but cannot be fetched now."""


@contextmanager
def fetching(what: str) -> Iterator[None]:
    """Around whatever loads published weights. Raises WeightsUnavailable where they are neither on this machine nor to
    be fetched; ``what`` stands in its message."""
    # The hub's client tells the server which torch (and which program) asks, unless this is on. The user's word counts.
    told = constants.HF_HUB_DISABLE_TELEMETRY
    constants.HF_HUB_DISABLE_TELEMETRY = told or "HF_HUB_DISABLE_TELEMETRY" not in os.environ
    # Without a network the hub's client may look into its cache alone; it asks for this switch at every request.
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not reachable(constants.ENDPOINT)
    try:
        yield
    except OSError as error:  # urllib's, the hub's own ("not in the cache"), a file that cannot be written
        reason = str(getattr(error, "reason", "") or error or type(error).__name__).splitlines()[0]
        raise WeightsUnavailable(
            f"published ImageNet weights for {what} are not on this machine and cannot be fetched ({reason})"
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = before
        constants.HF_HUB_DISABLE_TELEMETRY = told


def reachable(address: str) -> bool:
    """Whether a server answers there, whatever it says."""
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=PROBE_S).close()
    except urllib.error.HTTPError as error:
        error.close()
    except (OSError, ValueError):
        return False
    return True
