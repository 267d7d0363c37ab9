"""The page at ``/``: a form made from the columns, to try the service by hand.

Read next: ``form.js``, which sends what is filled in and shows the answer.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

from chainrule.insight.render.page import page
from chainrule.serve.column_cells import ColumnCells
from chainrule.serve.limits import Limits
from chainrule.serve.openapi import column_schema, example_of, title_of
from chainrule.serve.predicting import Predicting

__all__ = ["form_page"]

_HERE = Path(__file__).parent
MOST_FIELDS = 200  # columns; of wider tables, rows are written as JSON or CSV alone
MOST_CHOICES = 1000


def form_page(ready: Predicting, limits: Limits) -> str:
    """Return the page, which asks the service that it comes from, and nothing else."""
    columns = ready.columns if len(ready.columns) <= MOST_FIELDS else []
    fields = "".join(_field(i, cells) for i, cells in enumerate(columns))
    sections = []
    if columns:
        sections.append((
            "One row",
            f'<form id="one"><div class="fields">{fields}</div>'
            '<p><button>Predict</button></p></form>',
        ))  # fmt: skip
    if ready.columns:
        example = json.dumps([example_of(ready)], indent=1)
        forms = "JSON, or CSV with a header"
    else:
        example = json.dumps({"rows": [example_of(ready)]})
        forms = "JSON"
    sections.append((
        "Several rows" if columns else "Rows",
        f'<form id="many"><p><label for="rows">{forms}; at most {limits.rows:,} rows</label></p>'
        f'<textarea id="rows" rows="8" spellcheck="false">{escape(example)}</textarea>'
        "<p><button>Predict</button></p></form>",
    ))  # fmt: skip
    answer = '<div id="answer" aria-live="polite"><p class="faint">None yet.</p></div>'
    sections.insert(1, ("Answer", answer))
    sections.append(("From a program", _PROGRAM))
    style, script = ((_HERE / f"form.{kind}").read_text("utf-8") for kind in ("css", "js"))
    return page(title_of(ready), sections, script, style, allow="connect-src 'self'")


_PROGRAM = """<p>Send rows to <code>/predict</code> by POST; <a href="openapi.json">openapi.json</a>
describes what goes in and what comes out.</p>
<pre id="call"></pre>
<noscript><p class="warn">The form needs JavaScript.</p></noscript>
"""


def _field(place: int, cells: ColumnCells) -> str:
    """Return a labelled input: a choice of few words, or text."""
    name, own = f"c{place}", escape(cells.name)
    hint = escape(str(column_schema(cells).get("description", "")))
    data = f'id="{name}" data-column="{own}" data-kind="{cells.kind}"'
    words = cells.encoder.levels
    if words and not cells.takes_others and len(words) <= MOST_CHOICES:
        choices = ['<option value="">missing</option>']
        choices += [
            f'<option value="{escape(word)}"{" selected" if word == cells.usual else ""}>'
            f"{escape(word)}</option>"  # without a value, a browser joins the lines of a word
            for word in words
        ]
        control = f"<select {data}>{''.join(choices)}</select>"
    else:
        value = cells.usual
        shown = f"{value:.6g}" if isinstance(value, float) else str(value)
        mode = ' inputmode="decimal"' if cells.kind == "number" else ""
        known = ""
        if words:
            options = "".join(f"<option>{escape(word)}</option>" for word in words[:MOST_CHOICES])
            known = f'<datalist id="{name}-known">{options}</datalist>'
            mode = f' list="{name}-known"'
        control = f'<input {data} value="{escape(shown)}"{mode} autocomplete="off">{known}'
    told = f'<small class="faint">{hint}</small>' if hint else ""
    return f'<p><label for="{name}">{own}</label>{control}{told}</p>'
