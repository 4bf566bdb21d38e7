"""The shipped models on the validation photos, at full resolution, against their goals.

    IMAGO_DATA=/path/to/data python benchmarks/quality.py

Foreground IoU is the mean over photos. Brackets hold the 95 % bootstrap interval over photos.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from material import ROOT, data_root
from report import machine, say, table, verdict

if TYPE_CHECKING:
    from imago.evaluation.result import Evaluation

SUBJECT_GOALS = {"people": 0.94, "cats": 0.85, "scenes": 0.75}  # mean foreground IoU
CLOTHES_GOAL = 0.55  # mean IoU over the groups, pixels of all photos pooled
# Photos of another origin than the training's. coco128: those whose licence keeps them out of the training; objects of
# 3 % of the photo or more are the truth, whether they are what the photo is of or not. pets: 128 x 128 pixels.
FOREIGN_LICENCES = (1, 2, 3, 6)
PETS = "background=background; subject=pet; ignore=outline"
RECIPES = ROOT / "recipes"


def main() -> None:
    parser = argparse.ArgumentParser(description="Scores of the shipped models on the validation photos, as markdown.")
    parser.add_argument("--data", type=Path, default=data_root(), help="folder that holds people/, cats/ and scenes/")
    parser.add_argument("--subject", default="subject", help="name or file of the cut-out model (default subject)")
    parser.add_argument("--clothes", default="clothes", help="name or file of the clothes model (default clothes)")
    parser.add_argument("--only", choices=("subject", "clothes"), help="one of the two")
    parser.add_argument("--split", default="val", help="which photos (default val)")
    parser.add_argument("--limit", type=int, help="only the first so many photos of each folder; no result, a trial")
    options = parser.parse_args()
    print(machine(), end="\n\n")
    if options.only != "clothes":
        subject(options)
    if options.only != "subject":
        clothes(options)


def subject(options: argparse.Namespace) -> None:
    groups = groupings(RECIPES / "subject.toml")
    rows = [["subject on", "photos", "IoU of the foreground", "goal", "reached", "boundary F", "max-F", "MAE"]]
    for name in (*SUBJECT_GOALS, "coco128", "pets"):
        found = measure(options, options.subject, name, groups.get(name, PETS))
        score = found.summary["iou_image_mean"]
        others = [str(found.summary[key]) for key in ("boundary_f", "max_f", "mae")]
        goal = SUBJECT_GOALS.get(name)
        reached = ("", "") if goal is None else (str(goal), verdict(score.mean >= goal))
        rows.append([name, str(len(found.images)), str(score), *reached, *others])
    print(table(rows), end="\n\n")


def clothes(options: argparse.Namespace) -> None:
    found = measure(options, options.clothes, "people", groupings(RECIPES / "clothes.toml")["people"])
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


def measure(options: argparse.Namespace, model: str, folder: str, group: str) -> Evaluation:
    from imago.core.errors import ImagoError
    from imago.data.coco import open_coco
    from imago.data.dataset import open_dataset
    from imago.data.grouping import parse_grouping
    from imago.evaluation.evaluate import evaluate
    from imago.inference.load import load

    try:
        predictor = load(model)
        if folder == "coco128":
            dataset = open_coco(options.data / folder, FOREIGN_LICENCES)
        else:
            dataset = open_dataset(options.data / folder, parse_grouping(group) if group else None)
        if len(dataset.labels) != len(predictor.card.labels):
            raise SystemExit(
                f"{model} has {len(predictor.card.labels)} classes, {folder} as grouped has {len(dataset.labels)}"
            )
        samples = dataset.split("all" if folder == "coco128" else options.split)[: options.limit]
        say(f"{model} on {len(samples)} photos of {folder}")
        return evaluate(predictor, samples)
    except ImagoError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
