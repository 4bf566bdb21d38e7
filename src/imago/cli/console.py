"""What the commands say, on whatever streams they are given, and how much of a fault they show."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from imago.core.text import printable, to_json

DEBUG_HINT = "; --debug shows more"  # behind the line of a fault that nobody foresaw


def echo(text: object = "", err: bool = False) -> None:
    """A line to standard output or standard error. What the stream's encoding cannot write (cp1252 in a pipe on
    Windows) comes as backslash escapes; so do control characters, which a file name may hold and a terminal obeys."""
    stream = sys.stderr if err else sys.stdout
    if stream is not None:  # a program without a console has none
        stream.write(printable(f"{text}\n", stream.encoding or "utf-8"))
        stream.flush()


def echo_json(value: Any, indent: int | None = None) -> None:
    """Plain values as JSON on standard output: as UTF-8 where it is that, else in ASCII, which is the same JSON."""
    if sys.stdout is not None:
        encoding = (sys.stdout.encoding or "utf-8").lower().replace("_", "-")
        sys.stdout.write(to_json(value, indent, ascii_only=encoding not in ("utf-8", "utf8")) + "\n")
        sys.stdout.flush()


def debug_option(command: click.Command, hidden: bool = True) -> click.Command:
    """The same command with ``--debug``, which the group has too: it may stand before the command's name or behind."""
    if not any(parameter.name == "debug" for parameter in command.params):
        option = click.Option(
            ["--debug"], is_flag=True, expose_value=False, is_eager=True, hidden=hidden, callback=_set_debug,
            help="Show where a fault happened (so does IMAGO_DEBUG=1).",
        )  # fmt: skip
        command.params.append(option)
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            debug_option(inner)
    return command


def _set_debug(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(dict)["debug"] = True


def debugging(state: Mapping[str, bool] | None = None) -> bool:
    """Whether tracebacks are wanted. ``state``: the object of the command's context, for those who outlive that."""
    context = click.get_current_context(silent=True)
    state = (context.obj if context is not None else None) if state is None else state
    return bool(state and state.get("debug")) or os.environ.get("IMAGO_DEBUG", "0") not in ("", "0")


def traceback_text(error: BaseException) -> str:
    """What Python would print of it."""
    import traceback

    return "".join(traceback.format_exception(error)).rstrip()
