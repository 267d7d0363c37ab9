"""Read a stored table in blocks, and write it with columns that were computed from the blocks.

Memory does not grow with the number of rows: the table is on the disk, and DuckDB reads and writes
it.  A column of words is read once for the whole table, from its distinct cells, because
:func:`chainrule.data.table.column_from_text` may read the words of one block as dates, and those of
another as text.

Read next: :mod:`chainrule.tabular.table_prediction`, which predicts for the blocks.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import DataError
from chainrule.data.duck import execute, literal, quote
from chainrule.data.read import StoredTable, fetch
from chainrule.data.table import Column, Table, find_duplicate

__all__ = ["PassThrough"]

Array = NDArray[Any]
_ADDED = "computed.added"  # in a database in memory, which all connections see
_BOTH = f"stored POSITIONAL JOIN {_ADDED}"  # rows of the table, and what was added to them
_ROWS_A_PART = 50_000  # at the least


class PassThrough:
    """The rows of a stored table in blocks, and the columns added to them.

    `read` reads the same table into memory.
    """

    def __init__(self, table: StoredTable, read: Callable[[], Table]):
        self.table, self.whole = table, read
        self.added: tuple[str, ...] = ()
        self._db = table._db
        self._ask("ATTACH ':memory:' AS computed")
        self._types = {
            name: str(kind) for name, kind, *_ in self._ask("DESCRIBE stored").fetchall()
        }

    def __len__(self) -> int:
        return len(self.table)

    def mixes_booleans(self, names: Collection[str]) -> bool:
        """Whether one of the text columns `names` has true or false in some cells, not in all."""
        for name in names:
            if self._types.get(name) == "VARCHAR":
                cell = quote(name)
                said, filled = self._ask(
                    f"SELECT count(*) FILTER (lower(trim({cell})) IN ('true', 'false')), "
                    f"count({cell}) FROM stored"
                ).fetchone()
                if 0 < said < filled:
                    return True
        return False

    def shows_marks(self) -> bool:
        """Whether a column is written in a way that tells how the numbers of others are to be read.

        Such are 1.234,5 and $1,200, in the first 10,000 rows.
        """
        return any(writing.decimal for writing in self.table.writing.values())

    def blocks(self, names: Sequence[str], words: Collection[str], rows: int) -> Iterator[Table]:
        """Yield the columns `names` of all rows in order, at most `rows` at a time.

        Text columns in `words` are read as in the whole table; others remain text.
        """
        there = [name for name in names if name in self._types]
        known = {name: self._distinct(name) for name in there if name in words and self._said(name)}
        plain = [name for name in there if name not in known]
        for start in range(0, len(self), rows):
            stop = min(start + rows, len(self))
            columns = list(self.table.block(start, stop, plain, plain)) if plain else []
            columns += self._looked_up(known, start, stop) if known else []
            yield Table(tuple(columns), self.table.source)

    def _said(self, name: str) -> bool:
        """Whether the cells of a column are stored as words or dates."""
        return self._types[name].startswith(("VARCHAR", "DATE", "TIMESTAMP"))

    def _distinct(self, name: str) -> Column:
        """Return the distinct cells of a column, and number them in the type ``word NAME``.

        They are in the order of their first rows; the last is the missing cell, if there is one.
        """
        cell, place, kind = quote(name), quote(f"words {name}"), quote(f"word {name}")
        self._ask(
            f'CREATE TEMP TABLE {place} AS SELECT {cell}, min(rowid) AS "first row" FROM stored '
            f'GROUP BY {cell} ORDER BY {cell} IS NULL, "first row"'
        )
        self._ask(
            f"CREATE TEMP TYPE {kind} AS ENUM (SELECT CAST({cell} AS VARCHAR) FROM {place} "
            f'WHERE {cell} IS NOT NULL ORDER BY "first row")'
        )
        return fetch(self._db, f"words {name}", self.table.source)[name]

    def _looked_up(self, known: Mapping[str, Column], start: int, stop: int) -> list[Column]:
        """Return columns of the rows from `start` to before `stop`, from their distinct cells."""
        codes = ", ".join(
            f"coalesce(enum_code(CAST(CAST({quote(name)} AS VARCHAR) AS {quote(f'word {name}')}))"
            f"::INTEGER, {len(words) - 1}) AS c{i}"
            for i, (name, words) in enumerate(known.items())
        )
        found = self._ask(
            f"SELECT {codes} FROM stored WHERE rowid >= {start} AND rowid < {stop} ORDER BY rowid"
        ).fetchnumpy()
        origin = np.arange(start, stop)
        columns = []
        for i, words in enumerate(known.values()):
            place = np.asarray(found[f"c{i}"])
            columns.append(
                replace(
                    words,
                    values=words.values[place],
                    missing=words.missing[place],
                    cells=None if words.cells is None else words.cells[place],
                    origin=origin,
                )
            )
        return columns

    def add(self, columns: Mapping[str, Array]) -> None:
        """Add `columns`, by name, to the next rows of the table."""
        self._db.register("answered", {f"p{i}": _plain(v) for i, v in enumerate(columns.values())})
        made = f"INSERT INTO {_ADDED}" if self.added else f"CREATE TABLE {_ADDED} AS"
        self._ask(f"{made} SELECT * FROM answered")
        self._db.unregister("answered")
        self.added = tuple(columns)

    def forget(self) -> None:
        """Remove the columns that were added."""
        self._ask(f"DROP TABLE IF EXISTS {_ADDED}")
        self.added = ()

    def write_csv(self, path: Path, separator: str = ",") -> None:
        """Write the table and the added columns to `path` as CSV, with a header.

        Numbers of the table are written with all their digits, added ones with seven.
        """
        names = self.table.names
        kinds = [str(row[1]) for row in self._ask(f"DESCRIBE {_ADDED}").fetchall()]
        cells = [self._as_text(name) for name in names]
        cells += [_digits(f"p{i}", kind) for i, kind in enumerate(kinds)]
        head = io.StringIO(newline="")
        line = csv.writer(head, delimiter=separator, lineterminator="\n")
        line.writerow([*names, *self.added])  # DuckDB would rename A beside a
        form = f"(FORMAT csv, HEADER false, DELIMITER {literal(separator)})"
        parts = self._write_parts(", ".join(cells), path, form)
        with path.open("wb") as file:
            file.write(head.getvalue().encode())
            for part in parts:
                with part.open("rb") as rows:
                    shutil.copyfileobj(rows, file, 2**20)
                part.unlink()

    def _write_parts(self, cells: str, path: Path, form: str) -> list[Path]:
        """Write `cells` to files beside `path`, each with the next part of the rows, and name them.

        DuckDB joins by position on one thread, so each part has a thread and a connection.
        """
        threads = int(self._ask("SELECT current_setting('threads')").fetchone()[0])
        count = max(1, min(threads, len(self) // _ROWS_A_PART))
        ends = [len(self) * i // count for i in range(count + 1)]
        parts = [path.with_name(f"{path.name}.{i}") for i in range(count)]

        def write(i: int) -> None:
            between = f"WHERE rowid >= {ends[i]} AND rowid < {ends[i + 1]}"
            both = f"(FROM stored {between}) POSITIONAL JOIN (FROM {_ADDED} {between})"
            sql = f"COPY (SELECT {cells} FROM {both}) TO {literal(parts[i])} {form}"
            execute(connections[i], sql, self.table.source)

        with ExitStack() as kept, ThreadPoolExecutor(count) as pool:
            connections = [kept.enter_context(self._db.cursor()) for _ in parts]
            try:
                list(pool.map(write, range(count)))
            except BaseException:  # such as Ctrl-C
                for connection in connections:
                    connection.interrupt()
                raise
        return parts

    def write_parquet(self, path: Path) -> None:
        """Write the table and the added columns to `path` as Parquet, with their types.

        Raises DataError if two names differ in case alone, which are one name to DuckDB.
        """
        twice = find_duplicate([name.lower() for name in (*self.table.names, *self.added)])
        if twice is not None:
            raise DataError(f"two columns are named {twice!r} (letter case does not count).")
        cells = [*map(quote, self.table.names)]
        cells += [f"p{i} AS {quote(name)}" for i, name in enumerate(self.added)]
        self._ask(
            f"COPY (SELECT {', '.join(cells)} FROM {_BOTH}) TO {literal(path)} (FORMAT parquet)"
        )

    def cells(self, name: str, rows: int = 50_000) -> Iterator[list[Any]]:
        """Yield the cells of an added column, or those of a column of the table as text."""
        added = name in self.added
        cell = f"p{self.added.index(name)}" if added else self._as_text(name)
        found = self._ask(f"SELECT {cell} FROM {_ADDED if added else 'stored'}")
        while block := found.fetchmany(rows):
            yield [row[0] for row in block]

    def distinguishes(self, name: str) -> bool:
        """Whether every cell of a column of the table has a value, and no two have the same."""
        cell = quote(name)
        counts = f"SELECT count({cell}), count(DISTINCT {cell}) FROM stored"
        filled, distinct = self._ask(counts).fetchone()
        return bool(filled == distinct == len(self))

    def _ask(self, sql: str) -> Any:
        return execute(self._db, sql, self.table.source)

    def _as_text(self, name: str) -> str:
        """Return SQL for the cells of a column as text: 1.5, 2024-01-31, true."""
        cell, kind = quote(name), self._types[name]
        if kind in ("DOUBLE", "FLOAT") or kind.startswith("DECIMAL"):
            number = f"CAST({cell} AS DOUBLE)"
            return (
                f"CASE WHEN {number} = floor({number}) AND abs({number}) < 1e16 "
                f"THEN CAST(CAST({number} AS BIGINT) AS VARCHAR) "
                f"ELSE CAST({number} AS VARCHAR) END"
            )
        if kind == "DATE" or kind.startswith("TIMESTAMP"):
            moment = f"CAST({cell} AS TIMESTAMP)"
            forms = {"day": "", "minute": "T%H:%M", "second": "T%H:%M:%S"}
            cases = " ".join(
                f"WHEN {moment} = date_trunc('{unit}', {moment}) "
                f"THEN strftime({moment}, '%Y-%m-%d{clock}')"
                for unit, clock in forms.items()
            )
            return f"CASE {cases} ELSE strftime({moment}, '%Y-%m-%dT%H:%M:%S.%f') END"
        return f"CAST({cell} AS VARCHAR)"


def _plain(values: Array) -> Array:
    """Return an array as DuckDB reads it: text as objects."""
    return values.astype(object) if values.dtype.kind == "U" else values


def _digits(cell: str, kind: str) -> str:
    """Return SQL for a number with seven significant digits, the precision of float32."""
    if kind not in ("DOUBLE", "FLOAT"):
        return cell
    return (
        f"CASE WHEN abs({cell}) >= 1e7 AND abs({cell}) < 1e16 THEN printf('%.0f', {cell}) "
        f"ELSE printf('%.7g', {cell}) END"
    )
