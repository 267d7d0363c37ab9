"""A stored CSV file has the types of all its cells, though they are first taken from a few rows.

Read next: :mod:`chainrule.data.read`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from chainrule.core.errors import DataError
from chainrule.data import read
from chainrule.data.csv_files import _FIRST_ROWS
from chainrule.data.read import fetch, read_table, store_table

ROWS = 3 * _FIRST_ROWS
NUMBERS = [f" {k % 7}.50" for k in range(ROWS)]
DATES = [f"2024-01-{1 + k % 28:02}" for k in range(ROWS)]


def late(cells: list[str], cell: str) -> list[str]:
    """Return `cells` with another one below the first rows."""
    return [*cells[:-1], cell]


@pytest.mark.parametrize(
    ("cells", "kind", "passes"),
    [
        (NUMBERS, "DOUBLE", 1),
        (DATES, "TIMESTAMP", 1),
        (late(NUMBERS, "NA"), "DOUBLE", 1),
        (late(NUMBERS, "many"), "VARCHAR", 2),
        (late(NUMBERS, "1,5"), "VARCHAR", 2),
        (late(["2024"] * ROWS, "2024-01-31"), "VARCHAR", 2),
        (late(["true"] * ROWS, "yes"), "VARCHAR", 1),
        (late(["007"] * ROWS, "8"), "VARCHAR", 1),
        ([""] * ROWS, "VARCHAR", 2),
        (late([""] * ROWS, "1.5"), "DOUBLE", 1),
        (late([""] * ROWS, "red"), "VARCHAR", 2),
    ],
)
def test_types_are_those_of_all_rows(
    cells: list[str], kind: str, passes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, stores = tmp_path / "t.csv", []
    body = "".join(f'{k},"{cell}"\n' for k, cell in enumerate(cells))
    path.write_text(f"row,x\n{body}")
    store = read._store
    monkeypatch.setattr(read, "_store", lambda *a, **k: (stores.append(1), store(*a, **k)))
    whole = read_table(path)["x"]
    with store_table(str(path), tmp_path) as table:
        described = dict(row[:2] for row in table._db.execute("DESCRIBE stored").fetchall())
        found = fetch(table._db, "stored", str(path))["x"]
    assert described == {"row": "DOUBLE", "x": kind}
    assert len(stores) == passes
    assert found.kind == whole.kind
    assert found.as_text().tolist() == whole.as_text().tolist()


def test_notes_are_told_once_if_the_types_of_the_first_rows_fail(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "Sales of the year\n\nrow,x\n" + "".join(f"{k},1\n" for k in range(ROWS)) + "1,a\n"
    )
    with store_table(str(path), tmp_path) as table:
        assert len(table.notes) == 1


def test_a_nul_byte_in_a_name_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(b"\0size\tcolor\n1.5\tred\n-2\tblue\n")
    with pytest.raises(DataError, match=r"column '\\x00size' contains a NUL byte"):
        read_table(path)
