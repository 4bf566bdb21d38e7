"""The ``imago`` command: finds the command by name, imports only that one, and turns errors into one line."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import click

from imago import __version__
from imago.cli.console import DEBUG_HINT, debug_option, debugging, echo, traceback_text
from imago.core.errors import OUT_OF_MEMORY, DataError, ImagoError, describe_fault, is_out_of_memory
from imago.core.text import one_line
from imago.files.stopping import STOPPED, is_stopping, note_stop, watch_signals

# Where each command lives, and its line in the help. ``imago --help`` imports none of them.
COMMANDS: dict[str, tuple[str, str]] = {
    "cutout": ("imago.cli.cutout:cutout_command", "Cut the subject out of photos."),
    "segment": ("imago.cli.segment:segment_command", "Label every pixel: masks, overlays, areas."),
    "panoptic": ("imago.cli.panoptic:panoptic_command", "Objects and stuff together: every pixel in one segment."),
    "models": ("imago.cli.models:models_command", "List, show and download models."),
    "train": ("imago.cli.train:train_command", "Train a model on annotated images."),
    "compare": ("imago.cli.compare:compare_command", "Train and measure several models side by side."),
    "evaluate": ("imago.cli.evaluate:evaluate_command", "Measure a model on annotated images."),
    "data": ("imago.cli.data:data_command", "Look at annotated objects: check them, find anchors."),
    "export": ("imago.cli.export:export_command", "Turn a training run into one model file."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        debug_option(self, hidden=False)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        return debug_option(getattr(importlib.import_module(module), attribute))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            import difflib

            near = difflib.get_close_matches(name, COMMANDS, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(COMMANDS)}"
            ctx.fail(f"there is no command {name!r}; {advice}")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, "--version", prog_name="imago")
def group() -> None:
    """Masks from photos: cut subjects out, label every pixel, and train the models that do it."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return the exit code: 0 well, 1 failed, 2 misused, 130 stopped with Ctrl-C."""
    state: dict[str, bool] = {}
    try:
        answer = group.main(list(arguments), prog_name="imago", standalone_mode=False, obj=state)
        sys.stdout.flush()
        return answer if isinstance(answer, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        echo("imago: stopped", err=True)
        return STOPPED
    except BrokenPipeError:  # the reader of our output has gone; nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # a command line ends with one line, whatever happened
        if is_stopping():  # C code made an error of its own of the interruption (an import: "initialization failed")
            echo("imago: stopped", err=True)
            return STOPPED
        debug = debugging(state)
        if debug:
            echo(traceback_text(error), err=True)
        line = error_line(error) or describe_fault(error) + ("" if debug else DEBUG_HINT)
        echo(f"imago: {line}", err=True)
        return 1


def error_line(error: Exception) -> str:
    """What to say of an error that was foreseen; empty for others."""
    if isinstance(error, DataError):
        return "\n  ".join([str(error), *map(one_line, error.faults)])
    if isinstance(error, ImagoError):
        return str(error)
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    if isinstance(error, OSError) and error.filename is not None:
        name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
        return f"{name}: {error.strerror or type(error).__name__}"
    if isinstance(error, ImportError) and (error.name or "").split(".")[0] in TRAIN_PACKAGES:
        package = (error.name or "").split(".")[0]
        return f'this needs the package {package!r}, which is not installed; pip install "imago-seg[train]"'
    return ""


# Import names of what the train extra adds: asking for a command that needs them is no bug.
TRAIN_PACKAGES = (
    "torch", "torchvision", "timm", "lightning_fabric", "lightning", "huggingface_hub", "safetensors", "onnx",
    "onnxscript",
)  # fmt: skip


def main() -> None:
    """Entry point of the console script."""
    # OpenBLAS would start a thread a core while NumPy is imported (measured: 0.1 s of processor time); Imago has no
    # matrix products that need them. This process is ours alone, so its environment may be set.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    watch_signals()
    if sys.stderr is not None:
        # What we say must not go through descriptor 2, which files/decoder_warnings.py borrows while a JPEG is decoded.
        said = sys.stderr
        sys.stderr = open(os.dup(2), "w", 1, encoding=said.encoding, errors=said.errors)  # noqa: SIM115
    # Pillow warns of damaged files in its own words, with a line of its code; ours names the file and says what to do.
    warnings.filterwarnings("ignore", module="PIL|pydicom|highdicom|nibabel|rasterio|pyogrio")
    code = run(sys.argv[1:])
    note_stop()  # what is left is Python's own end, which a signal does not tear
    sys.exit(code)
