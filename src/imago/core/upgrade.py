"""Cards and run folders of format 1, read in the words of format 2. Only names differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CARD = {
    "stretch": "minmax_normalize",
    "mirror": "tta_flip",
    "scales": "tta_scales",
    "specks": "min_component_fraction",
    "licence": "license",
}
OPTIONS = {  # of nets
    "narrow": "projection",
    "score": "score_thresh",
    "iou": "nms_thresh",
    "most": "detections_per_img",
    "samples": "batch_size_per_image",
    "rois": "batch_size_per_image",
}
SETTINGS = {
    "batch": "batch_size",
    "accumulate": "grad_accum_steps",
    "clip": "grad_clip",
    "use_size": "inference_size",
    "init": "weights",
    "optimiser": "optimizer",
    "mirror": "tta_flip",
    "scales": "tta_scales",
    "specks": "min_component_fraction",
    "licence": "license",
}
AUGMENTATION = {
    "quarter_turns": "rot90",
    "stretch": "aspect_jitter",
    "colour": "color",
    "grey": "to_gray",
    "grain": "noise",
    "second": "copy_paste",
}


def upgrade_card(values: Mapping[str, Any]) -> dict[str, Any]:
    """A card's JSON of any format -> of the newest. Raises KeyError, TypeError or ValueError for what is no card."""
    if values["format"] >= 2:
        return dict(values)
    card = _rename(values, CARD)
    card["options"] = _rename(values["options"], OPTIONS)
    card["labels"] = _rename(values["labels"], {"colours": "colors"})
    card["input"] = {**values["input"], "rule": _upgrade_rule(values["input"]["rule"])}
    return card


def upgrade_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """A run's config.json of any version -> of the newest. Raises KeyError, TypeError or ValueError for others."""
    values = dict(values)
    if values.get("version", 1) >= 2:
        return dict(values)
    settings = _rename(values, SETTINGS)
    if "rule" in settings:
        settings["rule"] = _upgrade_rule(settings["rule"])
    settings["option"] = [_upgrade_option(text) for text in values.get("option", ())]
    settings["augment"] = _rename(values.get("augment", {}), AUGMENTATION)
    settings["data"] = [
        {**_rename(source, {"licences": "licenses"}), "augment": _rename(source.get("augment", {}), AUGMENTATION)}
        for source in values.get("data", ())
    ]
    return settings


def _rename(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in dict(values).items()}


def _upgrade_rule(rule: str) -> str:
    return "resize" if rule == "squash" else rule


def _upgrade_option(text: str) -> str:
    """ "most=50", "maskrcnn.most=50"; the parts of a net (proposals.count=9) keep their names."""
    name, sign, value = text.partition("=")
    front, dot, last = name.rpartition(".")
    return f"{front}{dot}{OPTIONS.get(last, last)}{sign}{value}"
