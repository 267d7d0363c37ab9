"""DuckDB: connections, statements with errors in terms of the table, and literals of SQL.

Read next: :mod:`chainrule.data.read`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chainrule.core.errors import DataError, not_installed
from chainrule.data.decode import EXCEL
from chainrule.data.read_errors import explain

__all__ = ["CSV", "PACKED", "connect", "execute", "explained", "file_literal", "literal", "quote",
           "suffixes"]  # fmt: skip

CSV = (".csv", ".tsv", ".txt")
PACKED = (".gz", ".zst")


def _duckdb() -> Any:
    try:
        import duckdb  # takes 0.2 s, and arrays do not need it

        return duckdb
    except ImportError as error:
        raise not_installed("reading files", "duckdb", "duckdb", error, DataError) from error


def connect(path: Path | str = ":memory:") -> Any:
    """Return a connection to the database `path`, which reads no Python variables."""
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


def suffixes(path: Path) -> tuple[str, str]:
    """Return (format, compression), as in (".csv", ".gz")."""
    packed = path.suffix.lower() if path.suffix.lower() in PACKED else ""
    return (Path(path.stem).suffix if packed else path.suffix).lower(), packed


def execute(db: Any, sql: str, where: str, skip: int = 0) -> Any:
    """Run `sql`; errors are in terms of the file or query `where`, of which `skip` lines are left.

    Raises DataError.
    """
    with explained(where, skip):
        return db.execute(sql)


@contextmanager
def explained(where: str, skip: int = 0) -> Iterator[None]:
    """Turn DuckDB's errors into DataError."""
    try:
        yield
    except _duckdb().Error as error:
        form = None if where.startswith("the query") else suffixes(Path(where))[0]
        kind = ".csv" if form in (*CSV, *EXCEL) else form
        raise DataError(f"{where}: {explain(str(error), kind, skip)}") from error


def quote(name: str) -> str:
    """Return `name` as a name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: object) -> str:
    """Return `text` as text in SQL."""
    return "'" + str(text).replace("'", "''") + "'"


def file_literal(path: Path) -> str:
    """Return `path` as a literal; DuckDB would take special characters in it for a pattern."""
    return literal("".join(f"[{mark}]" if mark in "*?[" else mark for mark in str(path)))
