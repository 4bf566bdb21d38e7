"""The house stands: imports go down only, torch stays behind its wall, importing does nothing.

The rules are functions of a table {module: source text}, so that each is seen to fail on a small house that breaks it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "imago"

# Rooms by floor, lowest first. A room imports itself and rooms on lower floors, no neighbour.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("core",),
    ("files",),
    ("data", "metrics", "losses", "draw"),
    ("models",),
    ("inference",),
    ("evaluation", "export"),
    ("training",),
    ("comparison",),
    ("cli",),
)
# Where torch lives. All else is the base install.
WALLED = (
    "imago.models",
    "imago.losses",
    "imago.training",
    "imago.export",
    "imago.inference.engines.torch",
)
BASE_IN_MODELS = (
    "imago.models",
    "imago.models.catalog",
    "imago.models.detection.builders",
    "imago.models.find",
    "imago.models.published",
    "imago.models.published.entries",
    "imago.models.published.detection_entries",
    "imago.models.published.semantic_entries",
    "imago.models.semantic.builders",
    "imago.models.shipped",
)
EXTRAS = {"imago.files.geo": "geo", "imago.files.medical": "medical"}  # who alone may import what an extra adds
IMPORT_NAMES = {
    "huggingface-hub": "huggingface_hub",
    "pillow": "PIL",
    "opencv-contrib-python-headless": "cv2",
    "lightning-fabric": "lightning_fabric",
}
HEAVY = ("cv2", "onnxruntime", "rich", "PIL", "numpy", "torch")

# Where one photo, or one command line, ends with a line whatever it raised (``core.errors.fault_line``).
LAST_RESORT = ("imago.inference.batch", "imago.cli.main", "imago.data.check", "imago.data.write_dataset")

House = dict[str, str]  # module name -> source text


def the_house() -> House:
    house = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("imago", *path.relative_to(PACKAGE).with_suffix("").parts)
        house[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text("utf-8")
    return house


class Import(NamedTuple):
    """One imported module, and how."""

    name: str
    line: int
    runs: bool  # False under "if TYPE_CHECKING"
    at_once: bool  # False inside a function


def imports_of(house: House, module: str) -> Iterator[Import]:
    def walk(node: ast.AST, runs: bool, at_once: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            runs = False
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            at_once = False
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, runs, at_once and runs)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: write imports in full, from imago. on"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"  # "from imago.models import checkpoint" imports a module
                yield Import(inner if inner in house else str(node.module), node.lineno, runs, at_once and runs)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, runs, at_once)

    yield from walk(ast.parse(house[module]), True, True)


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def floor(module: str) -> int:
    for number, rooms in enumerate(FLOORS):
        if room(module) in rooms:
            return number
    raise AssertionError(f"{module} is in no room; name its floor in tests/test_floors.py and docs/architecture.md")


def is_walled(module: str) -> bool:
    return module not in BASE_IN_MODELS and any(module == wall or module.startswith(wall + ".") for wall in WALLED)


def packages(extra: str | None = None) -> set[str]:
    """Import names of what pyproject.toml lists as dependencies, or as those of an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    listed = project["optional-dependencies"][extra] if extra else project["dependencies"]
    names = {re.split(r"[<>=!~\[; ]", entry)[0] for entry in listed} - {"imago-seg"}
    return {IMPORT_NAMES.get(name, name) for name in names}


# --- the rules: each gives one line a fault


def imports_that_go_up(house: House) -> Iterator[str]:
    for module in house:
        if module in ("imago", "imago.__main__"):
            continue  # the front doors: names only, each imported when asked for; and the command line's
        for found in imports_of(house, module):
            elsewhere = found.name.startswith("imago.") and room(found.name) != room(module)
            if elsewhere and floor(found.name) >= floor(module):
                yield f"{module}:{found.line} imports {found.name}, which is not on a lower floor"


def import_circles(house: House) -> Iterator[str]:
    """Modules of a room that import each other, at once, inside a function or for the type checker, by whatever way:
    none of them can be read first."""
    direct = {
        module: sorted({f.name for f in imports_of(house, module) if f.name in house and room(f.name) == room(module)})
        for module in house
    }

    def way_back(start: str, module: str, seen: set[str]) -> list[str]:
        for name in direct[module]:
            if name == start:
                return [name]
            if name not in seen:
                seen.add(name)
                way = way_back(start, name, seen)
                if way:
                    return [name, *way]
        return []

    told: set[str] = set()
    for module in house:
        way = way_back(module, module, {module}) if module not in told else []
        if way:
            told.update(way)
            yield f"{module} imports {' -> '.join(way)}: a circle; move what both need to a file below them"


