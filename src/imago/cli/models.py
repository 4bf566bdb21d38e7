"""``imago models``: what is shipped, what is on disk, what is to be had; download one; show one."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from imago.cli.console import echo, echo_json
from imago.cli.progress import ByteMeter
from imago.core.errors import ModelError
from imago.core.model_card import ModelCard
from imago.core.table import align_columns, terminal_width
from imago.files.download import download, models_folder
from imago.files.model_file import read_onnx_card, read_safetensors_card
from imago.models.find import find_model, models_on_disk
from imago.models.published import PUBLISHED, read_published_card, recognize
from imago.models.published.entries import Published
from imago.models.shipped import shipped_models


@dataclass(frozen=True)
class ModelRow:
    """One line of the list."""

    name: str
    where: str  # "shipped", "on disk" or "to download"
    size: int  # bytes
    card: ModelCard | None  # None: a file without one
    path: Path | None = None


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="For scripts: JSON on standard output.")
@click.pass_context
def models_command(context: click.Context, as_json: bool) -> None:
    """List the models that are shipped, on disk, and to be had; or show or download one."""
    if context.invoked_subcommand is None:
        listed = list_models()
        if as_json:
            echo_json([_to_json(entry) for entry in listed], indent=2)
        else:
            echo(_format_table(listed, terminal_width()))


@models_command.command("download")
@click.argument("name")
@click.option("--from", "address", metavar="URL", help="Another address of the same file; it is verified all the same.")
@click.option("--checkpoint", is_flag=True, help="Keep a .safetensors too, to train from (imago train --weights).")
def download_command(name: str, address: str | None, checkpoint: bool) -> None:
    """Fetch the published model NAME into the cache (IMAGO_HOME sets another place).

    Weights that are published for PyTorch or darknet are converted to .onnx, once; only this needs PyTorch.
    """
    if name not in PUBLISHED:
        where = "comes with Imago" if name in shipped_models() else "is not to be downloaded"
        raise ModelError(f"model {name!r} {where}; to be had are {', '.join(PUBLISHED)}")
    entry = PUBLISHED[name]
    if checkpoint and not entry.converted:
        raise ModelError(f"model {name!r} is published as .onnx, from which no training starts; leave out --checkpoint")
    if _is_there(entry) and (entry.checkpoint.is_file() or not checkpoint):
        echo(f"{entry.path}: is there already", err=True)
        return
    if entry.converted and importlib.util.find_spec("torch") is None:  # before anything is fetched
        raise ModelError(
            f"model {name!r} is published for {entry.program} and converted once, for which torch is needed, which is "
            'not installed; pip install "imago-seg[train]". Nothing was downloaded'
        )
    remote = replace(entry.remote, address=address) if address else entry.remote
    with ByteMeter(name, remote.size) as meter:
        download(remote, entry.landing, meter.update)
    echo(f"{entry.landing}: {remote.size / 1e6:.1f} MB, verified; licence {entry.card.license}", err=True)
    if entry.converted:
        from imago.export.published import convert

        report = convert(entry, keep_checkpoint=checkpoint)
        alike = (
            "neither it nor PyTorch finds anything on a made-up photo"
            if report.finds == 0
            else f"answers as PyTorch does within {report.largest_difference:.1g}"
        )
        echo(
            f"{entry.path}: {report.bytes / 1e6:.1f} MB, converted from it; {alike}. "
            f"The {entry.program} file was removed",
            err=True,
        )
        if checkpoint:
            echo(f"{entry.checkpoint}: to train from, with imago train --weights", err=True)


def _is_there(entry: Published) -> bool:
    if not entry.path.is_file():
        return False
    if not entry.converted:
        return entry.path.stat().st_size == entry.remote.size
    return _read_card(entry.path) is not None  # our own export is there whole or not at all


@models_command.command("show")
@click.argument("model", metavar="NAME|FILE")
@click.option("--json", "as_json", is_flag=True, help="The card as it stands in a model file or beside it.")
def show_command(model: str, as_json: bool) -> None:
    """Show all that a model says of itself."""
    card = _find_card(model)
    if as_json:
        echo_json(json.loads(card.to_json()), indent=2)
    else:
        echo(_format_card(card, terminal_width()))


def list_models() -> list[ModelRow]:
    """Shipped, then on disk, then what could be downloaded."""
    listed = [
        ModelRow(name, "shipped", path.stat().st_size, _read_card(path), path)
        for name, path in shipped_models().items()
    ]
    on_disk = models_on_disk()
    for name, path in on_disk.items():
        listed.append(ModelRow(name, "on disk", path.stat().st_size, _read_card(path), path))
    for name, entry in PUBLISHED.items():
        if name not in on_disk:
            listed.append(ModelRow(name, "to download", entry.remote.size, entry.card))
    return listed


def _read_card(path: Path) -> ModelCard | None:
    """The card of a file, None for a damaged one or one from elsewhere: a list shows what there is."""
    try:
        return read_published_card(path) or read_onnx_card(path)
    except (ModelError, OSError):
        return None


def _find_card(model: str) -> ModelCard:
    if model in PUBLISHED and model not in shipped_models():
        return PUBLISHED[model].card
    path = find_model(model)
    if path.suffix.lower() == ".safetensors":
        return read_safetensors_card(path)
    card = read_onnx_card(path) or recognize(path)
    if card is None:
        raise ModelError(f"{path}: an ONNX file without an Imago model card; nothing is known about it")
    return card


def _to_json(entry: ModelRow) -> dict[str, Any]:
    known: dict[str, Any] = {"name": entry.name, "where": entry.where, "bytes": entry.size}
    known["path"] = str(entry.path) if entry.path else None
    if entry.card is not None:
        card = entry.card
        known |= {"task": card.task, "classes": list(card.labels.names), "scores": card.scores, "license": card.license}
    return known


def _format_table(listed: list[ModelRow], width: int | None) -> str:
    rows = [("NAME", "WHERE", "TASK", "CLASSES", "SIZE", "LICENCE", "SCORES")]
    for entry in listed:
        card = entry.card
        size = f"{entry.size / 1e6:.1f} MB"
        if card is None:
            rows.append((entry.name, entry.where, "?", "?", size, "?", "no model card"))
            continue
        scores = ", ".join(f"{name} {value:.3f}" for name, value in sorted(card.scores.items())[:4])
        rows.append((entry.name, entry.where, card.task, str(len(card.labels)), size, card.license, scores or "-"))
    table = align_columns(rows, width, right=False, rule=False)
    return f"{table}\n\nDownloaded models lie in {models_folder()}"


def _format_card(card: ModelCard, width: int | None) -> str:
    spec = card.input
    size = "own size" if spec.rule == "pad" else f"{spec.size_hw[0]} x {spec.size_hw[1]}"
    facts = [
        ("name", card.name),
        ("architecture", " ".join([card.architecture or "unknown", *(f"{k}={v}" for k, v in card.options.items())])),
        ("task", card.task),
        ("classes", ", ".join(card.labels.names)),
        ("input", f"{spec.channels} channels, rule {spec.rule}, {size}, multiples of {spec.multiple}"),
        ("output", card.output + (", spread to 0..1" if card.minmax_normalize else "") + f", weights {card.precision}"),
        ("scores", ", ".join(f"{name} {value:.4g}" for name, value in sorted(card.scores.items()))),
        ("data", "; ".join(card.data)),
        ("license", card.license),
        ("recipe", card.recipe),
        ("note", card.note),
    ]
    return align_columns([fact for fact in facts if fact[1]], width, right=False, rule=False)
