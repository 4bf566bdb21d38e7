"""Cards and run folders of format 1, read in the words of format 2. Only names differ.

Cards of format 2 are read as they are: format 3 only adds to them (distance maps).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    """A card's JSON of any format -> of the newest. Values that are no tables are left for others to refuse."""
    if values["format"] >= 2:
        return dict(values)
    card = _rename(values, CARD)
    card["options"] = _rename(values.get("options"), OPTIONS)
    card["labels"] = _rename(values.get("labels"), {"colours": "colors"})
    card["input"] = _rename(values.get("input"), {})
    if isinstance(card["input"], dict):
        card["input"] = _change(card["input"], rule=_upgrade_rule, scale=lambda scale: "255" if scale == 255 else scale)
    return card


def upgrade_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """A run's config.json of any version -> of the newest. Values of another type are left for others to refuse."""
    if values.get("version", 1) != 1:
        return dict(values)
    settings = {"option": [], "augment": {}, "data": [], **_rename(values, SETTINGS)}
    return _change(
        settings,
        rule=_upgrade_rule,
        option=lambda texts: [_upgrade_option(text) for text in texts] if isinstance(texts, list) else texts,
        augment=lambda augment: _rename(augment, AUGMENTATION),
        data=lambda sources: [_upgrade_source(source) for source in sources] if isinstance(sources, list) else sources,
    )


def _upgrade_source(source: Any) -> Any:
    renamed = _rename(source, {"licences": "licenses"})
    if not isinstance(renamed, dict):
        return source
    return _change({"augment": {}, **renamed}, augment=lambda augment: _rename(augment, AUGMENTATION))


def _change(values: dict[str, Any], **how: Callable[[Any], Any]) -> dict[str, Any]:
    return {name: how[name](value) if name in how else value for name, value in values.items()}


def _rename(values: Any, names: Mapping[str, str]) -> Any:
    return {names.get(name, name): value for name, value in values.items()} if isinstance(values, dict) else values


def _upgrade_rule(rule: Any) -> Any:
    return "resize" if rule == "squash" else rule


def _upgrade_option(text: Any) -> Any:
    """ "most=50", "maskrcnn.most=50"; the parts of a net (proposals.count=9) keep their names."""
    if not isinstance(text, str):
        return text
    name, sign, value = text.partition("=")
    front, dot, last = name.rpartition(".")
    return f"{front}{dot}{OPTIONS.get(last, last)}{sign}{value}"
