"""What used to go wrong late in a run is found before it, or at once, in one line that says what to do."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from typing import Any

import narrow_nets
import pytest
import torch
import yolo_forms
from conftest import write_tiny_dataset
from safetensors import SafetensorError
from tiny_run import silent, tiny

from imago.core.errors import ImagoError, ModelError
from imago.files import writing
from imago.models import build as build_model
from imago.models.detection.base import DetectionTarget
from imago.training import loop, state
from imago.training import train as training
from imago.training.config import DataSource
from imago.training.dry_run import check_frames
from imago.training.train import build, train

# One value a channel


FINDERS = {"fasterrcnn": {"encoder": "resnet18_half"}, "maskrcnn": {"encoder": "resnet18_half"}}
NETS = {
    **{f"label-{name}": lambda form=form: narrow_nets.make(form) for name, form in narrow_nets.FORMS.items()},
    **{name: lambda form=form: yolo_forms.make(form) for name, form in yolo_forms.FORMS.items()},
    **{name: lambda n=name, o=o: build_model(n, classes=3, in_channels=3, **o) for name, o in FINDERS.items()},
}


@pytest.mark.parametrize("name", NETS)
def test_every_net_trains_on_one_photo_or_says_that_it_cannot(name: str) -> None:
    """The dry run says just what the real forward pass does, on large and on the smallest frames."""
    net = NETS[name]()
    sizes = [128] if "v1" in name else [64, 32]
    for size in sizes:
        real = ""
        before = {key: value.clone() for key, value in net.state_dict().items()}
        net.train()
        try:
            with torch.no_grad():
                net(torch.zeros(1, 3, size, size))
        except ValueError as error:
            real = str(error)
        net.load_state_dict(before)
        if not real:
            check_frames(net.eval(), [(size, size)], 1, name)
        else:
            with pytest.raises(ImagoError, match=f"^{name} (normalizes.* --batch-size 2|cannot train)"):
                check_frames(net.eval(), [(size, size)], 1, name)
        assert not net.training
        assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize(("model", "size"), [("pspnet", 64), ("deeplabv3plus", 64), ("unet", 32)])
def test_it_is_said_before_the_run_begins(root: Path, tmp_path: Path, model: str, size: int) -> None:
    how: dict[str, Any] = {"model": model, "encoder": "resnet18_half", "option": (), "size": size, "batch_size": 1}
    with pytest.raises(ImagoError, match=f"{model} normalizes over a batch.*--batch-size 2"):
        build(tiny(tmp_path / "run", **how), root, False, silent)
    assert not (tmp_path / "run" / "config.json").exists()  # the same --out can be used again
    build(tiny(tmp_path / "run", **{**how, "batch_size": 2}), root, False, silent)


def test_the_smallest_frame_counts(root: Path, tmp_path: Path) -> None:
    """At the start it would go well, where the frames grow or change it is the smallest that breaks."""
    how: dict[str, Any] = {"model": "unet", "encoder": "resnet18_half", "option": (), "size": 96, "batch_size": 1}
    build(tiny(tmp_path / "run", **how), root, False, silent)
    with pytest.raises(ImagoError, match="of 32 x 32"):
        build(tiny(tmp_path / "other", **how, start_size=32), root, False, silent)


# No number


def test_a_validation_without_numbers_ends_the_run(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = loop.take_step

    def breaking(run: Any, *rest: Any) -> Any:
        answer = step(run, *rest)
        if run.progress.epoch == 1:  # the loss was finite, the weights are no more
            values = run.average.values if run.average else run.net.state_dict()
            next(iter(values.values())).fill_(float("nan"))
        return answer

    monkeypatch.setattr(loop, "take_step", breaking)
    words = r"step 6: the net answers with NaN\. Lower --lr.*best\.safetensors holds epoch 1"
    with pytest.raises(ImagoError, match=words):
        train(tiny(tmp_path / "run", epochs=5), root, say=silent)


# No room


@pytest.mark.parametrize("name", ["resume.safetensors", "last.safetensors", "metrics.csv"])
def test_a_full_disk(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """At each kind of file; then there is room again, and the run goes on."""
    write = writing.TargetFile.write

    def full(*args: Any, **named: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    def full_for_one(self: Any, data: Any) -> int:
        if self.path.name == name:
            raise writing.explain_failure(self.path, OSError(28, "No space left on device"))
        return write(self, data)

    config = tiny(tmp_path / "run")
    with monkeypatch.context() as patch:
        if name == "resume.safetensors":
            patch.setattr(state, "save_file", full)
        patch.setattr(writing.TargetFile, "write", full_for_one)
        with pytest.raises(ImagoError, match=rf"{name}: .*MB are free there.*--resume --out") as told:
            train(config, root, say=silent)
        assert "\n" not in str(told.value)
    assert not list((tmp_path / "run").glob(".*.part"))
    train(config, root, resume=True, say=silent)
    assert (tmp_path / "run" / "report.html").is_file()


def test_too_little_room_is_said_before(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(training.shutil, "disk_usage", lambda path: usage(10**9, 10**9, 10**6))
    with pytest.raises(ImagoError, match=r"wants about \d+ MB, and 1 MB are free there"):
        build(tiny(tmp_path / "run"), root, False, silent)


# Other classes


@pytest.mark.parametrize("names", ["background\nbox\ndisc\n", "background\ndisc\nbox\nmore\n"])
def test_a_resumed_run_refuses_other_classes(tmp_path: Path, names: str) -> None:
    folder = write_tiny_dataset(tmp_path / "tiny", 8)
    config = tiny(tmp_path / "run", data=(DataSource("tiny"),), epochs=1)
    train(config, tmp_path, say=silent)
    old = (folder / "classes.txt").read_text().split()
    new = names.split()
    assert new != old
    (folder / "classes.txt").write_text(names)
    with pytest.raises(ModelError, match="was begun with the classes") as told:
        build(config, tmp_path, True, silent)
    assert old[1] in str(told.value)
    assert new[-1] in str(told.value)


# Arithmetic


@pytest.mark.parametrize("precision", ["bf16", "32"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fasterrcnn", {"encoder": "vgg16", "width": 8, "fc_width": 16}),
        ("fasterrcnn", {"encoder": "resnet18_half"}),
        ("maskrcnn", {"encoder": "resnet18_half"}),
        ("fastrcnn", {"width": 8, "fc_width": 16}),
    ],
)
def test_nets_that_pool_regions_take_any_arithmetic(name: str, options: dict[str, Any], precision: str) -> None:
    torch.manual_seed(0)
    net = build_model(name, classes=3, in_channels=3, **options).train()
    boxes = torch.tensor([[4.0, 4, 40, 44], [20, 10, 60, 60]])
    masks = torch.zeros(2, 96, 96, dtype=torch.bool)
    masks[:, 10:30, 10:30] = True
    target = DetectionTarget(boxes, torch.tensor([1, 2]), masks=masks if net.has_masks else None)
    proposals = ([boxes.clone()],) if net.wants_proposals else ()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        terms = net.loss(torch.rand(1, 3, 96, 96), [target], *proposals)
    assert all(torch.isfinite(term) for term in terms.values())
    sum(terms.values()).backward()
