"""How many threads are worth starting: the cores this process may use, less those that others are using now."""

from __future__ import annotations

import os
import time
from pathlib import Path

from imago.core.errors import ImagoError


def wanted_threads() -> int | None:
    """``$IMAGO_THREADS`` where it is set. Raises ImagoError if it is no whole number above 0."""
    text = os.environ.get("IMAGO_THREADS", "").strip()
    if not text:
        return None
    if not text.isdigit() or int(text) < 1:
        raise ImagoError(f"IMAGO_THREADS is {text!r}; set it to a whole number of 1 or more, or unset it")
    return int(text)


def allowed_cores() -> int:
    """Cores that this process may use: affinity and the container's share, or ``$IMAGO_THREADS``."""
    wanted = wanted_threads()
    if wanted is not None:
        return wanted
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = container_share()
    return max(1, cores if share is None else min(cores, int(share + 0.5)))


def free_cores() -> int:
    """Cores that nobody uses at the moment, at least 1; for work that waits for its slowest thread.

    Such work (one net on one image) loses more by sharing a core than it gains by a further thread. Measured on two
    cores, one of them taken, U2-Net-p at 320 x 320: two threads 0.65 s, one 0.42 s; with both free 0.22 s and 0.42 s.
    Takes about 6 ms.
    """
    if wanted_threads() is not None:
        return allowed_cores()
    busy = _busy_elsewhere()
    if busy is None:
        return allowed_cores()
    return max(1, min(allowed_cores(), (os.cpu_count() or 1) - busy))


def _busy_elsewhere(samples: int = 4, pause_s: float = 0.002) -> int | None:
    """Threads of other processes that run or wait for a core, None where the system does not tell.

    The count in /proc/loadavg is of one moment, so the least of several is taken: a process that works without pause
    is in all of them, a short one is not. The reader itself counts as one.
    """
    least = None
    for sample in range(samples):
        if sample:
            time.sleep(pause_s)
        try:
            running = int(Path("/proc/loadavg").read_text().split()[3].split("/")[0])
        except (OSError, IndexError, ValueError):
            return None
        least = running if least is None else min(least, running)
    return max(0, (least or 1) - 1)


def container_share(root: Path = Path("/sys/fs/cgroup"), group_file: Path = Path("/proc/self/cgroup")) -> float | None:
    """Cores' worth of time that the control group grants, None without a limit. Version 2, else version 1."""
    try:
        lines = group_file.read_text().splitlines()
    except OSError:
        lines = []
    own = next((line.split("::", 1)[1] for line in lines if line.startswith("0::")), "/")
    for folder in (root / own.lstrip("/"), root):
        try:
            quota, period = (folder / "cpu.max").read_text().split()
        except (OSError, ValueError):
            continue
        if quota != "max":
            return int(quota) / int(period)
    try:
        limit = int((root / "cpu" / "cpu.cfs_quota_us").read_text())
        period_us = int((root / "cpu" / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return limit / period_us if limit > 0 else None
