"""Numbers spelled for people: read where one spelling fits, told of where none does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from chainrule.core.errors import DataError
from chainrule.data import Pipeline, Table, read_table, stream
from chainrule.data.spelling import advise, find_spelling, parse_spelled


@pytest.mark.parametrize(
    ("cells", "spelling", "values"),
    [
        (["3,50", "12", "-0,125"], "1.234,5", [3.5, 12, -0.125]),
        (["1.234,50", "12"], "1.234,5", [1234.5, 12]),
        (["1,234,567", "83,879"], "1,234.5", [1234567, 83879]),
        (["83,879.5", "83,879"], "1,234.5", [83879.5, 83879]),
        (["€65.16", "€ 7"], "€1234.5", [65.16, 7]),
        (["65,16 €", "-7 €"], "€1.234,5", [65.16, -7]),
        (["$1,200.50", "$-3"], "$1,234.5", [1200.5, -3]),
        (["44.9%", "+5 %"], "1234.5%", [44.9, 5]),
        (["44,9%", "5%"], "1.234,5%", [44.9, 5]),
    ],
)
def test_one_spelling_is_read(cells: list[str], spelling: str, values: list[float]) -> None:
    found = find_spelling(cells)
    assert found == (spelling, values)


@pytest.mark.parametrize(
    "cells",
    [
        ["83,879", "12,500"],  # thousands, or three decimals
        ["€1.234", "€2.500"],
        ["3,50", "1,234.5"],  # two spellings
        ["€5", "$5"],
        ["44.9%", "0.5"],  # 0.5 %, or 50 %?
        ["007", "010"],
        ["1,2,3", "4,5"],
        ["3,5", "abc"],
        ["1,", ",5"],
        ["--5%", "5%"],
        ["€5€", "€5€"],
        ["1.2.3", "1,5"],
    ],
)
def test_what_may_be_read_otherwise_is_not_read(cells: list[str]) -> None:
    assert find_spelling(cells) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["83,879", "12,500"], "say --role 'COLUMN=number(thousands=\",\")'"),
        (["3,50", "1,234.5"], "written in several formats"),
        (["1", "2", "3", "4", "5,x"], "most cells are numbers, but not '5,x'"),
        (["red", "blue"], ""),
        (["red", "1,5"], ""),
    ],
)
def test_what_keeps_a_column_from_being_numbers_is_told(words: list[str], said: str) -> None:
    assert said in advise(words)
    assert bool(said) == bool(advise(words))


def prices(rows: int = 60) -> Table:
    rng = np.random.default_rng(0)
    areas = rng.uniform(20, 200, rows)
    return Table.from_arrays(
        {
            "area": [f"{area:.1f}".replace(".", ",") for area in areas],
            "share": [f"{k % 9}.5%" if k % 7 else None for k in range(rows)],
            "count": [f"{83 + k},{k % 999:03}" for k in range(rows)],
            "price": [f"€{1000 * area:,.2f}" for area in areas],
        }
    )


def test_a_pipeline_keeps_the_spelling_and_says_so() -> None:
    table = prices()
    pipeline = Pipeline.fit(table, "price", rows=range(40))
    assert pipeline.feature_names == ("area", "share", "share=missing", "count")
    assert pipeline.task == "regression"
    assert pipeline.target.mean == pytest.approx(table["price"].values[:40].mean())
    notes = "\n".join(pipeline.notes)
    assert "`area`: numbers written as 1.234,5, so '" in notes
    assert "`share`: numbers written as 1234.5%" in notes
    assert "target `price`: numbers written as €1,234.5" in notes
    # Commas are before decimals in one column and group thousands in another.
    assert "`count`: numbers written as 1,234.5, so '83,000' is 83000; a guess" in notes
    again = Pipeline.from_json(json.loads(json.dumps(pipeline.to_json())))
    assert again == pipeline
    whole = again.transform(table)
    # A row alone may hold a number without a comma, or one that could be read otherwise.
    rows = np.concatenate([again.transform(table, [row]) for row in range(len(table))])
    assert np.array_equal(rows, whole)
    targets = [again.encode_target(table, [row])[0] for row in range(len(table))]
    assert np.array_equal(targets, again.encode_target(table))


@pytest.mark.parametrize(
    ("trained", "given", "holds"),
    [
        (["3,5", "4", "7,25", "8"], [1.5, 2.0], "1.5"),
        (["3,5", "4", "7,25", "8"], ["€3,5", "€4"], "€3,5"),
        (["44.9%", "5%", "7%", "8%"], [0.449, 0.05], "0.449"),
        ([3.5, 4.0, 7.25, 8.0], ["3,5", "4"], "3,5"),
    ],
)
def test_another_spelling_is_refused(trained: list, given: list, holds: str) -> None:  # type: ignore[type-arg]
    pipeline = Pipeline.fit(Table.from_arrays({"x": trained, "y": ["a", "b", "a", "b"]}), "y")
    with pytest.raises(DataError, match=f"row 1 of column 'x' holds '{holds}'"):
        pipeline.transform(Table.from_arrays({"x": given}))


def test_whole_numbers_are_the_same_in_every_spelling() -> None:
    pipeline = Pipeline.fit(
        Table.from_arrays({"x": ["3,5", "4", "7", "8"], "y": ["a", "b", "a", "b"]}), "y"
    )
    one = pipeline.transform(Table.from_arrays({"x": [4.0, 7.0]}))
    assert np.array_equal(one, pipeline.transform(Table.from_arrays({"x": ["4", "7"]})))


def test_a_stream_reads_alike(tmp_path: Path) -> None:
    rows = [f"{k % 9},{k % 7}5;€{k % 13},{k % 7}0" for k in range(400)]
    path = tmp_path / "t.csv"
    path.write_text("x;y\n" + "\n".join(rows) + "\n")
    assert read_table(path)["x"].spelling == "1.234,5"
    streamed = stream(path, "y", seed=0)
    assert streamed.pipeline.feature_names == ("x",)
    assert streamed.pipeline.target.spelling == "€1.234,5"
    assert sum("numbers written as" in note for note in streamed.pipeline.notes) == 2


def test_a_cell_of_another_spelling_is_no_number() -> None:
    assert parse_spelled("1.5", "1.234,5") is None
    assert parse_spelled("1.500", "1.234,5") == 1500
