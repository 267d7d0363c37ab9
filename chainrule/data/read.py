"""Read files and SQL queries into a `Table`, with DuckDB.

Rows keep the order of the file.  DuckDB's detection of CSV formats is not used, because it may
read ragged rows as one column, skip leading lines, or infer a type from a sample.  Instead, this
module finds the separator and the header, and infers each column's kind from all its rows.

Read next: :mod:`chainrule.data.table`.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.core.errors import DataError, did_you_mean
from chainrule.data.parse import MISSING, parse_number
from chainrule.data.read_errors import explain, reject_bare_file, reject_near_query, reject_wide
from chainrule.data.table import Column, Table, column_from_text, find_duplicate, words_from_text

__all__ = ["StoredTable", "check_source", "is_query", "read_table", "store_table", "write_parquet"]

_STORE_MEMORY = 2**29  # bytes of memory DuckDB may use to store a table
_ROW_GROUP = 122_880  # rows DuckDB buffers per column and thread while it stores them

_MOST_LISTED = 5  # files listed if one is not found

_CSV = (".csv", ".tsv", ".txt")
_JSON = (".json", ".jsonl", ".ndjson")
_PACKED = (".gz", ".zst")
_QUERY = re.compile(r"\s*(select|with|from)\s", re.IGNORECASE)
_CSV_IN_QUERY = re.compile(
    r"\b(from|join)(\s+)'((?:[^']|'')+\.(?:csv|tsv)(?:\.gz|\.zst)?)'", re.IGNORECASE
)
_NUMERIC = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?$|DECIMAL|FLOAT|DOUBLE")
_NOT = {  # cells that are not of a type; the first type that none contradicts is taken
    "DOUBLE": "{0} IS NOT NULL AND TRY_CAST({0} AS DOUBLE) IS NULL",
    "TIMESTAMP": "{0} IS NOT NULL AND TRY_CAST({0} AS TIMESTAMP) IS NULL",
    "BOOLEAN": "lower(trim({0})) NOT IN ('true', 'false')",
}
_FIRST_ROWS = 1_000
_NESTED = ("STRUCT", "MAP", "UNION", "BLOB")
_CASES = (str, str.upper, str.capitalize)
_MISSING_SQL = ", ".join(
    f"'{token}'" for token in sorted({f(t) for t in (*MISSING, "NaN") for f in _CASES})
)


def is_query(source: str) -> bool:
    """Return whether `source` is an SQL query, not a path.

    >>> is_query("select * from 'a.csv'"), is_query("selection.csv")
    (True, False)
    """
    return bool(_QUERY.match(source))


def read_table(source: str | os.PathLike[str], query: str | None = None) -> Table:
    """Read a CSV, TSV, Parquet or JSON file, or the rows of an SQL query over such files.

    `source` is a path (optionally ``.gz`` or ``.zst``), or SQL that begins with
    SELECT, WITH or FROM, as in ``SELECT * FROM 'a.csv' WHERE x > 3``.  If `query` is
    given, `source` is a path that the query reads as the table ``data``.  Rows
    keep the file's order.  In messages, row 1 is the first row after the header.

    Raises DataError on a file that is missing, empty, of unknown type, not
    UTF-8, ragged, without rows, or with two columns of the same name; and on invalid SQL.
    """
    if not isinstance(source, (str, os.PathLike)):
        raise DataError(
            f"read_table reads files and SQL, not {type(source).__name__}; for columns in memory "
            "use chainrule.data.Table.from_arrays."
        )
    text = os.fspath(source)
    check_source(text)
    if is_query(text) and query is not None:
        raise DataError("Give only one query: the source is SQL already.")
    with _connect() as db:
        if is_query(text):
            return _run_query(db, text, "the query")
        _create_view(db, "data", Path(text))
        if query is not None:
            return _run_query(db, query, f"the query over {text}")
        return _fetch(db, "data", text)


def write_parquet(path: Path) -> None:
    """Replace the CSV file `path` by a Parquet file of the same name and column types."""
    packed = path.with_name(f"{path.name}.packed")
    try:
        with _connect() as db:
            _create_csv_view(db, "data", path)
            _execute(db, f"COPY data TO {_literal(packed)} (FORMAT parquet)", str(path))
        packed.replace(path)
    finally:
        packed.unlink(missing_ok=True)


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

    def __init__(self, db: Any, source: str):
        self._db, self.source = db, source
        described = _execute(db, "DESCRIBE stored", source).fetchall()
        self.names = tuple(name for name, *_ in described)
        self._rows = int(_execute(db, "SELECT count(*) FROM stored", source).fetchone()[0])
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
        table = _fetch(self._db, "stored", self.source, names, words, condition)
        return _with_origin(table, np.arange(start, stop))

    def take(self, rows: np.ndarray[Any, Any], names: Sequence[str]) -> Table:
        """Return the columns `names` of `rows`, which must be in ascending order."""
        self._db.register("chosen", {"row": rows})
        condition = "WHERE rowid IN (SELECT row FROM chosen) ORDER BY rowid"
        table = _fetch(self._db, "stored", self.source, names, (), condition)
        self._db.unregister("chosen")
        return _with_origin(table, rows)


def _with_origin(table: Table, rows: np.ndarray[Any, Any]) -> Table:
    return Table(tuple(replace(column, origin=rows) for column in table), table.source)


@contextmanager
def store_table(source: str, folder: Path) -> Iterator[StoredTable]:
    """Copy the rows of a file or query, in order, to a database in `folder`, and yield it.

    Needs half a gigabyte of memory (above 130 columns, 4 MB per column), whatever the number of
    rows.  Raises DataError as `read_table` does, and if the disk is full.
    """
    check_source(source)
    with _connect(folder / "table.duckdb") as db:
        if is_query(source):
            where, rows = "the query", _prepare_query(db, source, "the query")
        else:
            _create_view(db, "data", Path(source))
            where, rows = source, "SELECT * FROM data"
        width = 16 * _ROW_GROUP * len(_execute(db, f"DESCRIBE {rows}", where).fetchall())
        threads = int(_execute(db, "SELECT current_setting('threads')", where).fetchone()[0])
        memory = max(_STORE_MEMORY, 2 * width)
        _execute(db, f"SET memory_limit = '{memory}B'", where)
        _execute(db, f"SET threads = {min(threads, memory // 2 // width)}", where)
        _execute(db, f"CREATE TABLE stored AS {rows}", where)
        yield StoredTable(db, where)


def _duckdb() -> Any:
    try:
        import duckdb  # takes 0.2 s, and arrays do not need it

        return duckdb
    except ImportError as error:
        raise DataError(
            "Reading files needs DuckDB: pip install duckdb. Arrays work without it."
        ) from error


def _connect(path: Path | str = ":memory:") -> Any:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    db = _duckdb().connect(
        str(path),
        config={
            "threads": min(8, cores or 1),
            "preserve_insertion_order": True,
            "autoinstall_known_extensions": False,  # a file name must not cause a download
        },
    )
    db.execute("SET python_enable_replacements = false")  # or SQL could read Python variables
    db.execute("SET enable_progress_bar = false")  # standard output belongs to the program
    return db


def _suffixes(path: Path) -> tuple[str, str]:
    """Return (format, compression), as in (".csv", ".gz")."""
    packed = path.suffix.lower() if path.suffix.lower() in _PACKED else ""
    return (Path(path.stem).suffix if packed else path.suffix).lower(), packed


def _check_path(path: Path) -> None:
    if path.is_dir():
        raise DataError(f"{path} is a directory; give a file in it.")
    if not path.exists():
        folder = path.parent
        if not folder.is_dir():
            raise DataError(f"{path} does not exist: there is no directory {folder}.")
        names = sorted(f.name for f in folder.iterdir() if _suffixes(f)[0] in _known())
        if len(names) > _MOST_LISTED:
            names = get_close_matches(path.name, names, n=_MOST_LISTED, cutoff=0)
        hint = did_you_mean(path.name, names) if names else "The directory contains no data files."
        raise DataError(f"{path} does not exist. {hint}")
    if _suffixes(path)[0] not in _known():
        raise DataError(
            f"{path}: chainrule reads {', '.join(_known())}, plain or with .gz or .zst, "
            f"not {path.suffix or 'a file without extension'}."
        )
    if not os.access(path, os.R_OK):
        raise DataError(f"{path} can't be opened: permission denied.")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty.")


def _known() -> tuple[str, ...]:
    return (*_CSV, ".parquet", *_JSON)


def _execute(db: Any, sql: str, where: str) -> Any:
    with _explained(where):
        return db.execute(sql)


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Turn DuckDB's errors into DataError."""
    try:
        yield
    except _duckdb().Error as error:
        form = None if where.startswith("the query") else _suffixes(Path(where))[0]
        kind = ".csv" if form in _CSV else form
        raise DataError(f"{where}: {explain(str(error), kind)}") from error


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: object) -> str:
    return "'" + str(text).replace("'", "''") + "'"


