"""What a second look buys: mirror image, several sizes, dense CRF, each on the same photos with the same model.

    python benchmarks/refine.py MODEL DATA --limit 40

The score is the mean IoU (binary models: the mean foreground IoU) with its 95 % interval over photos; the difference to
the plain look is paired, photo by photo; seconds are of the whole trip of a photo.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from report import machine, say, table

SCALES = (0.75, 1.0, 1.25)


def main() -> None:
    parser = argparse.ArgumentParser(description="Gain of mirror image, sizes and dense CRF, as markdown.")
    parser.add_argument("model", help="name or file")
    parser.add_argument("data", type=Path, help="folder of annotated photos")
    parser.add_argument("--split", default="val")
    parser.add_argument("--group", default="", help="as imago evaluate's")
    parser.add_argument("--limit", type=int, help="only the first so many photos")
    options = parser.parse_args()
    print(machine(), end="\n\n")
    from imago.core.tta import TTA
    from imago.data.grouping import parse_grouping
    from imago.data.open_dataset import open_dataset
    from imago.evaluation.evaluate import evaluate
    from imago.inference.crf import DenseCRF
    from imago.inference.load import load

    model = load(options.model)
    group = parse_grouping(options.group) if options.group else None
    samples = open_dataset(options.data, grouping=group, channels=model.card.input.channels).split(options.split)
    samples = samples[: options.limit]
    ways = {
        "plain": (TTA(), None),
        "mirror image": (TTA(flip=True), None),
        f"sizes {', '.join(map(str, SCALES))}": (TTA(scales=SCALES), None),
        "mirror image and sizes": (TTA(flip=True, scales=SCALES), None),
        "dense CRF": (TTA(), DenseCRF()),
    }
    rows = [["look", "score", "more than plain", "boundary F", "s a photo"]]
    plain = None
    for name, (views, crf) in ways.items():
        say(name)
        model = model.with_options(tta=views, crf=crf)
        start = time.perf_counter()
        found = evaluate(model, samples)
        seconds = (time.perf_counter() - start) / len(samples)
        gain = ""
        if plain is None:
            plain = found
        else:
            gain = str(found.difference(plain))
        boundary = found.summary["boundary_f"]
        rows.append([name, f"{found.score:.4f}", gain, str(boundary), f"{seconds:.2f}"])
    print(table(rows))


if __name__ == "__main__":
    main()
