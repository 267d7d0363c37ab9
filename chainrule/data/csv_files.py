"""CSV files as views of DuckDB: the separator, the header, and each column's type from all rows.

DuckDB's own detection is not used, because it may read ragged rows as one column, skip leading
lines, or infer a type from a sample.

Read next: :mod:`chainrule.data.read`.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chainrule.core.errors import DataError
from chainrule.core.wording import counted
from chainrule.data.decode import Opening, as_utf8, from_latin
from chainrule.data.duck import execute, file_literal, literal, quote, suffixes
from chainrule.data.parse import MISSING, parse_number
from chainrule.data.table import find_duplicate

__all__ = ["AS_TEXT", "create_csv_view"]

AS_TEXT = "{} as text"
"""The name of the view with the same cells, all as text."""

_CASES = (str, str.upper, str.capitalize)
_MISSING_SQL = ", ".join(
    f"'{token}'" for token in sorted({f(t) for t in (*MISSING, "NaN") for f in _CASES})
)
_OF_TYPE = {  # null unless a cell is of the type; the first type that fits every cell is taken
    "DOUBLE": "TRY_CAST({0} AS DOUBLE)",
    "TIMESTAMP": "TRY_CAST({0} AS TIMESTAMP)",
    "BOOLEAN": "nullif(lower(trim({0})) IN ('true', 'false'), false)",
}
_NUMBER_OR_CODE = "CASE WHEN NOT regexp_full_match(trim({0}), '0[0-9]+') THEN %s END"
_FIRST_ROWS = 200  # which rule out most types, at little cost
_LOOKED_AT = 40  # lines in which the header is looked for
_SEPARATORS = ",;\t|"


def create_csv_view(
    db: Any,
    view: str,
    path: Path,
    opening: Opening,
    stored: Path | None = None,
    likely: bool = False,
) -> None:
    """Create the view `view` of the file `path`, and one of its cells as text.

    `stored` is the CSV file that holds the rows of an Excel file.  With `likely`, the types may be
    those of the first rows: they are the right ones if all rows of the view can be read and no
    number or date column is empty.
    """
    source = stored or (path if suffixes(path)[1] == ".zst" else as_utf8(path, opening))
    noted = len(opening.notes)
    try:
        _create_views(db, view, path, source, opening, likely)
    except DataError as error:
        packed = suffixes(path)[1] == ".zst" or stored is not None
        latin = None if packed or "not UTF-8" not in str(error) else from_latin(source, opening)
        if latin is None:
            raise
        told = opening.notes[noted:]
        del opening.notes[noted:]
        _create_views(db, view, path, latin, opening, likely)
        opening.notes[noted:noted] = told[-1:]


def _create_views(
    db: Any, view: str, path: Path, source: Path, opening: Opening, likely: bool
) -> None:
    where = str(path)
    lines = (
        f"read_csv({file_literal(source)}, columns={{'line': 'VARCHAR'}}, auto_detect=false, "
        "header=false, hive_partitioning=false, "
        "delim='\x01', quote='', escape='', strict_mode=false)"
    )
    names, separator, skip = _read_header(db, lines, path, opening)
    fields = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
    cells = (
        f"read_csv({file_literal(source)}, columns={{{fields}}}, auto_detect=false, header=true, "
        f"hive_partitioning=false, skip={skip}, "
        f"delim={literal(separator)}, quote='\"', escape='\"', strict_mode=true, "
        f"null_padding=false, ignore_errors=false, nullstr=[{_MISSING_SQL}])"
    )
    # One pass over whole lines finds out whether any cell may be a code such as 007;
    # checking every cell would make a wide file of numbers ten times slower.
    code = literal(f'(^|["{separator}]) *0[0-9]')
    asked = f"SELECT count(*) FROM {lines} WHERE regexp_matches(line, {code})"
    may_have_codes = bool(execute(db, asked, where).fetchone()[0])
    try:
        types = _column_types(db, cells, names, may_have_codes, where, skip, likely)
    except DataError:
        if not _has_both_line_ends(source, path, separator):
            raise
        cells = cells.replace("strict_mode=true", "strict_mode=false")  # refuses such files
        types = _column_types(db, cells, names, may_have_codes, where, skip)
    casts = [f"trim({quote(name)}) AS {quote(name)}" for name in names]
    texts = ", ".join(casts)
    for i, name in enumerate(names):
        if name in types:
            cell = f"trim({quote(name)})" if types[name] == "BOOLEAN" else quote(name)
            casts[i] = f"CAST({cell} AS {types[name]}) AS {quote(name)}"
    for name, selected in ((view, ", ".join(casts)), (AS_TEXT.format(view), texts)):
        sql = f"CREATE OR REPLACE TEMP VIEW {quote(name)} AS SELECT {selected} FROM {cells}"
        execute(db, sql, where)


def _has_both_line_ends(source: Path, path: Path, separator: str) -> bool:
    """Whether some lines of a CSV file end in CRLF and others in LF alone.

    Raises DataError where such a file has a quote that is not closed, or text behind a closed one.
    """
    if suffixes(source)[1]:
        return False  # packed by a program, which writes one kind
    ends = [False, False]
    with source.open("rb") as file:
        before = b""
        while not all(ends) and (block := file.read(2**20)):
            crlf = block.count(b"\r\n") + (before == b"\r" and block[:1] == b"\n")
            ends[0] |= crlf > 0
            ends[1] |= block.count(b"\n") > crlf
            before = block[-1:]
    if not all(ends):
        return False
    with source.open(newline="", encoding="utf-8", errors="replace") as text:
        reader = csv.reader(text, delimiter=separator, strict=True)
        try:
            for _ in reader:
                pass
        except csv.Error as error:
            raise DataError(
                f"{path}: line {reader.line_num} is not valid CSV: {error}. Quote a cell as a "
                'whole, and double a quote inside it ("").'
            ) from None
    return True


def _read_header(db: Any, lines: str, path: Path, opening: Opening) -> tuple[list[str], str, int]:
    """Return the column names, the separator, and the number of lines above the header."""
    looked = _LOOKED_AT + (opening.skip or 0)
    first = execute(db, f"SELECT line FROM {lines} LIMIT {looked}", str(path)).fetchall()
    records = [row[0] or "" for row in first]
    if not any(record.strip() for record in records):
        raise DataError(f"{path} is empty.")
    skip = _lines_above(records) if opening.skip is None else opening.skip
    if skip >= len(records):
        raise DataError(f"{path} has {counted(len(records), 'line')}, so {skip} can't be skipped.")
    if skip and opening.skip is None:
        shown = next((record.strip() for record in records[:skip] if record.strip()), "")
        opening.notes.append(
            f"left out {counted(skip, 'line')} above the header, beginning {shown[:40]!r}; "
            f"--skip N leaves out the first N lines"
        )
    records = records[skip:]
    if opening.skip is not None and not records[0].strip():
        raise DataError(
            f"{path}: with {counted(skip, 'line')} skipped, line {skip + 1} is the header, but it "
            "is empty; skip another number of lines."
        )
    bare = re.sub(r'"[^"]*"', "", "\n".join(records)).splitlines() or [""]
    separator = max(_SEPARATORS, key=bare[0].count) if set(bare[0]) & set(_SEPARATORS) else ","
    header = next(csv.reader((record + "\n" for record in records), delimiter=separator))
    names = [name.strip() or f"column{i + 1}" for i, name in enumerate(header)]
    _check_header(names, path)
    return names, separator, skip


def _lines_above(records: Sequence[str]) -> int:
    """Return how many of the first lines are titles or comments above the header.

    They have at most one cell (of wide tables two), where the header and nearly all lines below
    have more, and the header holds different words.
    """
    body = records[len(records) // 2 :]
    counts = {
        separator: Counter(len(_cells(record, separator)) for record in body).most_common(1)[0]
        for separator in _SEPARATORS
    }
    separator = max(_SEPARATORS, key=lambda s: (counts[s][0] > 1, counts[s][1], counts[s][0]))
    width, share = counts[separator]
    if width < 2 or share < 0.8 * len(body):
        return 0
    for i, record in enumerate(records):
        if re.match("# |##|#$", record):
            continue
        if record.count('"') % 2:
            return 0  # a cell of several lines
        cells = [cell.strip() for cell in _cells(record, separator)]
        filled = [cell for cell in cells if cell]
        if len(cells) == width and len(filled) >= max(2, 0.6 * width):
            words = all(parse_number(cell) is None for cell in filled)
            return i if words and len(set(filled)) == len(filled) else 0
        if len(filled) > (2 if width >= 4 else 1):
            return 0
    return 0


def _cells(record: str, separator: str) -> list[str]:
    return next(csv.reader([record], delimiter=separator), [])


def _check_header(names: list[str], path: Path) -> None:
    twice = find_duplicate([name.lower() for name in names])
    if twice is not None:
        name = next(name for name in names if name.lower() == twice)
        if parse_number(name) is not None:
            raise _headless(name, path)
        raise DataError(
            f"{path}: two columns are named {name!r}; rename one (letter case does not count)."
        )
    for name in names:
        if "\0" in name:
            raise DataError(f"{path}: the name of column {name!r} contains a NUL byte; remove it.")
        number = parse_number(name)
        if number is not None and not number.is_integer():
            raise _headless(name, path)


def _headless(name: str, path: Path) -> DataError:
    return DataError(
        f"{path}: the first line looks like data ({name!r}), not like column names. "
        "Add a line of column names at the top."
    )


def _column_types(
    db: Any,
    cells: str,
    names: Sequence[str],
    may_have_codes: bool,
    where: str,
    skip: int,
    of_first: bool = False,
) -> dict[str, str]:
    """Return the SQL type of each column that is not text, inferred from all of its cells.

    With `of_first`, it is inferred from the first rows where a cast fails on any other cell.
    The rules are those of `chainrule.data.parse.parse_text`, which parses the columns left as text.
    """
    tests = dict(_OF_TYPE)
    if may_have_codes:
        tests["DOUBLE"] = _NUMBER_OR_CODE % tests["DOUBLE"]

    counts = ", ".join(f"count({test.format('cell')})" for test in tests.values())
    first = f"SELECT * FROM {cells} LIMIT {_FIRST_ROWS}"
    long = f"UNPIVOT ({first}) ON COLUMNS(*) INTO NAME name VALUE cell"
    sql = f"SELECT name, count(*), {counts} FROM ({long}) GROUP BY name"
    likely = dict.fromkeys(names, tuple(tests))
    for name, filled, *found in execute(db, sql, where, skip).fetchall():
        likely[name] = tuple(kind for kind, n in zip(tests, found, strict=True) if n == filled)
    firsts = {name: kinds[0] for name, kinds in likely.items() if kinds}
    if of_first and not may_have_codes and "BOOLEAN" not in firsts.values():
        return firsts
    asked = [(name, kind) for name, kinds in likely.items() for kind in kinds]
    questions = ["count(*)", *(f"count({quote(name)})" for name in likely)]
    questions += [f"count({tests[kind].format(quote(name))})" for name, kind in asked]
    total, *numbers = execute(
        db, f"SELECT {', '.join(questions)} FROM {cells}", where, skip
    ).fetchone()
    if total == 0:
        raise DataError(f"{where} has a header but no rows.")
    filled = dict(zip(likely, numbers, strict=False))
    types: dict[str, str] = {}
    for (name, kind), found in zip(asked, numbers[len(likely) :], strict=True):
        if filled[name] and found == filled[name]:
            types.setdefault(name, kind)
    return types