def _file(path: Path) -> str:
    """Return `path` as a literal; DuckDB would take special characters in it for a pattern."""
    return _literal("".join(f"[{mark}]" if mark in "*?[" else mark for mark in str(path)))


def _create_view(db: Any, view: str, path: Path) -> None:
    """Create the view `view` of the file `path`, with the types of its columns."""
    form, _ = _suffixes(path)
    if form in _CSV:
        _create_csv_view(db, view, path)
        return
    reader = "read_parquet" if form == ".parquet" else "read_json"
    options = "hive_partitioning=false"  # or a folder year=2020 would become a column
    options += "" if form == ".parquet" else ", sample_size=-1"
    sql = f"CREATE TEMP VIEW {_quote(view)} AS SELECT * FROM {reader}({_file(path)}, {options})"
    _execute(db, sql, str(path))


def _create_csv_view(db: Any, view: str, path: Path) -> None:
    if not _suffixes(path)[1]:
        reject_wide(path)
    lines = (
        f"read_csv({_file(path)}, columns={{'line': 'VARCHAR'}}, auto_detect=false, "
        "header=false, hive_partitioning=false, "
        "delim='\x01', quote='', escape='', strict_mode=false)"
    )
    names, separator = _read_header(db, lines, path)
    fields = ", ".join(f"{_literal(name)}: 'VARCHAR'" for name in names)
    cells = (
        f"read_csv({_file(path)}, columns={{{fields}}}, auto_detect=false, header=true, "
        "hive_partitioning=false, "
        f"delim={_literal(separator)}, quote='\"', escape='\"', strict_mode=true, "
        f"null_padding=false, ignore_errors=false, nullstr=[{_MISSING_SQL}])"
    )
    # One pass over whole lines finds out whether any cell may be a code such as 007;
    # checking every cell would make a wide file of numbers ten times slower.
    code = _literal(f'(^|["{separator}]) *0[0-9]')
    asked = f"SELECT count(*) FROM {lines} WHERE regexp_matches(line, {code})"
    may_have_codes = bool(_execute(db, asked, str(path)).fetchone()[0])
    try:
        types = _column_types(db, cells, names, may_have_codes, str(path))
    except DataError:
        if not _has_both_line_ends(path, separator):
            raise
        cells = cells.replace("strict_mode=true", "strict_mode=false")  # refuses such files
        types = _column_types(db, cells, names, may_have_codes, str(path))
    casts = [f"trim({_quote(name)}) AS {_quote(name)}" for name in names]
    for i, name in enumerate(names):
        if name in types:
            casts[i] = f"TRY_CAST(trim({_quote(name)}) AS {types[name]}) AS {_quote(name)}"
    sql = f"CREATE TEMP VIEW {_quote(view)} AS SELECT {', '.join(casts)} FROM {cells}"
    _execute(db, sql, str(path))


