"""Starts one command, waits for it, and says as JSON what it took. Run by whole_process.py, as a small process.

A child inherits the peak memory of the process that starts it (Linux takes the old image into account at exec), so the
starter must be smaller than anything that is measured: a bare interpreter with these four imports has about 10 MB.
"""

from __future__ import annotations

import json
import os
import sys
import time

MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024  # unit of ru_maxrss


def launch(command: list[str], environment: dict[str, str], log: str) -> dict[str, float]:
    """Nothing on standard input; what the command prints goes to the file ``log``."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_APPEND, 0),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    start = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, environment, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    wall_s = time.perf_counter() - start
    return {
        "exit": os.waitstatus_to_exitcode(status),
        "wall_s": wall_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss * MAXRSS_BYTES / 1e6,
    }


if __name__ == "__main__":
    print(json.dumps(launch(**json.load(sys.stdin))))
