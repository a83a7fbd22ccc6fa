"""A report as one HTML page without external assets: a chart and a sortable table per model."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby
from string import Template

from paretext_compression import pareto
from paretext_compression.chart import PALETTE
from paretext_compression.report import Cell, caption, columns
from paretext_compression.row import Row

_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Paretext report</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root{color-scheme:light dark;$light}
@media(prefers-color-scheme:dark){:root{$dark}}
body{margin:2rem auto;max-width:1240px;padding:0 1rem;color:var(--ink);background:var(--paper);
 font:15px/1.5 system-ui,sans-serif}
svg{display:block;max-width:960px;width:100%;height:auto;margin:0 auto 1.5rem}
div{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;vertical-align:top;padding:.4rem .5rem;border-bottom:1px solid var(--grid)}
small{display:block;color:var(--muted);font-weight:400;white-space:nowrap}
td:first-child,th{white-space:nowrap}
button{all:unset;cursor:pointer}
button:focus-visible{outline:2px solid var(--accent)}
th[aria-sort=ascending] button::after{content:" ↑"}
th[aria-sort=descending] button::after{content:" ↓"}
p{color:var(--muted)}
</style></head><body>
<h1>Paretext report</h1>
$body
<script>
for (const button of document.querySelectorAll("th button")) button.onclick = () => {
  const head = button.closest("th"), body = head.closest("table").tBodies[0];
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = row => row.cells[head.cellIndex].dataset.key;
  const order = (a, b) => a !== "" && b !== "" && !isNaN(a) && !isNaN(b) ? a - b
    : a.localeCompare(b);
  // What was not measured stays last, whichever way the others go.
  body.append(...[...body.rows].sort((a, b) => (key(a) === "") - (key(b) === "")
    || (down ? -1 : 1) * order(key(a), key(b))));
};
</script></body></html>
""")


def html(shown: Sequence[Row]) -> str:
    """One page, without external assets: a chart and a sortable table for each model.

    Its colours follow the reader's choice of light or dark.
    """
    parts = []
    for model, group in groupby(shown, key=lambda row: row.manifest.model):
        of_model = list(group)
        chart = pareto.svg(of_model)
        used = columns(of_model, full=True)
        head = "".join(
            f"<th><button>{escape(column.heading)}</button><small>{escape(column.below)}</small>"
            for column in used
        )
        body = "\n".join(
            f"<tr>{''.join(_html_cell(column.cell(row)) for column in used)}" for row in of_model
        )
        parts.append(
            f"<h2>{escape(model)}</h2>\n{chart}\n<div><table><thead><tr>{head}</thead>\n"
            f"<tbody>{body}</tbody></table></div><p>{escape(caption(of_model))}</p>"
        )
    light, dark = (
        ";".join(f"--{role}:{pair[side]}" for role, pair in PALETTE.items()) for side in (0, 1)
    )
    return _PAGE.substitute(light=light, dark=dark, body="\n".join(parts))


def _html_cell(cell: Cell) -> str:
    shown, below, key = cell
    small = f"<small>{escape(below)}</small>" if below else ""
    return f'<td data-key="{escape("" if key is None else str(key))}">{escape(shown)}{small}</td>'
