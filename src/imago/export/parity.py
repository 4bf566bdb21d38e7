"""A file held against torch, photo by photo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from imago.core.input_spec import InputSpec
from imago.inference.runtime import import_onnxruntime


@dataclass
class Differences:
    """Between the file and torch on the CPU, over all images."""

    largest: float = 0.0  # of probabilities, absolute
    mean: float = 0.0
    moved: int = 0  # pooling maxima that lie elsewhere in the file
    shortfall: float = 0.0  # what torch's value there lacks of the maximum, as a share of the map's largest value


def compare_semantic(module: nn.Module, content: bytes, spec: InputSpec, samples: Sequence[np.ndarray]) -> Differences:
    """``content`` (an ONNX file with input ``image`` and output ``mask``) beside ``module``, which answers alike.

    Where pools hand the places of their maxima to the decoder (ENet, SegNet), torch is given those that the file found,
    and they are judged by themselves. Sums in another order decide nearly equal values otherwise, in float32 too: of 8
    CamVid photos through an ENet one had 0.16 % of its pixels past 1e-4 for that, another photo one of 0.012. Neither a
    largest difference nor a share of pixels could tell this from a fault, which then would stay hidden.
    """
    shown, names = mark_pool_indices(content)
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(shown, options, providers=["CPUExecutionProvider"])
    batches = [spec.fit(image)[0][None] for image in samples]
    # The first image once more as a pair with its mirror image, and lying on its side: free N, h and w are tried too.
    batches.append(np.concatenate([batches[0], batches[0][..., ::-1]]))
    if not spec.fixed_size:
        batches.append(np.ascontiguousarray(batches[0].swapaxes(2, 3)))
    found, total, count = Differences(), 0.0, 0
    for batch in batches:
        answer, *places = session.run(["mask", *names], {"image": batch})
        with torch.inference_mode(), share_pool_indices(module, places, found):
            expected = module(torch.from_numpy(batch)).numpy()
        difference = np.abs(answer.astype(np.float64) - expected)
        found.largest = float(np.maximum(found.largest, difference.max()))  # keeps nan, unlike max()
        total += float(difference.sum())
        count += difference.size
    found.mean = total / count
    return found


def mark_pool_indices(content: bytes) -> tuple[bytes, list[str]]:
    """The file with the places that it scatters values to as further outputs, int64 (N, C, h * w), and their names."""
    model = onnx.load_from_string(content)
    names = [node.input[1] for node in model.graph.node if node.op_type == "ScatterElements"]
    if not names:
        return content, []
    for name in names:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    return model.SerializeToString(), names


@contextmanager
def share_pool_indices(module: nn.Module, places: Sequence[np.ndarray], found: Differences) -> Iterator[None]:
    """While it lasts, pools of ``module`` that hand on places hand on those of ``places``, int64 (N, C, h * w) each,
    that have their shape."""
    by_shape = {array.shape: torch.from_numpy(array) for array in places}

    def hand_on(_: nn.Module, maps: tuple[Tensor, ...], answer: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        largest, own = (tensor.flatten(2) for tensor in answer)
        given = by_shape.get(tuple(own.shape), own)
        lacking = (largest - maps[0].flatten(2).gather(2, given)).max() / largest.abs().max().clamp_min(1e-30)
        found.moved += int((given != own).sum())
        found.shortfall = float(np.maximum(found.shortfall, float(lacking)))
        return answer[0], given.reshape(answer[1].shape)

    pools = [pool for pool in module.modules() if isinstance(pool, nn.MaxPool2d) and pool.return_indices]
    handles = [pool.register_forward_hook(hand_on) for pool in pools]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
