"""From the bytes of a request to its rows: JSON, or CSV with a header.

Read next: :mod:`chainrule.serve.column_cells`.
"""

from __future__ import annotations

import csv
import json
from typing import Any

from chainrule.core.errors import did_you_mean
from chainrule.core.wording import counted
from chainrule.data.table import find_duplicate
from chainrule.serve.request_error import RequestError

__all__ = ["rows_of_csv", "rows_of_json"]

_SEPARATORS = ",;\t|"


def _no_constant(name: str) -> Any:
    raise ValueError(f"JSON has no {name}; null is a missing value.")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def rows_of_json(body: bytes, most: int) -> list[Any]:
    """Return the rows of a JSON list, or of the list ``rows`` of an object; at least one.

    Raises RequestError: 400 for what is not JSON, 422 for JSON that is no list of at most `most`
    rows.

    >>> rows_of_json(b'{"rows": [[1, 2]]}', most=10)
    [[1, 2]]
    """
    try:
        found = _DECODER.decode(body.decode("utf-8-sig"))
    except RecursionError:
        raise RequestError(400, "the JSON is nested too deeply.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise RequestError(400, f"the body is not JSON: {error.msg} in {where}.") from None
    except UnicodeDecodeError:
        raise RequestError(400, "the body is not UTF-8 text.") from None
    except ValueError as error:  # NaN, or a whole number with thousands of digits
        told = str(error) if "JSON has no" in str(error) else "a number is too long."
        raise RequestError(400, f"the body is not JSON: {told}") from None
    if isinstance(found, dict):
        if set(found) != {"rows"}:
            near = [name[:100] for name in list(found)[:200]]
            hint = did_you_mean("rows", near).partition(" Choose from")[0] if near else ""
            hint = f" {hint}" if hint.startswith("Did") else ""
            raise RequestError(
                422, f'give a list of rows, or {{"rows": [...]}} and nothing else.{hint}'
            )
        found = found["rows"]
    if not isinstance(found, list):
        raise RequestError(422, 'the rows must be a list, as in {"rows": [...]}.')
    return _counted(found, most)


def rows_of_csv(body: bytes, most: int) -> list[dict[str, str]]:
    r"""Return the rows of CSV text in UTF-8, each by the names of the header.

    The separator is the one of ``, ; tab |`` that is most frequent in the header.  Raises
    RequestError: 400 for what is not text or not CSV, 422 for a header or a row that does not fit.

    >>> rows_of_csv(b"size;color\n1,5;red\n", most=10)
    [{'size': '1,5', 'color': 'red'}]
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RequestError(400, "the body is not UTF-8 text.") from None
    lines = text.splitlines(keepends=True)
    first = lines[0] if lines else ""
    reader = csv.reader(lines, delimiter=max(_SEPARATORS, key=first.count), strict=True)
    records: list[list[str]] = []
    try:
        for record in reader:
            if record:  # an empty line is none
                records.append(record)
            if len(records) > most + 1:
                break
    except csv.Error as error:
        raise RequestError(400, f"line {reader.line_num} is not valid CSV: {error}.") from None
    if not records:
        raise RequestError(422, "the CSV is empty; give a header and rows.")
    names = [name.strip() for name in records[0]]
    twice = find_duplicate(names)
    if twice is not None:
        raise RequestError(422, "two columns have this name; rename one.", column=twice[:100])
    for number, record in enumerate(records[1:], 1):
        if len(record) != len(names):
            told = f"{counted(len(record), 'cell')}, but the header has {len(names)}."
            raise RequestError(422, told, row=number)
    return _counted([dict(zip(names, r, strict=True)) for r in records[1:]], most)


def _counted(rows: list[Any], most: int) -> list[Any]:
    if not rows:
        raise RequestError(422, "there are no rows.")
    if len(rows) > most:
        raise RequestError(422, f"more than {most:,} rows; send them in several requests.")
    return rows