def _has_both_line_ends(path: Path, separator: str) -> bool:
    """Whether some lines of a CSV file end in CRLF and others in LF alone.

    Raises DataError where such a file has a quote that is not closed, or text behind a closed one.
    """
    if _suffixes(path)[1]:
        return False  # packed by a program, which writes one kind
    ends = [False, False]
    with path.open("rb") as file:
        before = b""
        while not all(ends) and (block := file.read(2**20)):
            crlf = block.count(b"\r\n") + (before == b"\r" and block[:1] == b"\n")
            ends[0] |= crlf > 0
            ends[1] |= block.count(b"\n") > crlf
            before = block[-1:]
    if not all(ends):
        return False
    with path.open(newline="", encoding="utf-8", errors="replace") as text:
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


def _read_header(db: Any, lines: str, path: Path) -> tuple[list[str], str]:
    """Return the column names and the separator, from the first record of the file."""
    first = _execute(db, f"SELECT line FROM {lines} LIMIT 20", str(path)).fetchall()
    records = [row[0] or "" for row in first]
    if not any(record.strip() for record in records):
        raise DataError(f"{path} is empty.")
    bare = re.sub(r'"[^"]*"', "", "\n".join(records)).splitlines()[0]
    separator = max(",;\t|", key=bare.count) if any(s in bare for s in ",;\t|") else ","
    header = next(csv.reader((record + "\n" for record in records), delimiter=separator))
    names = [name.strip() or f"column{i + 1}" for i, name in enumerate(header)]
    _check_header(names, path)
    return names, separator


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
        number = parse_number(name)
        if number is not None and not number.is_integer():
            raise _headless(name, path)


