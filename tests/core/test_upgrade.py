"""Cards and settings of format 1 are read in the words of format 2; what is damaged is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from imago.core.errors import ModelError
from imago.core.model_card import ModelCard
from imago.core.upgrade import upgrade_settings

OLD_CARD: dict[str, Any] = {
    "format": 1, "name": "old", "architecture": "maskrcnn", "task": "instances", "licence": "CC0-1.0", "mirror": False,
    "options": {"score": 0.05, "iou": 0.5, "most": 100, "samples": 64, "proposals": 300}, "scales": [1.0],
    "specks": 0.0, "stretch": True,
    "labels": {"names": ["background", "disc"], "colours": [[0, 0, 0], [9, 9, 9]], "ignore": 255},
    "input": {"rule": "squash", "size_hw": [32, 48], "multiple": 1, "channels": 3, "mean": [0, 0, 0], "std": [1, 1, 1],
              "scale": 255.0},
}  # fmt: skip
OLD_SETTINGS: dict[str, Any] = {
    "root": "/data", "batch": 4, "accumulate": 2, "clip": 1.0, "use_size": 64, "init": "a.pth", "optimiser": "sgd",
    "mirror": True, "scales": [1.0, 2.0], "specks": 0.1, "licence": "CC0-1.0", "rule": "squash",
    "option": ["narrow=true", "maskrcnn.most=50", "proposals.count=9"], "augment": {"stretch": 0.1, "grey": 0.2},
    "data": [{"path": "x", "licences": [4], "augment": {"quarter_turns": 0.5, "second": 0.3}}],
}  # fmt: skip


def test_a_card_of_format_1() -> None:
    card = ModelCard.from_json(json.dumps(OLD_CARD), "old.onnx")
    assert (card.license, card.minmax_normalize, card.input.rule) == ("CC0-1.0", True, "resize")
    assert card.labels.colors == ((0, 0, 0), (9, 9, 9))
    assert card.options == {
        "score_thresh": 0.05, "nms_thresh": 0.5, "detections_per_img": 100, "batch_size_per_image": 64,
        "proposals": 300,
    }  # fmt: skip
    binary = {**OLD_CARD, "architecture": "unet", "options": {"narrow": True}, "task": "binary"}
    card = ModelCard.from_json(json.dumps({**binary, "mirror": True, "scales": [0.5, 1], "specks": 0.03}), "old.onnx")
    assert (card.options, card.tta_flip) == ({"projection": True}, True)
    assert (card.tta_scales, card.min_component_fraction) == ((0.5, 1.0), 0.03)
    assert ModelCard.from_json(card.to_json(), "new.onnx") == card


@pytest.mark.parametrize("part", ["labels", "input", "options"])
def test_a_damaged_card_of_format_1(part: str) -> None:
    with pytest.raises(ModelError, match=r"old\.onnx.*damaged"):
        ModelCard.from_json(json.dumps({**OLD_CARD, part: None}), "old.onnx")


def test_settings_of_a_run_without_a_version() -> None:
    assert upgrade_settings(OLD_SETTINGS) == {
        "root": "/data", "batch_size": 4, "grad_accum_steps": 2, "grad_clip": 1.0, "inference_size": 64,
        "weights": "a.pth", "optimizer": "sgd", "tta_flip": True, "tta_scales": [1.0, 2.0],
        "min_component_fraction": 0.1, "license": "CC0-1.0", "rule": "resize",
        "option": ["projection=true", "maskrcnn.detections_per_img=50", "proposals.count=9"],
        "augment": {"aspect_jitter": 0.1, "to_gray": 0.2},
        "data": [{"path": "x", "licenses": [4], "augment": {"rot90": 0.5, "copy_paste": 0.3}}],
    }  # fmt: skip
    new = {"version": 2, "batch_size": 4, "augment": {"second": 0.5}}
    assert upgrade_settings(new) == new
