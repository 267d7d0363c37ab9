"""One HTML file that needs nothing else: a title and sections go in, the whole text comes out.

Style and script are inside, and a content policy in the head forbids every request, so the page
opens from disk, from an attachment, and years later.  Colors are variables, set in one place
(``page.css``) for light, dark and paper; charts and drawings use them by name.

Read next: :mod:`chainrule.insight.render.chart`, what fills the sections.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from chainrule.core.errors import RunError

__all__ = ["Shown", "embed", "escape", "page", "read_asset", "standalone", "write"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


@cache
def read_asset(name: str) -> str:
    """Return the text of a style or script by its place in this package, as ``render/page.css``."""
    return (Path(__file__).parents[1] / name).read_text("utf-8")


class Shown:
    """What shows itself: as text by ``print``, as a page by :meth:`html`, in a notebook."""

    def html(self) -> str:
        """Return the page, one file that loads nothing."""
        raise NotImplementedError

    def save(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """Write the page of :meth:`html`, with its options, to `path` and return the path.

        Raises RunError if it can't be written.
        """
        return write(path, self.html(**options))

    def _repr_html_(self) -> str | None:
        return f"<pre>{escape(str(self))}</pre>"


def write(path: str | os.PathLike[str], text: str) -> Path:
    """Write `text` to the file `path` and return it; RunError if it can't be written."""
    target = Path(path)
    try:
        target.write_text(text, "utf-8")
    except OSError as error:
        raise RunError(f"can't write {str(target)!r}: {error.strerror}.") from error
    return target


def page(
    title: str,
    sections: Iterable[tuple[str, str]],
    script: str = "",
    style: str = "",
    intro: str = "",
) -> str:
    """Return an HTML document of `sections`, pairs of a heading and its body as HTML.

    The title and the headings are text and are escaped here; `intro`, under the title, and the
    bodies are HTML, whose text the caller escapes.  A heading may be empty.  Ids of sections are
    ``s1``, ``s2``, ... in order.

    >>> "<h2>a &lt; b</h2>" in page("Two", [("a < b", "<p>yes</p>")])
    True
    """
    body = "".join(
        f'<section id="s{i}">{f"<h2>{escape(heading)}</h2>" if heading else ""}{html}</section>\n'
        for i, (heading, html) in enumerate(sections, 1)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n"
        f"<style>\n{read_asset('render/page.css')}{read_asset('render/document.css')}{style}</style>\n"
        f"</head>\n<body>\n<h1>{escape(title)}</h1>\n{intro}\n<main>\n{body}</main>\n"
        + (f"<script>\n{script}\n</script>\n" if script else "")
        + "</body>\n</html>\n"
    )


def embed(name: str, data: Any) -> str:
    """Return `data` as JSON in an element called `name`, whose text a script gives to JSON.parse.

    Raises ValueError for numbers JSON lacks (nan, infinity): say them in words first.

    >>> embed("walk", {"a": 1})
    '<script type="application/json" id="walk">{"a":1}</script>'
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{escape(name)}">{text}</script>'


def standalone(svg: str, style: str = "") -> str:
    """Return an ``<svg>`` of this package as a file of its own, the colors and `style` inside."""
    head, closing, rest = svg.partition(">")
    style = (
        f"<style>{read_asset('render/page.css')}{style}svg {{ background: var(--paper); }}</style>"
    )
    return f"{head}{closing}{style}{rest}\n"
