"""Writes docs/reference/python.md from the package's docstrings: ``python tests/test_docs.py`` does it.

Signatures and docstrings are read from the source (``ast``), so that every Python writes the same text.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from imago.models.catalog import ARCHITECTURES

SOURCE = Path(__file__).resolve().parents[2] / "src"
LONG = 100  # characters of a signature; past it each argument has a line of its own
Function = ast.FunctionDef | ast.AsyncFunctionDef

START = """# Python reference

Written by `python tests/test_docs.py` from the docstrings of the package.

```python
import imago

model = imago.load("subject")
result = model("photo.jpg")
print(result.size_hw, result.labels.names)
print(result.alpha.shape, result.alpha.dtype)
print(result.cutout(background="#ffffff", crop=True).size)
print(result.save("results", ("cutout", "mask")))

mirrored = model.with_options(tta_flip=True)  # another predictor over the same model
```

Importing `imago` loads nothing heavy; each name below is imported when it is first used.
"""
TRAIN = """
```python
import imago.models

net = imago.models.build("unet", classes=12, encoder="resnet34_slim")
print(sum(parameter.numel() for parameter in net.parameters()))
```
"""
# Heading -> where its names live: "module name".
SECTIONS: dict[str, tuple[str, ...]] = {
    "Using a model": (
        "imago.inference.load load",
        "imago.inference.predictor Predictor",
        "imago.inference.options PredictOptions",
        "imago.core.tta TTA",
        "imago.core.detection_options DetectionOptions",
        "imago.core.separation Separation",
        "imago.inference.crf DenseCRF",
    ),
    "What it answers": (
        "imago.inference.prediction Prediction",
        "imago.core.instances Instances",
        "imago.core.instances CroppedMask",
    ),
    "Values": ("imago.core.labels Labels", "imago.core.input_spec InputSpec", "imago.core.model_card ModelCard"),
    "Data and scores": (
        "imago.data.open_dataset open_dataset",
        "imago.data.dataset Dataset",
        "imago.data.dataset Sample",
        "imago.evaluation.evaluate evaluate",
        "imago.evaluation.semantic SemanticScoring",
        "imago.evaluation.detection DetectionScoring",
        "imago.evaluation.report write_report",
        "imago.evaluation.report ReportData",
    ),
    "Errors": tuple(f"imago.core.errors {name}" for name in ("ImagoError", "ImageError", "ModelError", "DataError")),
    "With `[train]`": (
        "imago.models.catalog build",
        "imago.models.catalog task_of",
        "imago.models.catalog options_of",
        "imago.models.checkpoint save",
        "imago.models.checkpoint load",
        "imago.losses build",
        "imago.training.train train",
        "imago.export.export export_run",
        "imago.export.semantic export_onnx",
        "imago.export.detection export_detection",
    ),
}


def render_reference() -> str:
    """The whole document."""
    import imago

    parts = [START]
    for heading, places in SECTIONS.items():
        parts.append(f"\n## {heading}\n")
        parts += [TRAIN] if heading.startswith("With") else []
        for place in places:
            module, name = place.split()
            exported = imago._HOMES.get(name) == module
            full = f"imago.{name}" if exported else f"{module}.{name}".replace("models.catalog.build", "models.build")
            parts.append(describe(module, name, full))
    parts += ["\n## Architectures\n", *list_architectures()]
    return "".join(parts)


def list_architectures() -> Iterator[str]:
    """A table: every architecture, its task, and its options with their defaults."""
    yield (
        "\nWhat `imago.models.build(name, **options)` makes. Every one takes `classes` and `in_channels`; those of the "
        "task\ndetection take `score_thresh`, `nms_thresh` and `detections_per_img` too.\n\n"
        "| name | task | options |\n|---|---|---|\n"
    )
    for each in ARCHITECTURES.values():
        parameters = inspect.signature(each.builder).parameters.values()
        options = [f"`{p.name}={p.default!r}`" for p in parameters if p.name not in ("classes", "in_channels")]
        yield f"| `{each.name}` | {each.task} | {', '.join(options)} |\n"


def describe(module: str, name: str, full: str) -> str:
    """The section of one function or class."""
    path = SOURCE / Path(*module.split("."))
    text = (path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py").read_text("utf-8")
    (*_, node) = (n for n in ast.parse(text).body if isinstance(n, (Function, ast.ClassDef)) and n.name == name)
    spell_out_defaults(node, vars(importlib.import_module(module)))
    parts = [f"\n### `{full}`\n\n"]
    if isinstance(node, ast.ClassDef):
        shown = [*list_fields(node, text.splitlines())] or [format_signature(n) for n in methods(node, "__init__")]
        parts += [block("\n".join(shown))] if shown else []
        parts.append(prose(node))
        parts += [f"\n{line}" for line in list_members(node)]
    else:
        parts += [block(format_signature(node)), prose(node)]
    return "".join(parts).rstrip() + "\n"


def spell_out_defaults(node: ast.AST, names: Mapping[str, object]) -> None:
    """A default that is the name of a number or a text becomes its value."""
    for each in ast.walk(node):
        if isinstance(each, ast.arguments):
            for index, default in enumerate(each.defaults):
                value = names.get(default.id) if isinstance(default, ast.Name) else None
                if isinstance(value, int | float | str):
                    each.defaults[index] = ast.Constant(value)


def block(text: str) -> str:
    return f"```text\n{text}\n```\n\n"


def prose(node: ast.AST) -> str:
    """Its docstring, as Markdown."""
    text = ast.get_docstring(node) or ""  # type: ignore[arg-type]
    return re.sub(r"``(.+?)``", r"`\1`", text, flags=re.DOTALL) + "\n"


def methods(node: ast.ClassDef, name: str = "") -> Iterator[Function]:
    """Public ones, or those of a name. Overloads say nothing beside the method that they are of."""
    for each in node.body:
        wanted = isinstance(each, Function) and (each.name == name if name else is_shown(each.name))
        if wanted and "overload" not in map(ast.unparse, each.decorator_list):
            yield each


def is_shown(name: str) -> bool:
    return not name.startswith("_") or name == "__call__"


def list_members(node: ast.ClassDef) -> Iterator[str]:
    for method in methods(node):
        kinds = " ".join(map(ast.unparse, method.decorator_list))
        told = " ".join(prose(method).split())
        if "property" in kinds:
            shown = method.name + (f": {ast.unparse(method.returns)}" if method.returns else "")
        else:
            shown = " ".join(format_signature(method).split()).replace("( ", "(").replace(", )", ")")
        yield f"- `{shown}`" + (f"  \n  {told}" if told else "")


def format_signature(node: Function) -> str:
    """``name(arguments) -> type``, without ``self``."""
    arguments = ast.parse(ast.unparse(node)).body[0].args  # type: ignore[attr-defined]  # a copy
    if arguments.args and arguments.args[0].arg in ("self", "cls"):
        arguments.args.pop(0)
    name = "" if node.name in ("__init__", "__call__") else node.name
    name = {"__call__": "model"}.get(node.name, name)
    answer = f" -> {ast.unparse(node.returns)}" if node.returns and node.name != "__init__" else ""
    line = f"{name}({ast.unparse(arguments)}){answer}"
    if len(line) <= LONG:
        return line
    return f"{name}(\n" + "".join(f"    {part},\n" for part in split(ast.unparse(arguments))) + f"){answer}"


def split(arguments: str) -> list[str]:
    """At commas that lie in no bracket."""
    parts, depth = [""], 0
    for letter in arguments:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def list_fields(node: ast.ClassDef, lines: list[str]) -> Iterator[str]:
    """``name: type = default  # remark``: of a dataclass, and what a class declares for its readers."""
    body = [inner for each in node.body for inner in (each.body if isinstance(each, ast.If) else [each])]
    for each in body:
        if not isinstance(each, ast.AnnAssign) or not isinstance(each.target, ast.Name) or each.target.id[0] == "_":
            continue
        default, remark = each.value, comment_after(each, lines)
        if isinstance(default, ast.Call) and ast.unparse(default.func) in ("setting", "field"):
            told = default.args[1:2]
            remark = remark or "".join(value.value for value in told if isinstance(value, ast.Constant))
            made = {keyword.arg: keyword.value for keyword in default.keywords}
            factory = made.get("default_factory")
            default = default.args[0] if default.args else made.get("default")
            text = f" = {ast.unparse(factory)}()" if factory else f" = {ast.unparse(default)}" if default else ""
        else:
            text = f" = {ast.unparse(default)}" if default else ""
        shown = f"{each.target.id}: {ast.unparse(each.annotation)}{text}"
        yield "\n".join(textwrap.wrap(f"{shown}  # {remark}" if remark else shown, 118, subsequent_indent="    # "))


def comment_after(node: ast.AnnAssign, lines: list[str]) -> str:
    """The remark at the end of a field's line, and of the lines below that hold nothing else."""
    last = node.end_lineno or node.lineno
    found = [lines[last - 1].encode()[node.end_col_offset :].decode()]
    for line in lines[last:]:
        if not line.strip().startswith("#") or not found[0].strip():
            break
        found.append(line)
    return " ".join(part.strip().lstrip("#").strip() for part in found).strip()
