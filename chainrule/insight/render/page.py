"""Self-contained HTML pages of a title and sections.

Style and script are inline, and a content security policy forbids every request, so a page opens
from disk or from an attachment.  Colors are CSS variables set in ``page.css`` for light mode, dark
mode and print; charts and drawings use them by name.

Read next: :mod:`chainrule.insight.render.chart`, the charts of the sections.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from chainrule.core.durable import write_file

__all__ = ["Shown", "embed", "escape", "page", "read_asset", "standalone", "write"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


@cache
def read_asset(name: str) -> str:
    """Return the text of a style or script by its path in this package, as ``render/page.css``."""
    return (Path(__file__).parents[1] / name).read_text("utf-8")


class Shown:
    """Base class of results with an HTML page: :meth:`html`, :meth:`save`, and in a notebook."""

    def html(self) -> str:
        """Return the result as a self-contained HTML page."""
        raise NotImplementedError

    def save(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """Write the page of :meth:`html` with `options` to `path` and return the path.

        Raises RunError if it can't be written.
        """
        return write(path, self.html(**options))

    def _repr_html_(self) -> str | None:
        return f"<pre>{escape(str(self))}</pre>"


def write(path: str | os.PathLike[str], text: str) -> Path:
    """Write `text` to the file `path` and return the path; RunError if it can't be written."""
    target = Path(path)
    write_file(target, text.encode())
    return target


def page(
    title: str,
    sections: Iterable[tuple[str, str]],
    script: str = "",
    style: str = "",
    intro: str = "",
    allow: str = "",
) -> str:
    """Return an HTML document of `sections`, pairs of a heading and its body as HTML.

    The title and the headings are text and are escaped; `intro`, under the title, and the bodies
    are HTML, in which the caller must escape text.  A heading may be empty.  The ids of sections
    are ``s1``, ``s2``, ... in order.  `allow` adds to the policy, as
    ``connect-src 'self'`` does for a page that asks the server it came from.

    >>> "<h2>a &lt; b</h2>" in page("Two", [("a < b", "<p>yes</p>")])
    True
    """
    body = "".join(
        f'<section id="s{i}">{f"<h2>{escape(heading)}</h2>" if heading else ""}{html}</section>\n'
        for i, (heading, html) in enumerate(sections, 1)
    )
    policy = f"{_POLICY}; {allow}" if allow else _POLICY
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n"
        f"<style>\n{read_asset('render/page.css')}{read_asset('render/document.css')}{style}</style>\n"
        f"</head>\n<body>\n<h1>{escape(title)}</h1>\n{intro}\n<main>\n{body}</main>\n"
        + (f"<script>\n{script}\n</script>\n" if script else "")
        + "</body>\n</html>\n"
    )


def embed(name: str, data: Any) -> str:
    """Return `data` as JSON in an element with the id `name`, for a script to parse.

    Raises ValueError for numbers that JSON lacks (nan, infinity); replace them before.

    >>> embed("walk", {"a": 1})
    '<script type="application/json" id="walk">{"a":1}</script>'
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{escape(name)}">{text}</script>'


def standalone(svg: str, style: str = "") -> str:
    """Return an ``<svg>`` of this package as an SVG file, with the colors and `style` inline."""
    head, closing, rest = svg.partition(">")
    style = (
        f"<style>{read_asset('render/page.css')}{style}svg {{ background: var(--paper); }}</style>"
    )
    return f"{head}{closing}{style}{rest}\n"