def torch_before_the_wall(house: House) -> Iterator[str]:
    base, train = packages(), packages("train")
    for module in house:
        own = packages(EXTRAS[module]) if module in EXTRAS else ()
        allowed = {"imago", *base, *own, *(train if is_walled(module) else ()), *sys.stdlib_module_names}
        for found in imports_of(house, module):
            package = found.name.split(".")[0]
            if package not in allowed and found.runs:
                where = "is no dependency" if package not in train else "belongs behind the wall"
                yield f"{module}:{found.line} imports {found.name}, which {where}"


def torch_dragged_in(house: House) -> Iterator[str]:
    """Modules of the base install that import, at once, one that imports torch at once."""
    train = packages("train")
    direct = {module: [f for f in imports_of(house, module) if f.at_once] for module in house}

    def way_to_torch(module: str, seen: set[str]) -> list[str]:
        for found in direct[module]:
            if found.name.split(".")[0] in train:
                return [found.name]
            if found.name in house and found.name not in seen:
                way = way_to_torch(found.name, seen | {found.name})
                if way:
                    return [found.name, *way]
        return []

    for module in house:
        if not is_walled(module):
            way = way_to_torch(module, {module})
            if way:
                yield f"{module} imports {' -> '.join(way)} at once; import it inside the function that needs it"


def heavy_doors(house: House) -> Iterator[str]:
    for module in house:
        if room(module) != "cli":
            continue
        for found in imports_of(house, module):
            if found.at_once and found.name.split(".")[0] in HEAVY:
                yield f"{module}:{found.line} imports {found.name} at once; a door imports it inside its function"


def effects_of_import(house: House) -> Iterator[str]:
    def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
        for statement in body:
            yield statement
            if isinstance(statement, (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.ClassDef)):
                for _, value in ast.iter_fields(statement):
                    if isinstance(value, list):
                        yield from statements([v for v in value if isinstance(v, ast.stmt)])

    for module, text in house.items():
        if module == "imago.__main__":
            continue  # it is run, not imported
        for statement in statements(ast.parse(text).body):
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
                yield f"{module}:{statement.lineno} calls {ast.unparse(statement.value.func)} on import"
            targets = statement.targets if isinstance(statement, ast.Assign) else []
            for target in targets:
                if not isinstance(target, (ast.Name, ast.Tuple)):
                    yield f"{module}:{statement.lineno} sets {ast.unparse(target)} on import"


def silent_rescues(house: House) -> Iterator[str]:
    for module, text in house.items():
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = ast.unparse(node.type) if node.type else ""
            if caught not in ("", "Exception", "BaseException") or module in LAST_RESORT:
                continue
            if not any(isinstance(n, ast.Raise) for n in ast.walk(node)):
                yield f"{module}:{node.lineno} catches everything and does not raise it again; name the errors"


def onnxruntime_elsewhere(house: House) -> Iterator[str]:
    """It sends telemetry unless it is told not to while it is imported."""
    for module in house:
        for found in imports_of(house, module):
            if found.name.split(".")[0] == "onnxruntime" and found.runs and module != "imago.inference.runtime":
                yield f"{module}:{found.line} imports onnxruntime; call imago.inference.runtime.import_onnxruntime()"


def other_voices(house: House) -> Iterator[str]:
    """click's own echo fails on streams that cannot write all of Unicode."""
    for module, text in house.items():
        if room(module) != "cli" or module == "imago.cli.console":
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("click.echo", "click.secho", "print"):
                yield f"{module}:{node.lineno} calls {ast.unparse(node.func)}; say it by imago.cli.console.echo"


def drawers(house: House) -> Iterator[str]:
    for module in house:
        if module.split(".")[-1].strip("_") in ("utils", "util", "helpers", "misc", "common"):
            yield f"{module}: a name that does not say what belongs in it"


