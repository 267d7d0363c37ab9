"""Read files and SQL queries into a `Table`, with DuckDB.

Rows keep the order of the file.  How numbers and dates are written is inferred from all columns
of the file, and may be said by the user.

Read next: :mod:`chainrule.data.csv_files`, :mod:`chainrule.data.table`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.core.errors import DataError, did_you_mean
from chainrule.core.other_arrays import is_masked
from chainrule.data.csv_files import AS_TEXT, create_csv_view
from chainrule.data.decode import EXCEL, Opening, from_excel
from chainrule.data.duck import (
    CSV,
    connect,
    execute,
    explained,
    file_literal,
    quote,
    suffixes,
)
from chainrule.data.read_errors import reject_bare_file, reject_near_query
from chainrule.data.table import (
    Column,
    Table,
    column_from_text,
    find_duplicate,
    format_number,
    read_alike,
    reread,
    words_from_text,
)
from chainrule.data.writing import Writing

__all__ = ["StoredTable", "check_source", "fetch", "is_query", "read_table", "store_table"]

_STORE_MEMORY = 2**29  # bytes of memory DuckDB may use to store a table
_ROW_GROUP = 122_880  # rows DuckDB buffers per column and thread while it stores them
_WRITING_ROWS = 10_000  # first rows, which show how a table writes numbers

_MOST_LISTED = 5  # files listed if one is not found

_JSON = (".json", ".jsonl", ".ndjson")
_QUERY = re.compile(r"\s*(select|with|from)\s", re.IGNORECASE)
_TEXT_IN_QUERY = re.compile(
    r"\b(from|join)(\s+)'((?:[^']|'')+\.(?:(?:csv|tsv)(?:\.gz|\.zst)?|xlsx|xls))'", re.IGNORECASE
)
_NUMERIC = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?$|DECIMAL|FLOAT|DOUBLE")
_NESTED = ("STRUCT", "MAP", "UNION", "BLOB")


def is_query(source: str) -> bool:
    """Return whether `source` is an SQL query, not a path.

    >>> is_query("select * from 'a.csv'"), is_query("selection.csv")
    (True, False)
    """
    return bool(_QUERY.match(source))


def read_table(
    source: str | os.PathLike[str],
    query: str | None = None,
    *,
    skip: int | None = None,
    writing: Mapping[str, Writing] | None = None,
) -> Table:
    """Read a CSV, TSV, Excel, Parquet or JSON file, or the rows of an SQL query over such files.

    `source` is a path (text optionally ``.gz`` or ``.zst``), or SQL that begins with
    SELECT, WITH or FROM, as in ``SELECT * FROM 'a.csv' WHERE x > 3``.  If `query` is
    given, `source` is a path that the query reads as the table ``data``.  Rows
    keep the file's order.  In messages, row 1 is the first row after the header.

    Text may be UTF-8, UTF-16 or Latin-1.  `skip` is the number of lines above the header (None:
    titles and comments are found by their look).  `writing` says how columns write numbers and
    dates; for the others it is inferred from the whole file.  The notes of the table tell what
    was found.

    Raises DataError on a file that is missing, empty, of unknown type, neither of these
    encodings, ragged, without rows, or with two columns of the same name; and on invalid SQL.
    """
    if not isinstance(source, (str, os.PathLike)):
        raise DataError(
            f"read_table reads files and SQL, not {type(source).__name__}; for columns in memory "
            "use chainrule.data.Table.from_arrays."
        )
    text, said = os.fspath(source), writing or {}
    check_source(text)
    if is_query(text) and query is not None:
        raise DataError("Give only one query: the source is SQL already.")
    with connect() as db, Opening(skip) as opening:
        if is_query(text):
            table = _run_query(db, text, "the query", opening)
        else:
            _create_view(db, "data", Path(text), opening)
            if query is not None:
                table = _run_query(db, query, f"the query over {text}", opening)
            else:
                table = fetch(db, "data", text)
                if suffixes(Path(text))[0] in (*CSV, *EXCEL):
                    table = _with_text(db, table, said)
        columns = (reread(c, said[c.name]) if c.name in said else c for c in table)
        return replace(table, columns=tuple(columns), notes=tuple(opening.notes))


def _with_text(db: Any, table: Table, said: Mapping[str, Writing]) -> Table:
    """Return the table of a text file with its numbers read as the file as a whole shows.

    1.234 in a column of numbers is 1234 if other columns have commas before decimals.
    """
    shown: dict[str, tuple[str, str]] = {}
    doubtful = []
    spelled = any(c.kind in ("number", "text") and c.text is not None for c in table)
    for column in table:
        if spelled and column.kind == "number" and column.text is None:
            values = column.values[:_WRITING_ROWS]
            values = values[np.isfinite(values)]
            values = values[values != np.floor(values)]
            clear = (np.abs(values) < 1) | (np.abs(values) >= 1000)
            clear |= np.round(values * 1000) != values * 1000
            if clear.any():
                shown.setdefault(".", (column.name, format_number(float(values[clear][0]))))
            elif len(values):
                doubtful.append(column.name)
    words = [c.name for c in table if c.kind == "number" and c.text is None and c.name in said]
    words += [name for name in doubtful if name not in words]
    if not words:
        return replace(table, columns=read_alike(table.columns, shown, said))
    texts = fetch(db, AS_TEXT.format("data"), table.source, words, words)
    columns = [texts[column.name] if column.name in words else column for column in table]
    read = read_alike(columns, shown, said)
    kept = (
        found if found.spelling or found.name in said or found.name not in words else column
        for found, column in zip(read, table, strict=True)
    )
    return replace(table, columns=tuple(kept))


def check_source(source: str) -> None:
    """Raise DataError unless `source` is SQL or a file that can be read."""
    try:
        source.encode()
    except UnicodeEncodeError:  # neither DuckDB nor TOML accepts such a name
        shown = source.encode(errors="replace").decode()
        raise DataError(f"the name {shown!r} is not UTF-8 text; rename the file.") from None
    if not is_query(source):
        if not os.path.exists(source):
            reject_near_query(source)
        _check_path(Path(source))


class StoredTable:
    """A table stored on disk, from which a few rows at a time are read as a `Table`."""

    def __init__(self, db: Any, source: str, notes: tuple[str, ...] = ()):
        self._db, self.source, self.notes = db, source, notes
        described = execute(db, "DESCRIBE stored", source).fetchall()
        self.names = tuple(name for name, *_ in described)
        self._rows = int(execute(db, "SELECT count(*) FROM stored", source).fetchone()[0])
        if self._rows == 0:
            raise DataError(f"{source} has columns but no rows.")

    def __len__(self) -> int:
        return self._rows

    def block(
        self, start: int, stop: int, names: Sequence[str], words: Collection[str] = ()
    ) -> Table:
        """Return the columns `names` of the rows from `start` to before `stop`.

        Text columns in `words` stay text, even if every cell of the block is a number.
        """
        stop = min(stop, len(self))
        condition = f"WHERE rowid >= {start} AND rowid < {stop} ORDER BY rowid"
        table = fetch(self._db, "stored", self.source, names, words, condition)
        return _with_origin(table, np.arange(start, stop))

    def take(self, rows: np.ndarray[Any, Any], names: Sequence[str]) -> Table:
        """Return the columns `names` of `rows`, which must be in ascending order."""
        self._db.register("chosen", {"row": rows})
        condition = "WHERE rowid IN (SELECT row FROM chosen) ORDER BY rowid"
        table = fetch(self._db, "stored", self.source, names, (), condition)
        self._db.unregister("chosen")
        columns = (reread(column, self.writing[column.name]) for column in table)
        return _with_origin(replace(table, columns=tuple(columns)), rows)

    @cached_property
    def writing(self) -> dict[str, Writing]:
        """How each column writes numbers and dates, by its first 10,000 rows."""
        table = self.block(0, _WRITING_ROWS, self.names)
        return {column.name: column.writing for column in read_alike(table.columns)}


def _with_origin(table: Table, rows: np.ndarray[Any, Any]) -> Table:
    return Table(tuple(replace(column, origin=rows) for column in table), table.source)


@contextmanager
def store_table(source: str, folder: Path, skip: int | None = None) -> Iterator[StoredTable]:
    """Copy the rows of a file or query, in order, to a database in `folder`, and yield it.

    Needs half a gigabyte of memory (above 130 columns, 4 MB per column), whatever the number of
    rows.  Raises DataError as `read_table` does, and if the disk is full.
    """
    check_source(source)
    with connect(folder / "table.duckdb") as db, Opening(skip) as opening:
        execute(db, "PRAGMA disable_checkpoint_on_shutdown", source)  # the copy is not kept
        where = "the query" if is_query(source) else source
        # In most CSV files, the types of the first rows are those of all, which saves a pass.
        likely = where == source and suffixes(Path(source))[0] in CSV
        try:
            _store(db, source, where, opening, likely)
        except DataError:
            if not likely:
                raise
            opening.notes.clear()
            _store(db, source, where, opening, likely=False)
        yield StoredTable(db, where, tuple(opening.notes))


def _store(db: Any, source: str, where: str, opening: Opening, likely: bool) -> None:
    """Create the table ``stored``; `likely` is that of `create_csv_view`.

    Raises DataError also if the types of the first rows are not those of all.
    """
    if is_query(source):
        rows = _prepare_query(db, source, where, opening)
    else:
        _create_view(db, "data", Path(source), opening, likely)
        rows = "SELECT * FROM data"
    described = execute(db, f"DESCRIBE {rows}", where).fetchall()
    width = 16 * _ROW_GROUP * len(described)
    threads = int(execute(db, "SELECT current_setting('threads')", where).fetchone()[0])
    memory = max(_STORE_MEMORY, 2 * width)
    execute(db, f"SET memory_limit = '{memory}B'", where)
    execute(db, f"SET threads = {min(threads, memory // 2 // width)}", where)
    execute(db, f"CREATE OR REPLACE TABLE stored AS {rows}", where)
    typed = [f"count({quote(name)})" for name, kind, *_ in described if kind != "VARCHAR"]
    counts = f"SELECT {', '.join(typed)} FROM stored"
    if likely and typed and 0 in execute(db, counts, where).fetchone():
        raise DataError(f"{where}: a column without any cell has no type.")


def _check_path(path: Path) -> None:
    if path.is_dir():
        raise DataError(f"{path} is a directory; give a file in it.")
    if not path.exists():
        folder = path.parent
        if not folder.is_dir():
            raise DataError(f"{path} does not exist: there is no directory {folder}.")
        names = sorted(f.name for f in folder.iterdir() if suffixes(f)[0] in _known())
        if len(names) > _MOST_LISTED:
            names = get_close_matches(path.name, names, n=_MOST_LISTED, cutoff=0)
        hint = did_you_mean(path.name, names) if names else "The directory contains no data files."
        raise DataError(f"{path} does not exist. {hint}")
    if suffixes(path)[0] not in _known():
        raise DataError(
            f"{path}: chainrule reads {', '.join(_known())}, text plain or with .gz or .zst, "
            f"not {path.suffix or 'a file without extension'}."
        )
    if not os.access(path, os.R_OK):
        raise DataError(f"{path} can't be opened: permission denied.")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty.")


def _known() -> tuple[str, ...]:
    return (*CSV, ".parquet", *_JSON, *EXCEL)


def _create_view(db: Any, view: str, path: Path, opening: Opening, likely: bool = False) -> None:
    """Create the view `view` of the file `path`, with the types of its columns.

    With `likely`, those of a text file may be the types of its first rows.
    """
    form, _ = suffixes(path)
    if form in (*CSV, *EXCEL):
        stored = from_excel(path, opening) if form in EXCEL else None
        create_csv_view(db, view, path, opening, stored, likely)
        return
    reader = "read_parquet" if form == ".parquet" else "read_json"
    options = "hive_partitioning=false"  # or a folder year=2020 would become a column
    options += "" if form == ".parquet" else ", sample_size=-1"
    sql = (
        f"CREATE TEMP VIEW {quote(view)} AS SELECT * FROM {reader}({file_literal(path)}, {options})"
    )
    execute(db, sql, str(path))


def _run_query(db: Any, query: str, where: str, opening: Opening) -> Table:
    sql = _prepare_query(db, query, where, opening)
    execute(db, f"CREATE TEMP TABLE query_result AS {sql}", where)
    table = fetch(db, "query_result", where)
    return replace(table, columns=read_alike(table.columns))


def _prepare_query(db: Any, query: str, where: str, opening: Opening) -> str:
    """Return `query`, checked, with its CSV files replaced by views as `read_table` makes them."""
    views: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        literal = match[3].replace("''", "'")
        if any(mark in literal for mark in ("*", "?", "[", "://")):
            raise DataError(f"{where}: give one local file at a time, not {literal!r}.")
        path = Path(literal)
        if str(path) not in views:
            _check_path(path)
            stem = path.name.split(".")[0]
            views[str(path)] = stem if stem not in views.values() else f"{stem}_{len(views)}"
            _create_view(db, views[str(path)], path, opening)
        return f"{match[1]}{match[2]}{quote(views[str(path)])}"

    reject_bare_file(query, where)
    sql = _TEXT_IN_QUERY.sub(replace, query).strip().rstrip(";")
    with explained(where):
        statements = db.extract_statements(sql)
    if len(statements) != 1:
        raise DataError(f"{where}: give a single statement, not several separated by ';'.")
    described = execute(db, f"DESCRIBE {sql}", where).fetchall()
    twice = find_duplicate([row[0].lower() for row in described])
    if twice is not None:
        raise DataError(f"{where} returns two columns named {twice!r}; rename one with AS.")
    return str(sql)


def fetch(
    db: Any,
    view: str,
    where: str,
    names: Sequence[str] | None = None,
    words: Collection[str] = (),
    condition: str = "",
) -> Table:
    """Return the columns `names` (None: all) of a view or table of the database.

    Text columns in `words` stay text.  `condition` is SQL that selects and orders the rows.
    """
    described = execute(db, f"DESCRIBE {quote(view)}", where).fetchall()
    if names is not None:
        described = [row for row in described if row[0] in names]
    selected = []
    for name, sql_type, *_ in described:
        cell = quote(name)
        if sql_type.endswith("]") or sql_type.startswith(_NESTED):
            raise DataError(
                f"{where}: column {name!r} has the type {sql_type}; select its parts as columns."
            )
        if _NUMERIC.match(sql_type):
            cell = f"CAST({cell} AS DOUBLE)"
        elif sql_type == "DATE" or sql_type.startswith("TIMESTAMP"):
            cell = f"epoch_us(CAST({cell} AS TIMESTAMP))"
        elif sql_type != "BOOLEAN":
            cell = f"CAST({cell} AS VARCHAR)"
        selected.append(f"{cell} AS {quote(name)}")
    if not selected:
        raise DataError(f"{where} has no columns.")
    result = execute(db, f"SELECT {', '.join(selected)} FROM {quote(view)} {condition}", where)
    arrays = result.fetchnumpy()
    columns = tuple(
        _column(name, kind, arrays[name], name in words) for name, kind, *_ in described
    )
    if len(columns[0]) == 0:
        raise DataError(f"{where} has columns but no rows.")
    return Table(columns, where)


def _column(name: str, sql_type: str, array: Any, as_words: bool) -> Column:
    missing = np.zeros(len(array), bool)
    if is_masked(array):
        missing = np.ma.getmaskarray(array).copy()
    values = np.asarray(array)
    if sql_type == "BOOLEAN":
        return Column(name, "boolean", np.where(missing, False, values).astype(bool), missing)
    if sql_type == "DATE" or sql_type.startswith("TIMESTAMP"):
        moments = np.where(missing, 0, values).astype("datetime64[us]")
        moments[missing] = np.datetime64("NaT")
        return Column(name, "date", moments, missing, "iso")
    if _NUMERIC.match(sql_type):
        numbers = np.array(values, dtype=np.float64)
        numbers[missing] = np.nan
        return Column(name, "number", numbers, np.isnan(numbers))
    cells = ["" if gone else cell for cell, gone in zip(values.tolist(), missing, strict=True)]
    return words_from_text(name, cells) if as_words else column_from_text(name, cells)
