"""The only place that imports ONNX Runtime: without its telemetry; and what becomes of its sessions at a fork.

Its official builds (seen in 1.32, on Linux) write a device id and a data base of events into the user's cache folder
while they are imported, and send them to their maker. ``ORT_DISABLE_TELEMETRY=1``, and no other value, keeps it from
doing so if it stands in the environment at that moment; its API comes too late (its Privacy.md).
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import weakref
from types import ModuleType
from typing import Protocol

SWITCH = "ORT_DISABLE_TELEMETRY"
_LOCK = threading.Lock()


class HoldsSession(Protocol):
    """Whatever runs a session of ONNX Runtime."""

    def leave_session(self) -> None:
        """Called in a forked child. The session's threads did not go along: it must be neither used nor ended."""
        ...


_HOLDERS: weakref.WeakSet[HoldsSession] = weakref.WeakSet()
_watching: list[bool] = []  # whether forks are watched yet


def import_onnxruntime() -> ModuleType:
    """The module ``onnxruntime``. A value that the user gave ``ORT_DISABLE_TELEMETRY`` is kept, whatever it is.

    The environment is as before afterwards: the switch is read once in a process, and other programs that this one
    starts are the user's. Worker processes come here by themselves. Where the user's own code imported ONNX Runtime
    first, there is nothing left to switch.
    """
    with _LOCK:
        ours = "onnxruntime" not in sys.modules and SWITCH not in os.environ
        if ours:
            os.environ[SWITCH] = "1"
        try:
            import onnxruntime
        finally:
            if ours:
                del os.environ[SWITCH]
    return onnxruntime


def runtime_errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises for files and inputs that it cannot use."""
    state = import_onnxruntime().capi.onnxruntime_pybind11_state
    return (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NoModel,
        state.NoSuchFile,
        state.NotImplemented,
        state.RuntimeException,
    )


def leave_at_fork(holder: HoldsSession) -> None:
    """See that ``holder`` leaves its session in every process that is forked from this one."""
    with _LOCK:
        _HOLDERS.add(holder)
        if not _watching and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_leave_all)
            _watching.append(True)


def _leave_all() -> None:
    global _LOCK
    _LOCK = threading.Lock()  # another thread of the parent may have held it
    for holder in list(_HOLDERS):
        holder.leave_session()
    _HOLDERS.clear()


def make_immortal(session: object) -> None:
    """``session`` is never ended, not even when the process is: its end would wait for threads that are not there."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