RULES = (
    imports_that_go_up,
    import_circles,
    torch_before_the_wall,
    torch_dragged_in,
    heavy_doors,
    effects_of_import,
    silent_rescues,
    drawers,
    onnxruntime_elsewhere,
    other_voices,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule: Callable[[House], Iterator[str]]) -> None:
    faults = list(rule(the_house()))
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("rule", "house"),
    [
        (imports_that_go_up, {"imago.core.a": "from imago.files.b import c", "imago.files.b": ""}),
        (imports_that_go_up, {"imago.data.a": "def f():\n    import imago.draw.b", "imago.draw.b": ""}),
        (imports_that_go_up, {"imago.export.a": "from imago.training import b", "imago.training.b": ""}),
        (import_circles, {"imago.data.a": "import imago.data.b", "imago.data.b": "from imago.data.a import c"}),
        (
            import_circles,
            {
                "imago.data.a": "from imago.data import b",
                "imago.data.b": "def f():\n    import imago.data.c",
                "imago.data.c": "if TYPE_CHECKING:\n    from imago.data.a import d",
            },
        ),
        (torch_before_the_wall, {"imago.files.a": "import torch"}),
        (torch_before_the_wall, {"imago.inference.engines.onnx": "def f():\n    from torch import nn"}),
        (torch_before_the_wall, {"imago.models.catalog": "import safetensors.torch"}),
        (torch_before_the_wall, {"imago.models": "import timm"}),
        (torch_before_the_wall, {"imago.data.a": "import pandas"}),
        (torch_before_the_wall, {"imago.training.a": "import sklearn"}),
        (
            torch_dragged_in,
            {"imago.inference.load": "from imago.models.b import c", "imago.models.b": "import torch.nn"},
        ),
        (
            torch_dragged_in,
            {
                "imago.cli.a": "import imago.export.b",
                "imago.export.b": "import imago.models.c",
                "imago.models.c": "import timm",
            },
        ),
        (heavy_doors, {"imago.cli.a": "import cv2"}),
        (heavy_doors, {"imago.cli.a": "from rich.table import Table"}),
        (effects_of_import, {"imago.files.a": "import cv2\ncv2.setNumThreads(1)"}),
        (effects_of_import, {"imago.files.a": "if True:\n    print('hello')"}),
        (effects_of_import, {"imago.files.a": "import os\nos.environ['A'] = '1'"}),
        (silent_rescues, {"imago.files.a": "try:\n    f()\nexcept Exception:\n    pass"}),
        (silent_rescues, {"imago.files.a": "try:\n    f()\nexcept:\n    x = 1"}),
        (drawers, {"imago.files.utils": ""}),
        (onnxruntime_elsewhere, {"imago.export.a": "def f():\n    import onnxruntime"}),
        (onnxruntime_elsewhere, {"imago.inference.a": "from onnxruntime.capi import b"}),
        (other_voices, {"imago.cli.a": "click.echo(1)"}),
        (other_voices, {"imago.cli.a": "print(1)"}),
    ],
)
def test_the_rule_finds_what_breaks_it(rule: Callable[[House], Iterator[str]], house: House) -> None:
    assert len(list(rule(house))) == 1


@pytest.mark.parametrize(
    ("rule", "house"),
    [
        (imports_that_go_up, {"imago.cli.a": "from imago.core.b import c", "imago.core.b": ""}),
        (imports_that_go_up, {"imago.training.a": "from imago.export.b import c", "imago.export.b": ""}),
        (
            import_circles,
            {"imago.a.b": "import imago.a.c, imago.a.d", "imago.a.c": "import imago.a.d", "imago.a.d": ""},
        ),
        (torch_before_the_wall, {"imago.inference.engines.torch": "import torch", "imago.losses": "import torch"}),
        (torch_before_the_wall, {"imago.models": "if TYPE_CHECKING:\n    from torch import Tensor"}),
        (
            torch_dragged_in,
            {"imago.inference.load": "def f():\n    import imago.models.b", "imago.models.b": "import torch"},
        ),
        (heavy_doors, {"imago.cli.a": "import click\ndef f():\n    import cv2"}),
        (effects_of_import, {"imago.files.a": '"""Says."""\nX = frozenset("ab")'}),
        (silent_rescues, {"imago.files.a": "try:\n    f()\nexcept BaseException:\n    g()\n    raise"}),
        (silent_rescues, {"imago.inference.batch": "try:\n    f()\nexcept Exception as e:\n    g(e)"}),
        (onnxruntime_elsewhere, {"imago.inference.runtime": "def f():\n    import onnxruntime"}),
        (onnxruntime_elsewhere, {"imago.export.a": "if TYPE_CHECKING:\n    import onnxruntime"}),
        (other_voices, {"imago.cli.console": "print(1)", "imago.training.a": "print(1)"}),
    ],
)
def test_the_rule_lets_pass_what_keeps_it(rule: Callable[[House], Iterator[str]], house: House) -> None:
    assert list(rule(house)) == []


@pytest.mark.parametrize("module", ["imago", "imago.cli.main"])
def test_importing_brings_nothing_heavy(module: str) -> None:
    heavy = (*HEAVY, "platformdirs", *sorted(packages("train")))
    program = f"import sys, {module}; print(*[name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    assert done.stderr == ""


def test_every_public_name_is_there() -> None:
    import imago

    missing = [name for name in imago.__all__ if getattr(imago, name, None) is None]
    assert missing == []
    assert set(imago.__all__) <= set(dir(imago))
    with pytest.raises(AttributeError, match="module 'imago' has no attribute 'nonsense'"):
        _ = imago.nonsense


def test_every_module_says_what_it_is() -> None:
    silent = [module for module, text in the_house().items() if text.strip() and not ast.get_docstring(ast.parse(text))]
    assert silent == []
