"""Pages of one file: HTML with everything in it, for a light or a dark screen, without scripts."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from html import escape

import cv2
import numpy as np
from PIL import Image

JPEG_QUALITY = 82


def page(title: str, sections: Iterable[str]) -> str:
    """The whole file. ``sections`` are HTML; ``title`` is escaped."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def section(title: str, body: str, shown: bool = True) -> str:
    return f"\n<section><h2>{escape(title)}</h2>{body}</section>" if shown else ""


def data_address(pixels: np.ndarray) -> str:
    """An image, uint8 (H, W, 3) or (H, W), as a JPEG inside an address."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head_cells = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head_cells}</tr></thead><tbody>{lines}</tbody></table></div>'


def class_table(head: Sequence[str], rows: Iterable[tuple[tuple[int, int, int], str, Sequence[str]]]) -> str:
    """A row a class: its colour (RGB), its name, cells of HTML."""
    head_cells = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = "".join(
        f'<tr><th scope="row"><i style="background:rgb{color}"></i>{escape(name)}</th>'
        f"{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        for color, name, cells in rows
    )
    return f'<div class="wide"><table><thead><tr>{head_cells}</tr></thead><tbody>{lines}</tbody></table></div>'


def shrink_photo(image: np.ndarray, longest_px: int) -> np.ndarray:
    """uint8 (H, W, 3) or grey (H, W) -> uint8 (h, w, 3), the longest side at most ``longest_px``."""
    height, width = image.shape[:2]
    ratio = min(1.0, longest_px / max(height, width))
    size_wh = max(1, round(width * ratio)), max(1, round(height * ratio))
    small = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
    return small if small.ndim == 3 else cv2.cvtColor(small, cv2.COLOR_GRAY2RGB)


def bar(share: float) -> str:
    return f'<u><s style="width:{share * 100:.1f}%"></s></u>' if math.isfinite(share) else ""


def format_number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "–"


_STYLE = """
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1c2128;--faint:#68717e;--rule:#e2e5ea;--mark:#2563eb}
@media (prefers-color-scheme:dark){
:root{--page:#14161a;--card:#1d2026;--ink:#e6e8ec;--faint:#98a1ae;--rule:#323740;--mark:#5b8df5}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1120px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:26px;margin:0 0 14px;overflow-wrap:anywhere}h2{font-size:17px;margin:0 0 12px}
section{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:18px 20px;margin-top:18px}
small,figcaption,p{color:var(--faint)}p{margin:0 0 10px}ul{margin:0;padding-left:20px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:12px}
.tiles div{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:12px 16px}
.tiles b{display:block;font-size:28px;line-height:1.25;font-variant-numeric:tabular-nums}
.tiles small{display:block}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(320px,100%),1fr));gap:18px}
.charts svg{width:100%;height:auto;display:block}
.one{max-width:620px}.one svg{width:100%;height:auto;display:block}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:5px 12px;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
th:first-child{text-align:left;padding-left:0}tbody th{font-weight:500}
thead th{color:var(--faint);font-weight:500;font-size:13px;white-space:normal;vertical-align:bottom}
td:nth-child(2):last-child{white-space:normal}
.names td{white-space:normal;overflow-wrap:anywhere}
th i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:8px;vertical-align:-1px;
border:1px solid var(--rule)}
td u{display:block;height:3px;min-width:80px;background:var(--rule);border-radius:2px;text-decoration:none}
td s{display:block;height:3px;background:var(--mark);border-radius:2px}
table.heat td{text-align:center;padding:5px 8px;min-width:34px;border:1px solid var(--card);
background:var(--page)}
table.heat thead th{vertical-align:bottom;padding:5px 4px;text-align:center}
table.heat thead th:first-child{text-align:left}
table.heat thead span{writing-mode:vertical-rl;transform:rotate(180deg);display:inline-block}
.examples{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(500px,100%),1fr));gap:20px}
.keys{display:flex;flex-wrap:wrap;gap:4px 16px;margin-bottom:10px}
.keys i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px;vertical-align:-1px}
.rows{display:grid;grid-template-columns:minmax(0,1fr);gap:18px}.row{display:flex;gap:6px;overflow-x:auto;align-items:start}
.row div{flex:none}.row img{display:block;border-radius:5px;max-width:260px;height:auto}
figure{margin:0}.trio{display:grid;grid-template-columns:repeat(3,1fr);gap:6px}
.trio img{width:100%;height:auto;display:block;border-radius:5px}
figcaption{margin-top:4px;overflow-wrap:anywhere}figcaption b{color:var(--ink)}
"""
