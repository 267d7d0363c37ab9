"""Cells that can't be read: missing and told where they are few, refused where they are most."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from chainrule.core.errors import DataError
from chainrule.data import Pipeline, Table, read_table, stream
from chainrule.data.table import column_from_text
from chainrule.data.unread import Settled, settle
from chainrule.tabular import read_problem

ROWS = 400


def german(value: float) -> str:
    return f"{value:,.1f}".replace(",", "_").replace(".", ",").replace("_", ".")


def write(path: Path, bad: dict[int, str]) -> Path:
    rng = np.random.default_rng(3)
    incomes = rng.uniform(500, 9000, ROWS)
    lines = [f"{bad.get(i, german(x))};{german(3 * x)}" for i, x in enumerate(incomes)]
    path.write_text("Income;Price\n" + "\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("streamed", [False, True])
def test_a_bad_cell_is_missing_wherever_its_row_falls(tmp_path: Path, streamed: bool) -> None:
    clean = read_problem(write(tmp_path / "clean.csv", {}), "Price", stream=streamed)
    names = set()
    for row in range(0, 40, 4):
        path = write(tmp_path / f"{row}.csv", {row: "abc"})
        found = read_problem(path, "Price", stream=streamed)
        names.add(found.pipeline.feature_names)
        assert [len(part[0]) for part in (found.train, found.test)] == [272, 80] == [
            len(part[0]) for part in (clean.train, clean.test)
        ]  # fmt: skip
        told = [note for note in found.pipeline.notes if "'abc'" in note]
        assert len(told) == 1
        assert f"1 cell that can't be read counts as missing, 'abc' in row {row + 1}" in told[0]
        held = "Income=missing" not in found.pipeline.feature_names
        assert ("rows held out" in told[0]) == held
    assert names == {("Income",), ("Income", "Income=missing")}


def test_the_gap_is_filled_and_the_rest_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", {5: "abc", 9: "", 11: "tbd"})
    table = read_table(path)
    pipeline = Pipeline.fit(table, "Price")
    X = pipeline.transform(table)
    assert np.flatnonzero(X[:, 1]).tolist() == [5, 9, 11]
    incomes = np.random.default_rng(3).uniform(500, 9000, ROWS).round(1)
    kept = np.delete(incomes, [5, 9, 11])
    whole = incomes.copy()
    whole[[5, 9, 11]] = np.median(kept)
    assert np.allclose(X[:, 0], (whole - whole.mean()) / whole.std(), atol=1e-4)
    assert any("2 cells" in note and "the first 'abc' in row 6" in note for note in pipeline.notes)
    again = Pipeline.from_json(json.loads(json.dumps(pipeline.to_json())))
    assert np.array_equal(again.transform(table), X)


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y"])
def test_dates_with_junk_are_dates(form: str) -> None:
    days = np.datetime64("2021-01-01") + np.arange(300)
    cells = [day.strftime(form) for day in days.tolist()]
    whole = Pipeline.fit(Table.from_arrays({"d": cells, "y": range(300)}), "y")
    for i, word in enumerate(["tbd", "unknown", "-"] * 3):
        cells[7 + 30 * i] = word
    table = Table.from_arrays({"d": cells, "y": range(300)})
    pipeline = Pipeline.fit(table, "y")
    assert pipeline.feature_names == (*whole.feature_names, "d=missing")
    assert any(
        "`d`: read as dates; 9 cells" in note and "the first 'tbd' in row 8" in note
        for note in pipeline.notes
    )
    X = pipeline.transform(table)
    assert np.flatnonzero(X[:, -1]).tolist() == [7 + 30 * i for i in range(9)]


@pytest.mark.parametrize(
    "cells",
    [
        ["1", "2", "3"] * 30 + ["x"] * 6,  # one in sixteen is not a number
        ["1"] * 19 + ["x"],  # too few to tell
        ["83,879"] * 97 + ["abc"],  # thousands, or three decimals
        ["90210"] * 97 + ["01234"],  # codes
        ["red"] * 50 + ["blue"] * 50,
    ],
)
def test_other_columns_stay_words(cells: list[str]) -> None:
    column = column_from_text("c", cells)
    assert settle(column) == Settled(column)


@pytest.mark.parametrize(
    ("cells", "spelling", "first"),
    [
        (["1.5"] * 97 + ["1,5"], "", 1.5),
        (["1.234"] * 90 + ["12,5"] * 7 + ["abc"], "1.234,5", 1234),
        (["€1,200.5"] * 97 + ["free"], "€1,234.5", 1200.5),
        (["44.9%"] * 97 + ["0.5"], "1234.5%", 44.9),
    ],
)
def test_the_spelling_is_that_which_reads_most(
    cells: list[str], spelling: str, first: float
) -> None:
    found = settle(column_from_text("c", cells))
    settled, note = found.column, found.note(found.unread)
    assert (settled.kind, settled.spelling, settled.values[0]) == ("number", spelling, first)
    assert settled.missing.sum() == 1
    assert f"{cells[-1]!r} in row 98" in note


def test_a_category_stays_one_where_asked() -> None:
    table = Table.from_arrays({"c": ["1", "2"] * 40 + ["x"], "y": range(81)})
    assert Pipeline.fit(table, "y").feature_names == ("c", "c=missing")
    asked = Pipeline.fit(table, "y", roles={"c": "category"})
    assert asked.feature_names == ("c=1", "c=2", "c=x")


@pytest.mark.parametrize(
    ("trained", "given", "unread"),
    [
        ([1.5, 2, 3, 9], ["1", "big", "3"], 1),
        (["3,5", "4", "7,25", "8"], ["1,5"] * 30 + ["1.5"], 1),
        ([True, False, True, True], ["true", "false", "tbd"], 1),
        (["2024-01-05", "2024-02-13", "2024-03-01", "2024-07-09"],
         ["2024-03-01", "-", "n/a", "2024-01-01"], 1),
        ([1.5, 2, 3, 9], ["1", "big"], None),
        ([1.5, 2, 3, 9], ["5"] * 30 + ["1,5"] * 2, None),  # too many are spelled otherwise
        (["13/4/2024", "2/4/2024", "5/6/2024", "1/1/2024"], ["1/1/2024"] * 9 + ["2/14/2024"], None),
    ],
)  # fmt: skip
def test_new_cells(trained: Any, given: list[str], unread: int | None) -> None:
    pipeline = Pipeline.fit(Table.from_arrays({"x": trained, "y": ["a", "b", "a", "b"]}), "y")
    table = Table.from_arrays({"x": given})
    if unread is None:
        with pytest.raises(DataError, match="of column 'x' holds"):
            pipeline.transform(table)
        return
    assert np.isfinite(pipeline.transform(table)).all()
    assert pipeline.unread(table)["x"].count == unread


def test_the_end_of_a_stream_is_judged_with_what_is_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chainrule.data.streaming._BLOCK_CELLS", 1)  # 1,000 rows at once
    rows = [f"{i * 0.7:.1f},{i * 0.3:.1f}" for i in range(1001)]
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "\n".join([*rows[:1000], "abc,3.5"]) + "\n")
    assert stream(path, "y").pipeline.feature_names[0] == "x"


def test_numbers_of_rows_are_dropped_from_any_start() -> None:
    rng = np.random.default_rng(0)
    data = {"case": np.arange(10001, 10101), "year": np.arange(1920, 2020),
            "twice": 2 * np.arange(10001, 10101), "size": rng.normal(size=100),
            "y": rng.normal(size=100)}  # fmt: skip
    rows = np.sort(rng.permutation(100)[:60])
    pipeline = Pipeline.fit(Table.from_arrays(data), "y", rows=rows)
    assert pipeline.feature_names == ("year", "twice", "size")
    assert "dropped `case`: it numbers the rows" in pipeline.notes


def test_dates_that_may_be_read_twice_are_told() -> None:
    cells = [f"{1 + i % 12}/{1 + i % 11}/2024" for i in range(60)]
    pipeline = Pipeline.fit(Table.from_arrays({"d": cells, "y": range(60)}), "y")
    note = next(note for note in pipeline.notes if "`d`" in note)
    assert "'1/1/2024' was read month first, as 2024-01-01" in note
    assert "--role 'd=date(dayfirst)'" in note
    sure = Pipeline.fit(Table.from_arrays({"d": [*cells, "1/13/2024"], "y": range(61)}), "y")
    assert not any("`d`" in note for note in sure.notes)


def write_infinite(path: Path, cells: list[Any], form: str) -> Any:
    """Write `cells` as the column x of a table with 120 rows, and return what reads it."""
    x = [f"{0.7 * i:.2f}" for i in range(120)]
    for k, cell in enumerate(cells):
        x[5 + 7 * k] = str(cell)
    y = [f"{np.sin(i):.4f}" for i in range(120)]
    if form == "csv":
        path.write_text("x,y\n" + "\n".join(f"{a},{b}" for a, b in zip(x, y, strict=True)) + "\n")
        return path
    numbers = {"x": np.array(x, float), "y": np.array(y, float)}
    if form == "parquet":
        frame = {name: pa.tolist() for name, pa in numbers.items()}
        duckdb.sql("CREATE OR REPLACE TABLE t (x DOUBLE, y DOUBLE)")
        duckdb.executemany("INSERT INTO t VALUES (?, ?)", list(zip(*frame.values(), strict=True)))
        duckdb.sql(f"COPY t TO '{path}' (FORMAT parquet)")
        return path
    return numbers if form == "arrays" else {name: a.tolist() for name, a in numbers.items()}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("form", ["csv", "parquet", "arrays", "lists"])
def test_infinity_is_missing(tmp_path: Path, form: str, streamed: bool) -> None:
    if streamed and form in ("arrays", "lists"):
        pytest.skip("only files are streamed")
    cells = ["inf", "1e400", "-inf", "Infinity", "-1e999", "inf"]
    source = write_infinite(tmp_path / f"t.{form}", cells, form)
    found = read_problem(source, "y", stream=streamed)
    told = [note for note in found.pipeline.notes if "can't be read" in note]
    assert sum(int(note.split(" cell")[0].split()[-1]) for note in told) == 6
    assert np.isfinite(found.train[0]).all()
    assert np.isfinite(found.test[0]).all()
    # And when predicting, in the company of numbers or alone.
    pipeline = found.pipeline
    assert isinstance(pipeline, Pipeline)
    for given in ([np.inf, 1.0, np.nan], ["inf"], [2.0, float("1e400")], ["7", "-1e999"]):
        table = Table.from_arrays({"x": given})
        assert np.isfinite(pipeline.transform(table)).all()
        assert pipeline.unread(table)["x"].count == 1
    with pytest.raises(
        DataError, match=r"row 2 of column 'x' is .*, which is too large for a float32"
    ):
        pipeline.transform(Table.from_arrays({"x": [1.0, 1e308]}))


def test_infinity_among_words_and_spelled_numbers_is_missing() -> None:
    mixed = [f"{0.7 * i:.2f}" for i in range(100)] + ["abc", "inf"]
    spelled = [f"{0.7 * i:.1f}".replace(".", ",") for i in range(100)] + ["inf", "-"]
    for cells in (mixed, spelled):
        pipeline = Pipeline.fit(Table.from_arrays({"x": cells, "y": range(102)}), "y")
        assert pipeline.feature_names == ("x", "x=missing")
        assert any("2 cells that can't be read" in note for note in pipeline.notes)
        assert pipeline.unread(Table.from_arrays({"x": [*cells[:9], "inf"]}))["x"].row == 10


def test_whole_numbers_of_any_length_are_infinite_at_most() -> None:
    table = Table.from_arrays({"x": [10**400, 2, 3, -(10**400)] * 10, "y": range(40)})
    pipeline = Pipeline.fit(table, "y")
    assert any("20 cells that can't be read" in note for note in pipeline.notes)
    assert np.isfinite(pipeline.transform(table)).all()


def test_true_and_false_with_junk_are_booleans() -> None:
    cells = ["True", "false", "true"] * 30 + ["tbd", "?"]
    table = Table.from_arrays({"paid": cells, "y": range(92)})
    pipeline = Pipeline.fit(table, "y")
    assert pipeline.feature_names == ("paid", "paid=missing")
    told = "`paid`: read as true or false; 1 cell that can't be read counts as missing, 'tbd' in"
    assert any(note.startswith(told) for note in pipeline.notes)
    X = pipeline.transform(table)
    assert np.flatnonzero(X[:, 1]).tolist() == [90, 91]
    assert len(np.unique(X[:90, 0])) == 2
    new = pipeline.transform(Table.from_arrays({"paid": ["false", "true", "no", "true"]}))
    assert new[:, 1].tolist() == [0, 0, 1, 0]
    np.testing.assert_array_equal(new[:2, 0], X[[1, 0], 0])
    bare = pipeline.transform(Table.from_arrays({"paid": [False, True]}))
    np.testing.assert_array_equal(bare[:, 0], X[[1, 0], 0])
    few = Table.from_arrays(
        {"paid": [*(["true", "false"] * 30), *["no", "yes"] * 5], "y": range(70)}
    )
    assert Pipeline.fit(few, "y").feature_names[0] == "paid=false"
