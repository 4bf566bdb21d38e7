"""``imago export RUN --out model.onnx``."""

from __future__ import annotations

from pathlib import Path

import click

from imago.cli.console import echo


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
@click.option(
    "--score-thresh",
    type=click.FloatRange(0, 1),
    help="Objects: the least score that the file gives.  [default: the net's own]",
)
@click.option(
    "--nms-thresh",
    type=click.FloatRange(0, 1),
    help="Objects: overlap past which the file leaves out the weaker of two of a class; 1: it leaves in all, for --nms "
    "soft or another --nms-thresh at use.  [default: the net's own]",
)
@click.option(
    "--detections-per-img",
    type=click.IntRange(min=1),
    help="Objects: so many an image at most.  [default: the net's own]",
)
@click.option(
    "--average",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A further run or .safetensors file of the same net, whose weights are averaged with RUN's. May be given "
    "several times.",
)
@click.option("--name", default="", help="Name of the model, in its card.")
@click.option("--license", default="", help="Licence of the weights, in the card.")
@click.option("--note", default="", help="A remark, in the card.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there already.")
def export_command(
    run: Path,
    out: Path,
    half: bool,
    tolerance: float | None,
    samples: Path | None,
    score_thresh: float | None,
    nms_thresh: float | None,
    detections_per_img: int | None,
    average: tuple[Path, ...],
    name: str,
    license: str,
    note: str,
    overwrite: bool,
) -> None:
    """Write RUN (a folder of imago train, or a .safetensors file) as one self-describing .onnx file.

    The file is compared with torch on real photos and written only if it answers alike.
    """
    from imago.export.export import export_run

    asked = {"score_thresh": score_thresh, "nms_thresh": nms_thresh, "detections_per_img": detections_per_img}
    report = export_run(
        run,
        out,
        half=half,
        tolerance=tolerance,
        samples=samples,
        overwrite=overwrite,
        name=name,
        license=license,
        note=note,
        average=average,
        thresholds={name: value for name, value in asked.items() if value is not None},
    )
    spec = report.card.input
    echo(f"{report.path}: {report.bytes / 1e6:.1f} MB, weights as {report.card.precision}")
    echo(f"input: (N, {spec.channels}, h, w), h and w: {report.sizes}")
    echo(
        f"compared with torch on {report.compared} {report.samples}: largest difference "
        f"{report.largest_difference:.2g}, mean {report.mean_difference:.2g} (allowed: {report.tolerance:.2g})"
    )
    if report.remark:
        echo(report.remark)
