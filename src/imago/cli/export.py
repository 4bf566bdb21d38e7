"""``imago export RUN --out model.onnx``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The .onnx file to write.")
@click.option("--half", is_flag=True, help="Store the weights as float16: half the bytes, the same speed.")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0, min_open=True),
    help="Largest difference to torch, as a probability.  [default: 0.0001; with --half 0.02]",
)
@click.option("--samples", type=click.Path(path_type=Path), help="Image or folder of images to compare with torch on.")
@click.option("--name", default="", help="Name of the model, in its card.")
@click.option("--licence", default="", help="Licence of the weights, in the card.")
@click.option("--note", default="", help="A remark, in the card.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there already.")
def export_command(
    run: Path,
    out: Path,
    half: bool,
    tolerance: float | None,
    samples: Path | None,
    name: str,
    licence: str,
    note: str,
    overwrite: bool,
) -> None:
    """Write RUN (a folder of imago train, or a .safetensors file) as one self-describing .onnx file.

    The file is compared with torch on real photos and written only if it answers alike.
    """
    from imago.export.run import export_run

    report = export_run(
        run,
        out,
        half=half,
        tolerance=tolerance,
        samples=samples,
        overwrite=overwrite,
        name=name,
        licence=licence,
        note=note,
    )
    spec = report.card.input
    click.echo(f"{report.path}: {report.bytes / 1e6:.1f} MB, weights as {report.card.precision}")
    click.echo(f"input: (N, {spec.channels}, h, w), h and w: {report.sizes}")
    click.echo(
        f"compared with torch on {report.compared} {report.samples}: largest difference "
        f"{report.largest_difference:.2g}, mean {report.mean_difference:.2g} (allowed: {report.tolerance:.2g})"
    )
    if report.remark:
        click.echo(report.remark)
