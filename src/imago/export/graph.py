"""From a module to the bytes of an ``.onnx`` file: traced by torch's exporter, stripped, with its card inside."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch import nn

from imago.core.errors import ModelError
from imago.core.input_spec import InputSpec
from imago.core.model_card import METADATA_KEY, ModelCard
from imago.export.storage import store_half, strip_traces
from imago.inference.runtime import import_onnxruntime

OPSET = 18  # what torch's exporter writes by itself; ONNX Runtime reads it from release 1.14 (2023) on
MOST_COUNT = 4096  # images a run
MOST_STEPS = 16384  # multiples a side

Input = tuple[torch.Tensor, dict[int, object]]  # an example, and its free axes
Translations = Mapping[Callable[..., Any], Callable[..., Any]]  # of torch's operations to functions of onnxscript


def trace(
    module: nn.Module,
    card: ModelCard,
    outputs: Sequence[str],
    *,
    free_count: bool = True,
    more: Mapping[str, Input] | None = None,
    translations: Translations | None = None,
) -> onnx.ModelProto:
    """``module`` in ``eval()`` mode, which takes one tensor float32 (N, C, h, w), as a graph with the input ``image``.

    h and w are free multiples where the card's size rule is "area" or "pad"; N is free, or 1 without ``free_count``.
    ``more``: further inputs by name, or another "image". ``translations``: of operations that torch's
    exporter does not know. Raises ModelError where torch cannot do it.
    """
    spec = card.input
    shape: dict[int, object] = {0: torch.export.Dim("N", min=1, max=MOST_COUNT)} if free_count else {}
    if not spec.fixed_size:
        for axis, name in ((2, "h"), (3, "w")):
            count = torch.export.Dim(name, min=1, max=MOST_STEPS)
            shape[axis] = spec.multiple * count if spec.multiple > 1 else count
    image = torch.zeros(2 if free_count else 1, spec.channels, *example_hw(spec))
    inputs: dict[str, Input] = {"image": (image, shape), **(more or {})}
    import_onnxruntime()  # before the exporter, parts of which import it when they need it
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                module,
                tuple(example for example, _ in inputs.values()),
                dynamo=True,
                dynamic_shapes={name: free for name, (_, free) in inputs.items()},
                input_names=list(inputs),
                output_names=list(outputs),
                opset_version=OPSET,
                custom_translation_table=dict(translations or {}),
                verbose=False,
            )
    except (torch.onnx.errors.OnnxExporterError, torch._dynamo.exc.UserError) as error:
        reason = str(error).strip().splitlines()
        raise ModelError(
            f"model {card.name!r}: torch cannot export this net ({reason[0] if reason else type(error).__name__})"
        ) from error
    assert program is not None
    return program.model_proto


def example_hw(spec: InputSpec) -> tuple[int, int]:
    """The size that a net is traced at: the file's own, or where that is free 2 and 3 multiples, unlike each other and
    unlike 0 and 1, or torch takes the sides for constants or for equals."""
    if spec.fixed_size:
        return spec.size_hw
    step = max(spec.multiple, math.ceil(32 / spec.multiple) * spec.multiple)
    return 2 * step, 3 * step


def pack_card(model: onnx.ModelProto, card: ModelCard, half: bool) -> bytes:
    """The bytes of the file: nothing of this machine, large weights as float16 if ``half``, the card in the metadata.
    ``model`` is changed by it."""
    strip_traces(model)
    if half:
        store_half(model)
    onnx.helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    content = model.SerializeToString()
    onnx.checker.check_model(content, full_check=True)
    return content


@contextmanager
def quiet() -> Iterator[None]:
    """The exporter's advice to programmers is no news to users: silent here, and only here."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
