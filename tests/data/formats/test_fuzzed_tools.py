"""Whatever stands in an annotation tool's file, a folder of it gives objects, faults of a line each, or one error: no
other exception. The files are whole ones with something in them replaced, taken away or cut off."""

from __future__ import annotations

import copy
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from helpers.tool_files import TOOLS
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.core.errors import ImagoError
from imago.core.read_settings import ReadSettings
from imago.data.check import check_samples
from imago.data.formats.catalog import FORMATS
from imago.data.formats.format import ReadOptions, Task
from imago.data.open_dataset import open_dataset

# What takes the place of something in a file.
ODD: list[Any] = [
    None, True, -1, 0, 1, 1e400, float("nan"), 10**30, "", "x", "1", "../../etc", "\x00", [], [[]], [1], {}, {"x": 1},
    [[1, 2], [3]], [1, 2, 3, 4, 5, 6, 7, 8], "a,b;c,d", [None] * 4, -1e9, 1e9,
]  # fmt: skip


def places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of everything in a JSON value."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


def change(content: Any, place: tuple[Any, ...], value: Any) -> Any:
    """``content`` with ``value`` at ``place``; "take away" takes it away."""
    if not place:
        return value
    at = content
    for key in place[:-1]:
        at = at[key]
    if value == "take away":
        del at[place[-1]]
    else:
        at[place[-1]] = value
    return content


def spoil(path: Path, chance: random.Random) -> None:
    text = path.read_text()
    kind = chance.random()
    if path.suffix in (".json", ".ndjson") and kind < 0.8:
        lines = text.splitlines() if path.suffix == ".ndjson" else [text]
        content = json.loads(lines[0])
        for _ in range(chance.randint(1, 2)):
            place = chance.choice(places(content))
            odd = copy.deepcopy(chance.choice([*ODD, "take away"] if place else ODD))  # or it may come to hold itself
            content = change(content, place, odd)
        lines[0] = json.dumps(content)
        path.write_text("\n".join(lines))
    elif kind < 0.9:
        path.write_bytes(text.encode()[: chance.randint(0, len(text))])
    else:
        start = chance.randint(0, len(text))
        stop = min(len(text), start + chance.randint(1, 12))
        path.write_text(text[:start] + chance.choice(["", "0", "-9", '"', "<", "nan", "x" * 70, ","]) + text[stop:])


@pytest.mark.parametrize("name", TOOLS)
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_a_spoiled_file_gives_faults_of_a_line(name: str, seed: int) -> None:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        TOOLS[name](root)
        files = [
            path for path in sorted(root.rglob("*")) if path.suffix in (".json", ".ndjson", ".xml", ".csv", ".txt")
        ]
        for path in chance.sample(files, min(2, len(files))):
            spoil(path, chance)
        read = FORMATS[name].read_objects
        assert read is not None
        FORMATS[name].recognize(root)
        try:
            dataset, faults = read(root, ReadOptions(reading=ReadSettings(faulty=chance.choice(["stop", "clip"]))))
        except ImagoError:
            return
        checked = check_samples(dataset.split("all"), dataset.labels)
        for fault in (*faults, *checked.faults):
            assert "\n" not in fault
            assert "unforeseen" not in fault
            assert len(fault) < 1000


@pytest.mark.parametrize("name", TOOLS)
def test_missing_photos_are_told(name: str, tmp_path: Path) -> None:
    TOOLS[name](tmp_path)
    photos = [path for path in sorted(tmp_path.rglob("*.png")) if path.stem in ("a", "b", "c")]
    if name == "openimages":
        pytest.skip("its files describe millions of photos, and those that are there count")
    photos[0].unlink()
    with pytest.raises(ImagoError) as caught:
        open_dataset(tmp_path, "detection")
    assert any("a.png is missing" in fault or "photo a is missing" in fault for fault in caught.value.faults)
    for path in photos[1:]:
        path.unlink()
    with pytest.raises(ImagoError, match="3 annotated photos are named and none can be read"):
        open_dataset(tmp_path, "detection")


@pytest.mark.parametrize("task", ["semantic", "detection"])
def test_a_refusal_says_what_lies_there(task: Task, tmp_path: Path) -> None:
    TOOLS["labelme"](tmp_path / "labelme")
    for path in sorted((tmp_path / "labelme").glob("*.json")):
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(ImagoError, match=r"found, but 3 \.txt files, 3 photos; expected"):
        open_dataset(tmp_path, task)
    for path in sorted((tmp_path / "labelme").glob("*.txt")):
        path.unlink()
    with pytest.raises(ImagoError, match=r"but 3 photos .*imago data from-edges"):
        open_dataset(tmp_path, task)


def test_photos_without_a_file_are_counted(tmp_path: Path) -> None:
    TOOLS["labelme"](tmp_path)
    (tmp_path / "b.json").unlink()
    assert "2 labelme files, 1 photo without one, not used" in open_dataset(tmp_path, "detection").notes
