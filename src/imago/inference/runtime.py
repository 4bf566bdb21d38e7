"""The only place that imports ONNX Runtime: without its telemetry.

Its official builds (seen in 1.32, on Linux) write a device id and a data base of events into the user's cache folder
while they are imported, and send them to their maker. ``ORT_DISABLE_TELEMETRY=1``, and no other value, keeps it from
doing so if it stands in the environment at that moment; its API comes too late (its Privacy.md).
"""

from __future__ import annotations

import os
import sys
import threading
from types import ModuleType

SWITCH = "ORT_DISABLE_TELEMETRY"
_LOCK = threading.Lock()


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
