"""Rewrite DuckDB's error messages in terms of the table, with what to do.

The original messages are about DuckDB's internals and options.

Read next: :mod:`chainrule.data.read`.
"""

from __future__ import annotations

import re
from difflib import get_close_matches

from chainrule.core.errors import DataError

__all__ = ["explain", "reject_bare_file", "reject_near_query"]

_MACHINE = re.compile(r"out of memory|space left|permission", re.IGNORECASE)  # not about the file
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_BARE_FILE = re.compile(
    r"\b(?:from|join)\s+([\w./-]+\.(?:csv|tsv|txt|parquet|json|jsonl|ndjson)(?:\.gz|\.zst)?)\b",
    re.IGNORECASE,
)


def explain(message: str, form: str | None, skip: int = 0) -> str:
    """Return the message on a DuckDB error in a file of the format `form` (None: in a query).

    `skip` is the number of lines left out above the header.
    """
    original = re.search(r"Original Line: (.{1,60})", message)
    shown = f" (it begins {original[1]!r})" if original else ""
    line = re.search(r"CSV Error on Line: (\d+)", message)
    if line:
        row = int(line[1]) - 1 - skip  # DuckDB counts records, the header first
        place = f"row {row}{shown}" if row > 0 else "the header"
        fields = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message)
        if fields:
            found = "1 field" if fields[2] == "1" else f"{fields[2]} fields"
            return (
                f"{place} has {found}, but the header names {fields[1]} columns. "
                "Quote cells that contain the separator, or correct the row."
            )
        if "unterminated quote" in message:
            return f'{place} has a quote (") that is not closed. Double a quote inside a cell ("").'
        if "unicode" in message:
            return f"{place} has bytes that are not UTF-8. Save the file as UTF-8 and try again."
        if "state machine" in message:
            return (
                f"{place} is not valid CSV. Quote a cell as a whole, double a quote "
                'inside it (""), and check that the file is text.'
            )
    first = next((part for part in message.splitlines() if part.strip()), "unknown error").strip()
    if form is not None and not _MACHINE.search(first):
        kind = {".csv": "CSV", ".parquet": "Parquet"}.get(form, "JSON")
        found = re.sub(r"^[A-Z]\w*( \w+)* Error: ", "", first).rstrip(".")
        return f"the file is not valid {kind}: {found}. Check its format, or write it again."
    hint = re.search(r"^(Candidate bindings|Did you mean|LINE \d+).*", message, re.MULTILINE)
    return first + (f" ({hint[0]})" if hint else "")


def reject_bare_file(query: str, where: str) -> None:
    """Raise DataError if `query` names a file without quotes.

    >>> reject_bare_file("select * from t.csv", "the query")
    Traceback (most recent call last):
    chainrule.core.errors.DataError: the query: a file name in SQL needs quotes, as in from 't.csv'.
    """
    bare = _BARE_FILE.search(_LITERAL.sub("''", query))
    if bare:
        raise DataError(f"{where}: a file name in SQL needs quotes, as in from '{bare[1]}'.")


def reject_near_query(source: str) -> None:
    """Raise DataError if `source` is empty, or SQL with a misspelled first word."""
    if not source.strip():
        raise DataError("the source is empty; give a file, SQL, or the name of a data set.")
    first, *rest = source.lower().split()
    near = get_close_matches(first, ("select", "with", "from"), n=1, cutoff=0.6)
    if near and len(rest) >= 2 and {"select", "from"} & set(rest):
        raise DataError(
            f"{source!r} is not a file, and SQL begins with SELECT, WITH or FROM. "
            f"Did you mean {near[0]!r} for {first!r}?"
        )
