"""Whatever way out a message names is there: every option in a text of the package is one of a command's."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import click

import imago
from imago.cli.main import group

SOURCE = Path(imago.__file__).parent
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
OF_OTHERS = {"--no-python", "--nproc-per-node", "--force-reinstall"}  # torchrun's, pip's
NO_MESSAGES = {"cli/options.py", "draw/html.py"}  # parts of options, CSS


def options_of(command: click.Command) -> set[str]:
    found = {"--help"}
    for parameter in command.params:
        found |= {*parameter.opts, *parameter.secondary_opts}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            found |= options_of(inner)
    return found


def texts(path: Path) -> list[str]:
    """All that a module may say, docstrings too."""
    tree = ast.parse(path.read_text("utf-8"))
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_every_option_that_a_text_names_is_there() -> None:
    known = options_of(group) | OF_OTHERS
    for path in sorted(SOURCE.rglob("*.py")):
        if path.relative_to(SOURCE).as_posix() not in NO_MESSAGES:
            named = {flag for text in texts(path) for flag in FLAG.findall(text)}
            assert named <= known, f"{path}: {', '.join(named - known)}"


def test_messages_of_data_name_no_python_arguments() -> None:
    """Who trains from the command line cannot pass them."""
    for path in (SOURCE / "data").rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                said = "".join(part.value for part in node.values if isinstance(part, ast.Constant))
                assert not re.search(r"\b[a-z_]+=(True|False)\b", said), f"{path}: {said}"


def commands_in(command: click.Command, path: str = "imago") -> list[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        return [(path, command)]
    context = click.Context(command)
    inside = [(name, command.get_command(context, name)) for name in command.list_commands(context)]
    return [one for name, inner in inside if inner is not None for one in commands_in(inner, f"{path} {name}")]


def test_no_command_has_an_option_twice() -> None:
    """Of two with one name only one can be had."""
    commands = commands_in(group)
    assert len(commands) > 8
    for path, command in commands:
        flags = [flag for one in command.params for flag in (*one.opts, *one.secondary_opts)]
        fields = [one.name for one in command.params]
        assert sorted(flags) == sorted(set(flags)), path
        assert sorted(fields, key=str) == sorted(set(fields), key=str), path
