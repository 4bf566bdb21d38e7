"""The losses against torch, torchvision, torchmetrics, and numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from imago import losses
from imago.core.errors import ImagoError
from imago.losses import Target

MULTI = ["ce", "dice", "focal", "ohem", "jaccard", "lovasz", "ce+dice", "focal+0.5*lovasz"]
BINARY = ["bce", "dice", "focal", "ohem", "jaccard", "lovasz", "bce+dice", "bce+0.5*jaccard"]
CASES = [(formula, 4) for formula in MULTI] + [(formula, 1) for formula in BINARY]


def batch(classes: int, seed: int = 0, side: int = 8) -> tuple[Tensor, Tensor]:
    """Logits (2, K, side, side) with gradient and labels; every class is present."""
    torch.manual_seed(seed)
    labels = torch.arange(2 * side * side).reshape(2, side, side) % max(classes, 2)
    labels = labels.flatten()[torch.randperm(labels.numel())].reshape(labels.shape)
    return torch.randn(2, classes, side, side, requires_grad=True), labels


def column(*logits: float) -> Tensor:
    """Binary logits (1, 1, 1, P) of a strip of P pixels."""
    return torch.tensor(logits).reshape(1, 1, 1, -1)


def strip(*values: int) -> Tensor:
    return torch.tensor(values).reshape(1, 1, -1)


LOG3 = math.log(3)  # sigmoid(log 3) = 3/4, sigmoid(-log 3) = 1/4


@pytest.mark.parametrize(
    ("formula", "logits", "labels", "expected"),
    [
        ("bce", (0.0, 0.0), (0, 1), math.log(2)),
        ("bce", (LOG3, -LOG3), (1, 1), (math.log(4 / 3) + math.log(4)) / 2),
        ("bce", (LOG3, 99.0), (1, 255), math.log(4 / 3)),  # the second pixel is ignored
        ("focal", (LOG3,), (1,), (1 / 4) ** 2 * math.log(4 / 3)),
        ("ohem", (LOG3, -LOG3), (1, 1), math.log(4)),  # 3/4 is sure enough
        ("ohem", (LOG3, 2 * LOG3, LOG3), (1, 1, 255), math.log(4 / 3)),  # none is hard: the hardest one is taken
        # areas: both 3/4, predicted 3/4 + 1/4, truth 1; one pixel of smoothing
        ("dice", (LOG3, -LOG3), (1, 0), 1 - (2 * 0.75 + 1) / (1 + 1 + 1)),
        ("jaccard", (LOG3, -LOG3), (1, 0), 1 - (0.75 + 1) / (1 + 1 - 0.75 + 1)),
        # errors 1 - 0.5 (truth 1), 1 + 0.25 (truth 0): sorted 1.25, 0.5. With the false alarm IoU is 1/2, with both
        # wrong 0: the drops are 1/2 and 1/2.
        ("lovasz", (0.5, 0.25), (1, 0), 0.5 * 1.25 + 0.5 * 0.5),
        ("lovasz", (-3.0, 9.0, 9.0), (1, 255, 255), 4.0),  # one valid pixel, missed by 1 + 3
        ("bce+2*focal", (0.0,), (1,), math.log(2) * (1 + 2 / 4)),
    ],
)
def test_numbers_by_hand(formula: str, logits: tuple, labels: tuple, expected: float) -> None:
    value = losses.build(formula, classes=1)(column(*logits), Target(strip(*labels)))
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_lovasz_softmax_by_hand() -> None:
    """Two pixels of classes 0 and 1, both given 3/4 to class 0: each class has errors 3/4 and 1/4."""
    logits = torch.tensor([LOG3, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, 1, 2)
    # class 0: the false alarm (3/4) first, IoU 1 -> 1/2; then the other, -> 0. Class 1: the miss (3/4) first, IoU
    # 1 -> 0; nothing is left to lose.
    expected = ((0.75 / 2 + 0.25 / 2) + 0.75) / 2
    value = losses.build("lovasz", classes=2)(logits, Target(strip(0, 1)))
    assert value.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("class_weights", [None, (0.5, 1.0, 2.0, 0.0)])
def test_ce_equals_torch(class_weights: tuple[float, ...] | None) -> None:
    logits, labels = batch(4)
    labels[:, :3] = 255
    expected = F.cross_entropy(
        logits, labels, None if class_weights is None else torch.tensor(class_weights), ignore_index=255
    )
    value = losses.build("ce", classes=4, class_weights=class_weights)(logits, Target(labels))
    torch.testing.assert_close(value, expected)


def test_bce_equals_torch_with_weights() -> None:
    logits, labels = batch(1)
    weights = torch.rand(labels.shape)
    both = weights * torch.where(labels == 1, 3.0, 1.0)
    expected = F.binary_cross_entropy_with_logits(logits[:, 0], labels.float(), both, reduction="sum") / both.sum()
    value = losses.build("bce", classes=1, class_weights=(1.0, 3.0))(logits, Target(labels, weights))
    torch.testing.assert_close(value, expected)


def test_focal_equals_torchvision() -> None:
    ops = pytest.importorskip("torchvision.ops")
    logits, labels = batch(1)
    expected = ops.sigmoid_focal_loss(logits[:, 0], labels.float(), alpha=-1, gamma=2, reduction="mean")
    torch.testing.assert_close(losses.build("focal", classes=1)(logits, Target(labels)), expected)


@pytest.mark.parametrize("formula", ["dice", "jaccard", "lovasz"])
def test_overlap_of_hard_predictions_equals_torchmetrics(formula: str) -> None:
    """With probabilities 0 or 1 the soft forms are the plain scores of the field."""
    functional = pytest.importorskip("torchmetrics.functional")
    _, labels = batch(4, side=32)
    predicted = batch(4, seed=1, side=32)[1]
    logits = F.one_hot(predicted, 4).movedim(-1, 1).float() * 200
    score = (
        functional.f1_score(predicted, labels, "multiclass", num_classes=4, average="macro")  # F1 is Dice
        if formula == "dice"
        else functional.jaccard_index(predicted, labels, "multiclass", num_classes=4)
    )
    # dice and jaccard have one pixel of smoothing in areas of about 1000
    tolerance = 1e-5 if formula == "lovasz" else 2e-3
    assert losses.build(formula, classes=4)(logits, Target(labels)).item() == pytest.approx(
        1 - score.item(), abs=tolerance
    )


@pytest.mark.parametrize(("formula", "classes"), CASES)
def test_perfect_prediction_gives_nothing(formula: str, classes: int) -> None:
    _, labels = batch(classes)
    truth = (2 * labels - 1).unsqueeze(1) if classes == 1 else F.one_hot(labels, classes).movedim(-1, 1)
    assert losses.build(formula, classes=classes)(30.0 * truth, Target(labels)).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("formula", "classes"), CASES)
def test_no_valid_pixel_gives_zero_with_gradient(formula: str, classes: int) -> None:
    logits, labels = batch(classes)
    for target in (Target(torch.full_like(labels, 255)), Target(labels, torch.zeros(labels.shape))):
        logits.grad = None
        value = losses.build(formula, classes=classes)(logits, target)
        value.backward()
        assert value.item() == 0
        assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize(("formula", "classes"), CASES)
def test_ignored_pixels_change_nothing(formula: str, classes: int) -> None:
    """Whatever the logits and weights there: the loss is that of the other half alone, and no gradient reaches them."""
    logits, labels = batch(classes)
    criterion = losses.build(formula, classes=classes)
    alone = criterion(logits[..., :4], Target(labels[..., :4]))
    labels[..., 4:] = 255
    weights = torch.ones(labels.shape)
    weights[..., 4:] = torch.nan
    value = criterion(logits, Target(labels, weights))
    torch.testing.assert_close(value, alone)
    value.backward()
    assert not logits.grad[..., 4:].any()
    assert logits.grad[..., :4].any()


@pytest.mark.parametrize(("formula", "classes"), CASES)
def test_weight_zero_is_ignored_and_equal_weights_are_none(formula: str, classes: int) -> None:
    logits, labels = batch(classes)
    criterion = losses.build(formula, classes=classes)
    holed = labels.clone()
    holed[:, 5:] = 255
    weights = torch.ones(labels.shape)
    weights[:, 5:] = 0
    torch.testing.assert_close(criterion(logits, Target(labels, weights)), criterion(logits, Target(holed)))
    torch.testing.assert_close(
        criterion(logits, Target(labels, torch.ones(labels.shape))), criterion(logits, Target(labels))
    )


@pytest.mark.parametrize(("formula", "classes"), [case for case in CASES if "+" not in case[0] and case[0] != "lovasz"])
def test_heavier_pixels_count_more(formula: str, classes: int) -> None:
    """Weight 3 on the pixels that are wrong raises the loss, on those that are right lowers it."""
    logits, labels = batch(classes)
    top = logits.argmax(1) if classes > 1 else (logits[:, 0] > 0).long()
    criterion = losses.build(formula, classes=classes)
    even = criterion(logits, Target(labels))
    assert criterion(logits, Target(labels, torch.where(top == labels, 1.0, 3.0))) > even
    assert criterion(logits, Target(labels, torch.where(top == labels, 3.0, 1.0))) < even


@pytest.mark.parametrize(("formula", "classes"), CASES)
def test_gradients_are_right(formula: str, classes: int) -> None:
    logits, labels = batch(classes, side=3)
    labels[0, 0, 0] = 255
    weights = torch.rand(labels.shape, dtype=torch.float64) + 0.5
    criterion = losses.build(formula, classes=classes)
    assert torch.autograd.gradcheck(
        lambda x: criterion(x, Target(labels, weights)), (logits.detach().double().requires_grad_(),)
    )


@pytest.mark.parametrize("formula", ["dice", "jaccard", "lovasz"])
def test_absent_classes_do_not_count(formula: str) -> None:
    """A fifth channel that is neither there nor predicted leaves the mean over classes as it was."""
    logits, labels = batch(4)
    wide = torch.cat([logits, torch.full_like(logits[:, :1], -50.0)], dim=1)
    torch.testing.assert_close(
        losses.build(formula, classes=5)(wide, Target(labels)), losses.build(formula, classes=4)(logits, Target(labels))
    )


@pytest.mark.parametrize(("formula", "classes"), CASES)
def test_descending_finds_the_labels(formula: str, classes: int) -> None:
    logits, labels = batch(classes, side=4)
    logits = torch.zeros_like(logits, requires_grad=True)
    criterion = losses.build(formula, classes=classes)
    optimizer = torch.optim.Adam([logits], lr=0.5)
    for _ in range(60):
        optimizer.zero_grad()
        criterion(logits, Target(labels)).backward()
        optimizer.step()
    found = logits.argmax(1) if classes > 1 else (logits[:, 0] > 0).long()
    assert torch.equal(found, labels)


@settings(max_examples=30, deadline=None)
@given(
    case=st.sampled_from(CASES),
    scale=st.sampled_from([0.0, 1.0, 1e4]),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**16),
)
def test_any_batch_gives_a_finite_loss(case: tuple[str, int], scale: float, share: float, seed: int) -> None:
    formula, classes = case
    torch.manual_seed(seed)
    logits = (scale * torch.randn(2, classes, 5, 7)).requires_grad_()
    labels = torch.randint(0, max(classes, 2), (2, 5, 7))
    labels[torch.rand(labels.shape) < share] = 255
    value = losses.build(formula, classes=classes)(logits, Target(labels, torch.rand(labels.shape)))
    value.backward()
    assert math.isfinite(value.item())
    assert value.item() >= 0
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    ("formula", "options", "words"),
    [
        ("ce", {"classes": 1}, "use bce"),
        ("dice+bce", {"classes": 3}, "this one has 3; use ce"),
        ("tversky", {"classes": 1}, "'tversky' is no term; choose from ce, bce, dice, focal, ohem, jaccard, lovasz"),
        ("bce+", {"classes": 1}, "'' is no term"),
        ("", {"classes": 1}, "is no term"),
        ("bce+0*dice", {"classes": 1}, "the factor of dice must be a number above 0; got '0'"),
        ("bce+half*dice", {"classes": 1}, "got 'half'"),
        ("-1*bce", {"classes": 1}, "got '-1'"),
        ("dice+dice", {"classes": 1}, "dice stands twice"),
        ("ce", {"classes": 3, "class_weights": (1.0, 2.0)}, "3 classes need as many class weights; got 2"),
        ("bce", {"classes": 1, "class_weights": (1.0,)}, "2 classes need as many class weights; got 1"),
        ("ce", {"classes": 2, "class_weights": (1.0, -2.0)}, "must be 0 or more; got 1.0, -2.0"),
        (
            "dice",
            {"classes": 2, "class_weights": (1.0, 2.0)},
            "no term of it takes class weights; add one of ce, bce, focal",
        ),
    ],
)
def test_refusals_in_words(formula: str, options: dict, words: str) -> None:
    with pytest.raises(ImagoError) as caught:
        losses.build(formula, **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_formula_with_blanks_and_factors() -> None:
    assert losses.parse(" bce + 0.5 * dice+1e-1*lovasz") == {"bce": 1.0, "dice": 0.5, "lovasz": 0.1}


@pytest.mark.parametrize("which", ["labels", "weights"])
def test_shapes_that_do_not_fit(which: str) -> None:
    logits, labels = batch(1)
    target = Target(labels[:, :4]) if which == "labels" else Target(labels, torch.ones(2, 8, 4))
    with pytest.raises(ValueError, match=rf"{which} must be \(2, 8, 8\) for logits"):
        losses.build("bce", classes=1)(logits, target)
