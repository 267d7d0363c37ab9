"""Turn a script into a page and a Jupyter notebook, with what each of its parts prints and draws.

A script is plain Python.  Its docstring is the title and the introduction.  A paragraph of comments
at the left margin, between blank lines, is Markdown; what lies between such paragraphs is a cell of
code.  The cells run in order, and as in a notebook, the value of a last line that is an expression
is shown.

Run: `python docs/notebooks.py`, which writes the chapters of the tutorial to `build/notebooks`.

Read next: `docs/tutorial/1_one_neuron.py`.
"""

from __future__ import annotations
import __future__

import ast
import json
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted((ROOT / "docs" / "tutorial").glob("[1-9]_*.py"))
NOTEBOOKS = ROOT / "build" / "notebooks"
FLAG = __future__.annotations.compiler_flag


@dataclass
class Cell:
    """A part of a script: prose, or code with the text that it printed and what it showed."""

    kind: str  # "markdown" or "code"
    text: str
    line: int
    printed: str = ""
    shown: Any = None


def cells(script: str) -> list[Cell]:
    """Return the cells of a script, whose docstring is the first: a title and an introduction."""
    title, _, intro = (ast.get_docstring(ast.parse(script)) or "").partition("\n\n")
    intro = re.sub(r"\s*Read next:.*", "", intro, flags=re.DOTALL)
    lines = script.split("\n")
    for node in ast.parse(script).body[:2]:
        if isinstance(node, ast.Expr) or getattr(node, "module", "") == "__future__":
            assert node.end_lineno
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    script = "\n".join(lines)
    found = [Cell("markdown", f"# {title.rstrip('.')}\n\n{intro}".rstrip(), 1)]
    for match in re.finditer(r"(?:.+\n)+", script):
        text, line = match[0].rstrip("\n"), script.count("\n", 0, match.start()) + 1
        kind = "markdown" if all(row.startswith("#") for row in text.split("\n")) else "code"
        if kind == "markdown":
            text = re.sub(r"(?m)^# ?", "", text)
        if found and found[-1].kind == kind:
            gap = 2 if kind == "markdown" else line - found[-1].line - found[-1].text.count("\n")
            found[-1].text += "\n" * gap + text
        else:
            found.append(Cell(kind, text, line))
    return found


def run(script: Path) -> list[Cell]:
    """Run the cells of `script` in order and return them with what they printed and showed."""
    module = ModuleType(f"chapter_{script.stem}")
    module.__file__ = str(script)
    sys.modules[module.__name__] = module  # where dataclasses look up their annotations
    found = cells(script.read_text("utf-8"))
    for cell in found:
        if cell.kind == "code":
            with redirect_stdout(StringIO()) as printed:
                cell.shown = _execute(cell, str(script), vars(module))
            cell.printed = printed.getvalue()
            cell.text = re.sub(r"  # fmt: skip$", "", cell.text, flags=re.MULTILINE)
    return found


def _execute(cell: Cell, name: str, space: dict[str, Any]) -> Any:
    """Execute the code of a cell; return the value of its last line, or None."""
    tree = ast.increment_lineno(ast.parse(cell.text), cell.line - 1)
    last = tree.body[-1]
    if not isinstance(last, ast.Expr):
        exec(compile(tree, name, "exec", FLAG, True), space)
        return None
    first = ast.Module(tree.body[:-1], [])
    exec(compile(first, name, "exec", FLAG, True), space)
    return eval(compile(ast.Expression(last.value), name, "eval", FLAG, True), space)


def shown(value: Any) -> Iterator[tuple[str, str]]:
    """Yield what a notebook shows of a value: a media type and its content."""
    html = value._repr_html_() if hasattr(value, "_repr_html_") else None
    if html:
        yield "text/html", html
    if value is not None:
        yield "text/plain", repr(value)


def page(found: list[Cell]) -> str:
    """Return cells as a page for Sphinx, in Markdown."""
    parts = []
    for cell in found:
        if cell.kind == "markdown":
            parts.append(cell.text)
            continue
        parts.append(f"```python\n{cell.text}\n```")
        if cell.printed.strip():
            parts.append(f"```{{code-block}} none\n:class: printed\n\n{cell.printed.rstrip()}\n```")
        for kind, content in list(shown(cell.shown))[:1]:
            if kind == "text/html":
                parts.append(f'````{{raw}} html\n<div class="shown">{content}</div>\n````')
            else:
                parts.append(f"```{{code-block}} none\n:class: printed\n\n{content}\n```")
    return "\n\n".join(parts) + "\n"


def notebook(found: list[Cell]) -> str:
    """Return cells as a Jupyter notebook, format 4.5."""
    entries: list[dict[str, Any]] = []
    for i, cell in enumerate(found):
        entry: dict[str, Any] = {
            "cell_type": cell.kind, "id": f"cell-{i}", "metadata": {},
            "source": cell.text.splitlines(keepends=True),
        }  # fmt: skip
        if cell.kind == "code":
            outputs: list[dict[str, Any]] = []
            if cell.printed:
                outputs.append({"output_type": "stream", "name": "stdout", "text": cell.printed})
            if data := dict(shown(cell.shown)):
                result = {"execution_count": i + 1, "data": data, "metadata": {}}
                outputs.append({"output_type": "execute_result", **result})
            entry |= {"execution_count": i + 1, "outputs": outputs}
        entries.append(entry)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    book = {"nbformat": 4, "nbformat_minor": 5, "metadata": about, "cells": entries}
    return json.dumps(book, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    NOTEBOOKS.mkdir(parents=True, exist_ok=True)
    for chapter in CHAPTERS:
        file = NOTEBOOKS / f"{chapter.stem}.ipynb"
        file.write_text(notebook(run(chapter)), "utf-8")
        print(f"wrote {file.relative_to(ROOT)}")