def _headless(name: str, path: Path) -> DataError:
    return DataError(
        f"{path}: the first line looks like data ({name!r}), not like column names. "
        "Add a line of column names at the top."
    )


def _column_types(
    db: Any, cells: str, names: Sequence[str], may_have_codes: bool, where: str
) -> dict[str, str]:
    """Return the SQL type of each column that is not text, inferred from all of its cells.

    The rules are those of `chainrule.data.parse.parse_text`, which parses the columns left as text.
    """
    possible = {kind: list(names) for kind in _NOT}
    few = f"(SELECT * FROM {cells} LIMIT {_FIRST_ROWS})"  # rule out most, at little cost
    for source in (few, cells):
        asked = [(kind, name) for kind, some in possible.items() for name in some]
        questions = [f"count(*) FILTER ({_NOT[kind].format(_quote(name))})" for kind, name in asked]
        used = list(dict.fromkeys(name for _, name in asked))
        questions += [f"count({name})" for name in map(_quote, used)]
        numbers = possible["DOUBLE"] if may_have_codes and source is cells else []
        code = "count(*) FILTER (regexp_full_match(trim({0}), '0[0-9]+'))"
        questions += [code.format(name) for name in map(_quote, numbers)]
        sql = f"SELECT {', '.join(['count(*)', *questions])} FROM {source}"
        total, *counts = _execute(db, sql, where).fetchone()
        if total == 0:
            raise DataError(f"{where} has a header but no rows.")
        found = dict(zip(asked, counts, strict=False))
        possible = {k: [n for n in some if not found[k, n]] for k, some in possible.items()}
    filled = dict(zip(used, counts[len(asked) :], strict=False))
    codes = dict(zip(numbers, counts[len(asked) + len(used) :], strict=True))
    types = {name: kind for kind, some in reversed(possible.items()) for name in some}
    return {name: kind for name, kind in types.items() if filled[name] and not codes.get(name)}


def _run_query(db: Any, query: str, where: str) -> Table:
    sql = _prepare_query(db, query, where)
    _execute(db, f"CREATE TEMP TABLE query_result AS {sql}", where)
    return _fetch(db, "query_result", where)


def _prepare_query(db: Any, query: str, where: str) -> str:
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
            _create_view(db, views[str(path)], path)
        return f"{match[1]}{match[2]}{_quote(views[str(path)])}"

    reject_bare_file(query, where)
    sql = _CSV_IN_QUERY.sub(replace, query).strip().rstrip(";")
    with _explained(where):
        statements = db.extract_statements(sql)
    if len(statements) != 1:
        raise DataError(f"{where}: give a single statement, not several separated by ';'.")
    described = _execute(db, f"DESCRIBE {sql}", where).fetchall()
    twice = find_duplicate([row[0].lower() for row in described])
    if twice is not None:
        raise DataError(f"{where} returns two columns named {twice!r}; rename one with AS.")
    return str(sql)


def _fetch(
    db: Any,
    view: str,
    where: str,
    names: Sequence[str] | None = None,
    words: Collection[str] = (),
    condition: str = "",
) -> Table:
    described = _execute(db, f"DESCRIBE {_quote(view)}", where).fetchall()
    if names is not None:
        described = [row for row in described if row[0] in names]
    selected = []
    for name, sql_type, *_ in described:
        cell = _quote(name)
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
        selected.append(f"{cell} AS {_quote(name)}")
    if not selected:
        raise DataError(f"{where} has no columns.")
    result = _execute(db, f"SELECT {', '.join(selected)} FROM {_quote(view)} {condition}", where)
    arrays = result.fetchnumpy()
    columns = tuple(
        _column(name, kind, arrays[name], name in words) for name, kind, *_ in described
    )
    if len(columns[0]) == 0:
        raise DataError(f"{where} has columns but no rows.")
    return Table(columns, where)


def _column(name: str, sql_type: str, array: Any, as_words: bool) -> Column:
    missing = np.ma.getmaskarray(array).copy() if np.ma.isMA(array) else np.zeros(len(array), bool)
    values = np.ma.getdata(array)
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
