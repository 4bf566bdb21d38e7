"""A page of what is in a data set: classes, sizes, colours, and which classes are seen together."""

from __future__ import annotations

from html import escape

import numpy as np

from imago.core.text import plural
from imago.data.dataset import Dataset
from imago.data.stats import DatasetStats
from imago.draw.charts import bar_chart, heat_table
from imago.draw.html import class_table, page, section

MOST = 40  # classes in charts and in the table of those that are seen together
SIZES = (0.0001, 0.001, 0.01, 0.05, 0.2, 0.5, 1.0)  # shares of the photo, up to which objects are counted


def render_stats(dataset: Dataset, stats: DatasetStats) -> str:
    """HTML."""
    title = f"{dataset.root.resolve().name}: {dataset.format}"
    splits = ", ".join(f"{split} {len(members)}" for split, members in dataset.splits.items())
    head = (
        f"<h1>{escape(title)}</h1><p>{escape(splits)}; {plural(int(stats.shown.any(axis=0).sum()), 'class')} seen.</p>"
    )
    charts = [_photo_sizes(stats), _object_sizes(stats), _brightness(stats)]
    found = np.flatnonzero(stats.shown.any(axis=0))[:MOST]
    names = [dataset.labels.names[value] for value in found]
    together = heat_table(stats.together[np.ix_(found, found)], names, "row / column")
    faults = "".join(f"<li>{escape(line)}</li>" for line in stats.faults[:MOST])
    return page(
        title,
        [
            head,
            section("Classes", _classes(dataset, stats)),
            section("Sizes and light", f'<div class="charts">{"".join(charts)}</div>'),
            section(
                "Seen together",
                "<p>Of the photos that show the class of the row, how many (%) show that of the column.</p>"
                f'<div class="wide">{together}</div>',
                len(found) > 1,
            ),
            section(f"Not read: {plural(len(stats.faults), 'photo')}", f"<ul>{faults}</ul>", bool(stats.faults)),
        ],
    )


def _classes(dataset: Dataset, stats: DatasetStats) -> str:
    """A row a class: photos, objects, share of the pixels, median object, mean colour."""
    rows = []
    for value, name in enumerate(dataset.labels.names):
        if stats.objects.any() and value == dataset.labels.background:
            continue
        shares = stats.shares[stats.classes == value]
        color = stats.class_colors[value]
        swatch = "–"
        if np.isfinite(color).all():
            red, green, blue = (round(float(part)) for part in color)
            swatch = f'<i style="display:inline-block;width:40px;height:14px;background:rgb({red},{green},{blue})"></i>'
        cells = [f"{int(stats.shown[:, value].sum())}", f"{int(stats.objects[value])}" if stats.objects.any() else "–"]
        cells += [f"{stats.pixels[value]:.2%}", f"{np.median(shares):.2%}" if shares.size else "–", swatch]
        rows.append((dataset.labels.colors[value], name, cells))
    return class_table(["class", "photos", "objects", "of the pixels", "median object", "mean colour"], rows)


def _photo_sizes(stats: DatasetStats) -> str:
    sizes, counts = np.unique(stats.sizes_hw, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    bars = {f"{sizes[k][0]} x {sizes[k][1]}": float(counts[k]) for k in order[:7]}
    if len(order) > 7:
        bars[f"{len(order) - 7} others"] = float(counts[order[7:]].sum())
    return bar_chart(bars, "Photos by size (height x width)", {name: f"{count:.0f}" for name, count in bars.items()})


def _object_sizes(stats: DatasetStats) -> str:
    if not stats.shares.size:
        return ""
    bars, low = {}, 0.0
    for high in SIZES:
        bars[f"up to {high:.2%}"] = float(((stats.shares > low) & (stats.shares <= high)).sum())
        low = high
    return bar_chart(bars, "Objects by share of the photo", {name: f"{count:.0f}" for name, count in bars.items()})


def _brightness(stats: DatasetStats) -> str:
    counts, ends = np.histogram(stats.colors.mean(axis=1), bins=8, range=(0, 256))
    bars = {f"{ends[k]:.0f} to {ends[k + 1] - 1:.0f}": float(count) for k, count in enumerate(counts)}
    return bar_chart(bars, "Photos by mean brightness", {name: f"{count:.0f}" for name, count in bars.items()})
