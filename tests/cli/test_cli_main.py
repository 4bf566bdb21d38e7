"""The command line's frame: quick, lazy, one line an error, honest exit codes; and options made from dataclasses."""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from imago import __version__
from imago.cli import main
from imago.cli.options import add_options, build_settings, find_given
from imago.core.errors import DataError, ModelError

HEAVY = ("numpy", "cv2", "onnxruntime", "PIL", "rich", "torch", "platformdirs")


def imago(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from imago.cli.main import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_quick_answers_import_nothing_heavy(argument: str) -> None:
    code = (
        "import sys\nfrom imago.cli.main import run\ncode = run([sys.argv[1]])\n"
        f"found = [name for name in {HEAVY} if name in sys.modules]\n"
        "sys.exit(f'{code} {found}' if code or found else 0)"
    )
    answer = subprocess.run([sys.executable, "-c", code, argument], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    assert __version__ in answer.stdout or "cutout" in answer.stdout


@pytest.mark.slow
@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_quick_answers_take_150_ms(argument: str) -> None:
    def seconds() -> float:
        start = time.perf_counter()
        imago(argument)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(7)) < 0.15


def test_help_lists_every_command_with_its_line() -> None:
    answer = imago("--help")
    for name, (_, line) in main.COMMANDS.items():
        assert f"  {name} " in answer.stdout
        assert line in answer.stdout


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_is_where_the_table_says(name: str) -> None:
    module, attribute = main.COMMANDS[name][0].split(":")
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    assert command.help or inspect.getdoc(command.callback)
    several = command.commands.values() if isinstance(command, click.Group) else [command]
    for each in several:  # click hands an option over by its name; a flag renamed alone would be heard of at use
        asked = inspect.signature(each.callback).parameters
        if "values" not in asked:
            assert {option.name for option in each.params if option.expose_value} <= set(asked), each.name


@pytest.mark.parametrize("path", sorted((Path(main.__file__).parent).glob("*.py")), ids=lambda path: path.stem)
def test_command_modules_import_nothing_heavy(path: Path) -> None:
    """At the top of the file: what ``imago train --help`` needs not should not make it wait."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.split(".")[0] for name in names} & set(HEAVY), f"{path.name}:{node.lineno}"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["cutut"], 2, "there is no command 'cutut'; did you mean 'cutout'?"),
        (["xyzzy"], 2, "there is no command 'xyzzy'; choose from cutout, segment"),
        (["--nonsense"], 2, "nonsense"),
        (["models", "show", "nobody"], 1, "imago: there is no model 'nobody'; choose from"),
        (["cutout", "gone.jpg"], 1, "imago: gone.jpg: there is no such file"),
        (["cutout"], 2, "Missing argument"),
    ],
)
def test_misuse_and_failure_have_their_codes(arguments: list[str], code: int, message: str, tmp_path: Path) -> None:
    answer = imago(*arguments, cwd=tmp_path)
    assert answer.returncode == code
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.stdout == ""


def raising(error: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


def missing(name: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ModelError("net.onnx: is no model"), 1, "imago: net.onnx: is no model\n"),
        (DataError("2 faults", ("a.png: one", "b.png: two")), 1, "imago: 2 faults\n  a.png: one\n  b.png: two\n"),
        (KeyboardInterrupt(), 130, "imago: stopped\n"),
        (MemoryError(), 1, "imago: not enough memory; close other programs or make the photo smaller\n"),
        (PermissionError(13, "Permission denied", "x.json"), 1, "imago: x.json: Permission denied\n"),
        (PermissionError(13, "Permission denied", b"x.json"), 1, "imago: x.json: Permission denied\n"),
        (
            missing("torch"),
            1,
            "imago: this needs the package 'torch', which is not installed; pip install \"imago-seg[train]\"\n",
        ),
    ],
)
def test_errors_become_one_line(
    error: BaseException, code: int, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main.group, "get_command", lambda context, name: raising(error))
    assert main.run(["cutout"]) == code
    assert capsys.readouterr().err.lstrip("\n") == text


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (missing("imago.cli.nothing"), "ModuleNotFoundError"),
        (ValueError("a bug\nof two lines"), "(a bug of two lines)"),
        (UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range"), "UnicodeEncodeError"),
    ],
)
def test_bugs_are_one_line_and_where(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main.group, "get_command", lambda context, name: raising(error))
    assert main.run(["cutout"]) == 1
    line = capsys.readouterr().err
    assert line.startswith(f"imago: unforeseen fault: {type(error).__name__} at {Path(__file__).name}:")
    assert told in line
    assert line.endswith("; --debug shows more\n")
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "environment"), [(["--debug", "cutout"], "0"), (["cutout", "--debug"], ""), (["cutout"], "1")]
)
@pytest.mark.parametrize("error", [ValueError("a bug"), ModelError("net.onnx: is no model")])
def test_debug_shows_where(
    arguments: list[str],
    environment: str,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("IMAGO_DEBUG", environment)
    monkeypatch.setattr(main, "COMMANDS", {"cutout": ("a_module:command", "")})
    monkeypatch.setattr(main.importlib, "import_module", lambda name: SimpleNamespace(command=raising(error)))
    assert main.run(arguments) == 1
    told = capsys.readouterr().err.rstrip().splitlines()
    assert told[0] == "Traceback (most recent call last):"
    assert told[-1].startswith("imago: ")
    assert str(error) in told[-1]
    assert "--debug" not in told[-1]


@pytest.mark.parametrize(("error", "code"), [(SystemExit(7), 7), (SystemExit(0), 0)])
def test_who_ends_the_program_is_let(error: SystemExit, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main.group, "get_command", lambda context, name: raising(error))
    with pytest.raises(SystemExit) as stopped:
        main.run(["cutout"])
    assert stopped.value.code == code


@pytest.mark.skipif(os.name != "posix", reason="pipes of a shell")
def test_a_reader_that_goes_is_no_error() -> None:
    code = "from imago.cli.main import main; main()"
    command = f"{sys.executable} -c '{code}' models --json | head -c 1"
    answer = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert answer.stdout == "["
    assert answer.stderr == ""


# --- options from dataclasses -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Everything:
    photos: tuple[str, ...] = field(metadata={"argument": True})
    rate: float = field(default=0.5, metadata={"help": "How fast."})
    epochs: int = 12
    size_hw: tuple[int, int] = (320, 256)
    mode: Literal["fast", "good"] = "good"
    out: Path | None = field(default=None, metadata={"short": "-o"})
    flip: bool = True
    save: tuple[str, ...] = field(default=("mask",), metadata={"choices": ("mask", "overlay", "json"), "commas": True})
    option: tuple[str, ...] = ()
    loss: str = field(default_factory=lambda: "bce+dice", metadata={"name": "criterion"})
    inner: dict[str, int] = field(default_factory=dict, metadata={"cli": False})

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs must be 1 or more; got {self.epochs}")


def parse(*arguments: str) -> tuple[Everything, set[str]]:
    seen: list[tuple[Everything, set[str]]] = []

    @click.command()
    @add_options(Everything)
    @click.pass_context
    def command(context: click.Context, **values: Any) -> None:
        seen.append((build_settings(Everything, values), find_given(context)))

    answer = CliRunner().invoke(command, arguments)
    if answer.exit_code:
        raise click.UsageError(answer.output)
    return seen[0]


def test_without_options_the_dataclass_s_own_defaults_hold() -> None:
    settings, chosen = parse("a.jpg")
    assert settings == Everything(("a.jpg",))
    assert chosen == {"photos"}


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--rate", "0.25"], "rate", 0.25),
        (["--epochs", "3"], "epochs", 3),
        (["--size-hw", "64x96"], "size_hw", (64, 96)),
        (["--size-hw", "64"], "size_hw", (64, 64)),
        (["--mode", "fast"], "mode", "fast"),
        (["-o", "here"], "out", Path("here")),
        (["--no-flip"], "flip", False),
        (["--save", "overlay,json"], "save", ("overlay", "json")),
        (["--save", "overlay", "--save", "json"], "save", ("overlay", "json")),
        (["--option", "widths=[1,2]", "--option", "b=3"], "option", ("widths=[1,2]", "b=3")),
        (["--criterion", "focal"], "loss", "focal"),
    ],
)
def test_options_set_their_field_and_only_that(arguments: list[str], name: str, value: Any) -> None:
    settings, chosen = parse("a.jpg", "b.jpg", *arguments)
    expected = {"photos": ("a.jpg", "b.jpg"), name: value}
    assert settings == Everything(**expected)
    assert chosen == {"photos", name}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.jpg", "--epochs", "0"], "epochs must be 1 or more; got 0"),  # the dataclass's own check
        (["a.jpg", "--epochs", "many"], "'many' is not a valid integer"),
        (["a.jpg", "--mode", "slow"], "'fast', 'good'"),
        (["a.jpg", "--save", "mask,film"], "'film' is not one of"),
        (["a.jpg", "--size-hw", "0x4"], "'0x4' is no size; write height x width in pixels"),
        (["a.jpg", "--inner", "1"], "No such option"),
        ([], "Missing argument"),
    ],
)
def test_wrong_values_are_usage_errors_in_words(arguments: list[str], message: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        parse(*arguments)
    assert message in str(caught.value)


def test_help_shows_remarks_choices_and_defaults() -> None:
    @click.command()
    @add_options(Everything)
    def command(**values: Any) -> None: ...

    text = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    for part in ("How fast.", "[default: 0.5]", "[fast|good]", "--flip / --no-flip", "mask|overlay|json,...", "-o"):
        assert part in text


def test_fields_without_an_option_form_are_the_programmer_s_error() -> None:
    @dataclass(frozen=True)
    class Odd:
        table: dict[str, int] = field(default_factory=dict)

    with pytest.raises(TypeError, match="'table'"):
        add_options(Odd)(lambda: None)


def test_as_a_module_with_a_damaged_tiff(tmp_path: Path) -> None:
    """``python -m imago`` is the same command; Pillow's own warning of such a file stays unsaid, ours names it."""
    whole = io.BytesIO()
    Image.fromarray(np.zeros((80, 90, 3), np.uint8)).save(whole, "TIFF", compression="tiff_lzw")
    (tmp_path / "cut.tif").write_bytes(whole.getvalue()[:-30])
    words = [sys.executable, "-m", "imago", "cutout", "cut.tif"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    problem, summary = done.stderr.splitlines()
    assert problem.startswith("imago: cut.tif: the TIFF is damaged or cut off")
    assert summary.startswith("0 of 1 image done")
