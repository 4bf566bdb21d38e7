"""How the package is written: shapes are stated, functions are short, calls can be read; tests take no private names.

The rules are functions of a table {place: source text}, so that each is seen to fail on a small text that breaks it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeGuard

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINES = 60  # of a function, at most
POSITIONAL = 6  # arguments of a call, at most

ARRAY = re.compile(r"\b(ndarray|Tensor)\b")
NAMED = re.compile(r"\b(dict|Mapping)\[str, Tensor\]")  # weights, or the terms of a loss
# "(N, C, H, W)", "(K,)", "of one shape", "a scalar", "See ``Engine.run``".
SHAPE = re.compile(
    r"\([^()]*[\w.²],[^()]*\)|\b(any|same|one|equal|whatever) shape\b|\bscalar\b|\bsee ``", re.IGNORECASE
)
Function = ast.FunctionDef | ast.AsyncFunctionDef
Texts = dict[str, str]  # place -> source text


def read_texts(folder: str) -> Texts:
    """Every Python file below ``folder``."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in sorted((ROOT / folder).rglob("*.py"))
    }


# --- the rules: each gives one line a fault


def shapes_not_stated(texts: Texts) -> Iterator[str]:
    """Public functions that take or give arrays and whose docstring says no shape. A method's may stand at its class or
    at the method of that name in a base class; ``forward`` may say it in comments, where it changes."""
    classes = {node.name: node for text in texts.values() for node in ast.parse(text).body if is_public_class(node)}

    def says(node: ast.ClassDef | Function) -> bool:
        return bool(SHAPE.search(ast.get_docstring(node) or ""))

    def comments(text: str, node: Function) -> bool:
        return any(SHAPE.search(line.partition("# ")[2]) for line in text.splitlines()[node.lineno : node.end_lineno])

    def inherited(owner: ast.ClassDef, name: str) -> bool:
        bases = [classes[base] for base in map(ast.unparse, owner.bases) if base in classes]
        own = [each for base in bases for each in base.body if isinstance(each, Function) and each.name == name]
        return any(map(says, own)) or any(inherited(base, name) for base in bases)

    for place, text in texts.items():
        for node in ast.parse(text).body:
            owner = node if is_public_class(node) else None
            for each in owner.body if owner else [node]:
                if not isinstance(each, Function) or each.name.startswith("_") or not handles_arrays(each):
                    continue
                if each.name == "forward" and comments(text, each):
                    continue
                if not says(each) and not (owner and (says(owner) or inherited(owner, each.name))):
                    yield f"{place}:{each.lineno} {each.name} handles arrays and its docstring says no shape"


def is_public_class(node: ast.AST) -> TypeGuard[ast.ClassDef]:
    return isinstance(node, ast.ClassDef) and not node.name.startswith("_")


def handles_arrays(function: Function) -> bool:
    if any("overload" in ast.unparse(decorator) for decorator in function.decorator_list):
        return False
    parts = [function.args, *([function.returns] if function.returns else [])]
    return any(ARRAY.search(NAMED.sub("", ast.unparse(part))) for part in parts)


def long_functions(texts: Texts) -> Iterator[str]:
    for place, text in texts.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, Function) and (node.end_lineno or 0) - node.lineno >= LINES:
                yield f"{place}:{node.lineno} {node.name} has more than {LINES} lines"


def long_calls(texts: Texts) -> Iterator[str]:
    """Of functions of the package: those of libraries take what they take."""
    own = {node.name for text in texts.values() for node in ast.walk(ast.parse(text)) if hasattr(node, "name")}
    for place, text in texts.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and len(node.args) > POSITIONAL:
                name = ast.unparse(node.func)
                if name.split(".")[-1] in own or name == "cls":
                    yield f"{place}:{node.lineno} {name} is called with {len(node.args)} arguments without a name"


def private_names(texts: Texts) -> Iterator[str]:
    """Names with an underscore that a test takes from a module of the package."""
    for place, text in texts.items():
        tree = ast.parse(text)
        modules = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "imago":
                modules |= {alias.asname or alias.name for alias in node.names if alias.name.islower()}
                for alias in node.names:
                    if re.match(r"_[^_]", alias.name):
                        yield f"{place}:{node.lineno} imports {alias.name} of {node.module}"
        for node in ast.walk(tree):
            private = isinstance(node, ast.Attribute) and re.match(r"_[^_]", node.attr)
            if private and isinstance(node.value, ast.Name) and node.value.id in modules:
                yield f"{place}:{node.lineno} uses {node.value.id}.{node.attr}"


RULES = ((shapes_not_stated, "src"), (long_functions, "src"), (long_calls, "src"), (private_names, "tests"))


@pytest.mark.parametrize(("rule", "folder"), RULES, ids=[rule.__name__ for rule, _ in RULES])
def test_the_rule_is_kept(rule: Callable[[Texts], Iterator[str]], folder: str) -> None:
    faults = list(rule(read_texts(folder)))
    assert not faults, "\n".join(faults)


NET = "class Net(Base):\n    def forward(self, x: Tensor) -> Tensor:\n        return x\n"
SAID = 'class Base:\n    def forward(self, x: Tensor) -> Tensor:\n        """(N, C, H, W) -> (N, K, H, W)."""\n'


@pytest.mark.parametrize(
    ("rule", "text", "faults"),
    [
        (shapes_not_stated, "def f(x: np.ndarray) -> None: ...", 1),
        (shapes_not_stated, 'def f() -> Tensor | None:\n    """Scores of each class."""', 1),
        (shapes_not_stated, 'def f() -> Tensor | None:\n    """Scores, float32 (N, K)."""', 0),
        (shapes_not_stated, 'def f(x: np.ndarray) -> np.ndarray:\n    """float32, any shape."""', 0),
        (shapes_not_stated, "def _f(x: np.ndarray) -> None: ...", 0),
        (shapes_not_stated, NET, 1),
        (shapes_not_stated, NET + SAID, 0),
        (shapes_not_stated, SAID.replace("(N, C, H, W) -> (N, K, H, W)", "Scores"), 1),
        (long_functions, "def f():\n" + "    x = 1\n" * 60, 1),
        (long_functions, "def f():\n" + "    x = 1\n" * 59, 0),
        (long_calls, "def f(*x): ...\nf(1, 2, 3, 4, 5, 6, 7)", 1),
        (long_calls, "def f(*x): ...\nf(1, 2, 3, 4, 5, 6, last=7)\nstruct.pack(1, 2, 3, 4, 5, 6, 7)", 0),
        (private_names, "from imago.files.paths import _read", 1),
        (private_names, "from imago.files import paths\npaths._read()", 1),
        (private_names, "from imago.files import paths\npaths.read()\nos._exit(0)", 0),
    ],
)
def test_the_rule_finds_what_breaks_it(rule: Callable[[Texts], Iterator[str]], text: str, faults: int) -> None:
    assert len(list(rule({"a.py": text}))) == faults


def test_the_tests_stand_where_what_they_test_does() -> None:
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    assert not [folder for folder in folders if not (ROOT / "src" / "imago" / folder).is_dir()]
