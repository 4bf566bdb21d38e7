"""The model card: what it refuses, and that no input but a valid card passes, whatever is in the file."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.core.errors import ModelError
from imago.core.input_spec import InputSpec
from imago.core.labels import Labels, binary_labels
from imago.core.model_card import FORMAT, ModelCard
from imago.core.proposal_options import ProposalOptions
from imago.core.separation import Separation


def a_card(**changes: object) -> ModelCard:
    card = ModelCard(
        name="test",
        architecture="unet",
        options={"classes": 1, "width": 8},
        task="binary",
        labels=binary_labels(),
        input=InputSpec(),
        scores={"people/iou": 0.94},
        data=("people (Apache-2.0)",),
        license="Apache-2.0",
    )
    return card.with_(**changes)


def test_card_comes_back_from_json() -> None:
    card = a_card(minmax_normalize=True, output="logit", note="n", recipe="imago train x", precision="float16")
    assert ModelCard.from_json(card.to_json()) == card
    search, chosen = ProposalOptions(mode="quality", count=7), {"nms_thresh": 0.3, "detections_per_img": 100}
    judge = a_card(task="boxes", options=chosen, proposals=search, crop_padding=16)
    assert ModelCard.from_json(judge.to_json()) == judge


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "panoptic"}, "task 'panoptic' is not known"),
        ({"labels": Labels(("a", "b", "c"))}, "binary model has two labels; got 3"),
        ({"proposals": ProposalOptions()}, "proposals are for finding objects; its task is 'binary'"),
        ({"task": "boxes", "crop_padding": 3}, r"crops \(padding 3\) need proposals to be cut at"),
    ],
)
def test_card_refuses(changes: dict, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        a_card(**changes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", r"x\.onnx: the model card inside is damaged"),
        ("{}", r"x\.onnx: the model card inside is damaged"),
        ('{"format": 1, "name": "a"}', "damaged"),
        (f'{{"format": {FORMAT + 1}}}', rf"x\.onnx: written by a newer Imago \(card format {FORMAT + 1}"),
    ],
)
def test_damaged_cards_name_the_file(text: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        ModelCard.from_json(text, "x.onnx")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("scores", None, "scores must be a table; got null"),
        ("scores", {"a": float("nan")}, "scores.a must be a number; got NaN"),
        ("output", "x", "output must be one of 'probability', 'logit'"),
        ("tta_scales", [0], "model 'test': tta_scales lie from 0.1 to 8"),
        ("tta_scales", [], "model 'test': tta_scales needs at least one"),
        ("input.size_hw", [320], "input.size_hw must be a list of 2 whole numbers"),
        ("input.scale", "1", "input.scale must be one of '255', 'max'"),
        ("input.std", [1, 1, 1e-400], "input: spread"),
        ("input.mean", None, "input.mean must be a list"),
        ("labels.names", "ab", "labels.names must be a list"),
        ("labels.ignore", -1, "labels: the ignore value"),
        ("precision", "float8", "precision must be one of"),
        ("tta_flp", True, "unknown settings tta_flp"),
        ("format", "2", f"expected a table with a format from 1 to {FORMAT}"),
        ("format", True, "expected a table with a format"),
        ("format", 0, "expected a table with a format"),
    ],
)
def test_every_field_is_checked(field: str, value: Any, words: str) -> None:
    with pytest.raises(ModelError, match=rf"x\.onnx: the model card inside is damaged \({words}"):
        ModelCard.from_json(json.dumps(changed(json.loads(a_card().to_json()), field, value)), "x.onnx")


def changed(card: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    """A copy with another value at ``a`` or ``a.b``."""
    card = copy.deepcopy(card)
    first, _, second = field.partition(".")
    (card[first] if second else card)[second or first] = value
    return card


# --- the fuzz: a valid card with one value exchanged for anything

TWO_CLASSES = Labels(("background", "cell"))
SEPARATED = Labels(("background", "border", "cell"))
VALID = [
    json.loads(card.to_json())
    for card in (
        a_card(),
        a_card(task="semantic", labels=SEPARATED, objects=True, distance=True, separation=Separation(), options={}),
        a_card(
            task="boxes",
            labels=TWO_CLASSES,
            options={"nms_thresh": 0.5, "detections_per_img": 9},
            proposals=ProposalOptions(),
            crop_padding=3,
        ),
    )
]


def number(low: float, high: float, whole: bool = False) -> Callable[[Any], bool]:
    kinds = (int,) if whole else (int, float)
    return lambda value: type(value) in kinds and low <= value <= high


def text(value: Any) -> bool:
    return isinstance(value, str)


def flag(value: Any) -> bool:
    return isinstance(value, bool)


def one_of(*known: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in known


def several(of: Callable[[Any], bool], least: int = 0, most: float = math.inf) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(of, value))


BIG = 2**63 - 1
# What each field may be, written down a second time, by hand; whether fields go together is not told here.
ORACLE: dict[str, Callable[[Any], bool]] = {
    "format": lambda value: type(value) is int and value in (1, 2, 3),
    "name": text, "architecture": text, "license": text, "recipe": text, "note": text,
    "options": lambda value: isinstance(value, dict),
    "task": one_of("binary", "semantic", "boxes", "instances"),
    "output": one_of("probability", "logit"),
    "precision": one_of("float32", "float16"),
    "minmax_normalize": flag, "tta_flip": flag, "tta_zoom": flag, "objects": flag, "distance": flag,
    "tta_scales": several(number(0.1, 8), 1),
    "min_component_fraction": lambda value: number(0, 1)(value) and value < 1,
    "crop_padding": lambda value: value is None or number(0, BIG, whole=True)(value),
    "scores": lambda value: isinstance(value, dict) and all(map(number(-1.7e308, 1.7e308), value.values())),
    "data": several(text),
    "labels": lambda value: isinstance(value, dict) and value.keys() <= {"names", "colors", "ignore", "background"},
    "labels.background": lambda value: value is None or number(-1, 2, whole=True)(value),
    "labels.names": several(text, 2),
    "labels.colors": several(several(number(0, 255, whole=True), 3, 3)),
    "labels.ignore": number(2, 65_535, whole=True),
    "input": lambda value: isinstance(value, dict),
    "input.rule": one_of("resize", "letterbox", "area", "pad"),
    "input.size_hw": several(number(1, 32_768, whole=True), 2, 2),
    "input.multiple": number(1, 32_768, whole=True),
    "input.channels": number(1, 32, whole=True),
    "input.mean": several(number(0, 1), 1, 32),
    "input.std": several(number(1e-6, 1e6), 1, 32),
    "input.scale": one_of("255", "max"),
    "separation": lambda value: value is None or isinstance(value, dict),
    "separation.seed": number(0, 1), "separation.foreground": number(0, 1), "separation.neck": number(0, 1),
    "separation.seed_distance": number(0, 1),
    "separation.least_seed_px": number(1, BIG, whole=True), "separation.least_area_px": number(1, BIG, whole=True),
    "proposals": lambda value: value is None or isinstance(value, dict),
    "proposals.mode": one_of("fast", "quality"),
    "proposals.count": number(1, BIG, whole=True), "proposals.side": number(16, BIG, whole=True),
    "proposals.scale": number(1, BIG, whole=True), "proposals.smallest": number(1, BIG, whole=True),
    "proposals.blur": number(0, 1e300), "proposals.same": number(0, 1), "proposals.least": number(0, BIG, whole=True),
    "options.nms_thresh": number(0, 1), "options.detections_per_img": number(1, 10**30, whole=True),
}  # fmt: skip

# Next to what is right, most of all: other types of the same value, borders, wrong lengths.
junk = (
    st.sampled_from([
        None, True, False, 0, 1, -1, 2, 3, 255, 256, 320, 65_536, 10**400, 0.0, 1.0, 0.5, -0.5, 1e-9, 1e308, math.nan,
        math.inf, "", "1", "255", "max", "x", "logit", "binary", "semantic", "boxes", "fast", [], [0], [1], [320],
        [320, 320], [320.0, 320], [0.5, 0.5, 0.5], [1, 1, 1], [[0, 0, 0]], ["a", "a"], ["a", "b"], ["a", "border", "c"],
        {}, {"a": 1}, {"a": None}, {"names": ["a"]}, "\ud800", "\x00",
    ])
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.lists(st.integers(-2, 400) | st.floats() | st.text(max_size=2), max_size=4)
    | st.dictionaries(st.text(max_size=3), st.integers() | st.none(), max_size=2)
)  # fmt: skip


def is_valid(card: dict[str, Any]) -> bool:
    """By ``ORACLE`` alone."""
    for field, holds in ORACLE.items():
        first, _, second = field.partition(".")
        value = card.get(first)
        if first not in card or (first == "options" and second and card["task"] not in ("boxes", "instances")):
            continue
        if second and (not isinstance(value, dict) or second not in value):
            continue
        if not holds(value[second] if second else value):
            return False
    return True


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(VALID), st.sampled_from(sorted(ORACLE)), junk)
def test_no_input_but_a_valid_card_passes(valid: dict[str, Any], field: str, value: Any) -> None:
    first, _, second = field.partition(".")
    if second and not isinstance(valid[first], dict):
        return
    card = changed(valid, field, value)
    try:
        read = ModelCard.from_json(json.dumps(card), "x.onnx")
    except ModelError as error:
        assert str(error).startswith("x.onnx: ")  # noqa: PT017  it may be raised
        return
    assert is_valid(card), (field, value)
    assert ModelCard.from_json(read.to_json()) == read
    assert read.object_labels.names  # and its user can ask it what they ask
    assert read.input.plan((30, 40)).image_hw == (30, 40)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30) | st.binary(max_size=30).map(lambda data: data.decode("latin-1")) | junk.map(json.dumps))
def test_no_text_gets_past_the_message(text: str) -> None:
    with pytest.raises(ModelError, match=r"^x\.onnx: "):
        ModelCard.from_json(text, "x.onnx")


@pytest.mark.parametrize("valid", VALID, ids=["binary", "separated", "crops"])
def test_the_oracle_holds_for_what_is_valid(valid: dict[str, Any]) -> None:
    assert is_valid(valid)
    assert {field for field in ORACLE if "." not in field} == valid.keys()
    ModelCard.from_json(json.dumps(valid))
