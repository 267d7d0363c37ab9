"""How a whole table writes numbers and dates: inferred, told, and said by the user."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from chainrule.cli.commands import command_line
from chainrule.core.errors import DataError, OptionError
from chainrule.data import Pipeline, Table, read_table, stream
from chainrule.data.dates import find_date_format, parse_date
from chainrule.data.writing import infer_writing
from chainrule.tabular.problem import read_problem

ROWS = 80
OPEN = [f"{1 + k},{100 + 7 * k % 900}" for k in range(ROWS)]  # thousands, or three decimals


def table(**columns: Any) -> Table:
    return Table.from_arrays({**columns, "y": np.arange(ROWS) % 7 * 1.5})


def note_on(pipeline: Pipeline, name: str) -> str:
    return next((note for note in pipeline.notes if f"`{name}`" in note), "")


@pytest.mark.parametrize(
    ("more", "factor", "why"),
    [
        ({"size": ["0.5", "12.25"] * 40}, 1000, "as '0.5' in `size` shows"),
        ({"size": ["0,5", "12,25"] * 40}, 1, "as '0,5' in `size` shows"),
        ({"size": ["1.234,5", "7"] * 40}, 1, "as '1.234,5' in `size` shows"),
        ({"size": ["€1,234.5", "€7"] * 40}, 1000, "as '€1,234.5' in `size` shows"),
        ({"size": ["0,5", "7"] * 40, "more": ["0.5", "x y"] * 40}, 1, "as '0,5' in `size`"),
        ({"size": ["0,5", "7"] * 40, "more": ["0.5", "7"] * 40}, 1000, "a guess"),
        ({}, 1000, "a guess"),
    ],
)
def test_other_columns_tell_what_a_comma_means(
    more: Mapping[str, list[str]], factor: int, why: str
) -> None:
    plain = {name: list(words) for name, words in more.items()}
    # Numbers in memory show nothing of how text is written, so plain decimals are given as words.
    cells = {name: [*words[:-1], "-"] for name, words in plain.items()}
    found = table(price=OPEN, **cells)
    expected = [float(cell.replace(",", ".")) * factor for cell in OPEN]
    assert found["price"].values.tolist() == pytest.approx(expected)
    assert why in note_on(Pipeline.fit(found, "y"), "price")


@pytest.mark.parametrize(
    ("cells", "decimal", "why"),
    [
        (["$83,879", "$12,500"], ".", "no three decimals"),
        (["83,879%", "12,500%"], ",", "percentage"),
        (["950", "12,500", "83,879"], ".", "below 1000"),
        (["1250", "12,500", "83,879"], ",", "a guess"),
        (["83,879", "12,512"], ".", "a guess"),
        (["3,5", "83,879"], ",", ""),
        (["3,5", "3.5"], "", ""),
        (["1.234", "5.678"], ".", ""),
        (["red", "blue"], "", ""),
    ],
)
def test_a_column_alone(cells: list[str], decimal: str, why: str) -> None:
    found = infer_writing({"a": cells})["a"]
    assert found.decimal == decimal
    assert why in found.why
    assert bool(why) == bool(found.why)


def test_points_group_thousands_where_commas_are_decimal(tmp_path: Path) -> None:
    rows = [f"{k % 9 + 1}.{k % 7}00;{k % 13},{k % 4}5;{k % 5},5" for k in range(ROWS)]
    path = tmp_path / "t.csv"
    path.write_text("price;size;y\n" + "\n".join(rows) + "\n")
    found = read_table(path)
    expected = [1000 * (k % 9 + 1) + 100 * (k % 7) for k in range(ROWS)]
    assert found["price"].values.tolist() == expected
    problem = read_problem(path, "y")
    assert "so '1.000' is 1000; as '0,05' in `size` shows" in note_on(problem.pipeline, "price")
    # A decimal with a point anywhere in the file, and these are plain numbers.
    path.write_text("price;size;y\n" + "\n".join([*rows, "1.25;3,5;1,5"]) + "\n")
    assert read_table(path)["price"].values[:2].tolist() == [1.0, 2.1]


@pytest.mark.parametrize(
    ("cells", "said", "first"),
    [
        (OPEN, 'number(thousands=",")', 1100.0),
        (OPEN, 'number(decimal=",")', 1.1),
        (OPEN, "number(decimal=,)", 1.1),
        ([cell.replace(",", ".") for cell in OPEN], 'number(thousands=".")', 1100.0),
        ([cell.replace(",", ".") for cell in OPEN], 'number(decimal=".")', 1.1),
    ],
)
@pytest.mark.parametrize("form", ["file", "arrays", "stream"])
def test_a_role_says_it(
    tmp_path: Path, cells: list[str], said: str, first: float, form: str
) -> None:
    lines = "\n".join(f'"{cell}",{k % 7}.5' for k, cell in enumerate(cells))
    path = tmp_path / "t.csv"
    path.write_text(f"price,y\n{lines}\n")
    source: Any = path if form != "arrays" else {"price": cells, "y": np.arange(ROWS) % 7}
    if form == "stream":
        if cells[0] == "1.100" and first > 1000:
            pytest.skip("plain numbers are stored as such")
        pipeline = stream(path, "y", roles={"price": said}).pipeline
    else:
        if cells[0] == "1.100" and first > 1000 and form == "arrays":
            pytest.skip("plain numbers are taken as such")
        problem = read_problem(source, "y", roles={"price": said})
        assert problem.raw is not None
        assert problem.raw[0]["price"].values[0] == pytest.approx(first)  # type: ignore[index]
        pipeline = problem.pipeline  # type: ignore[assignment]
    assert (pipeline.encoders[0].least[0] > 1000) == (first > 1000)  # type: ignore[union-attr]


def test_a_role_of_the_target_says_it_too() -> None:
    asked = {"price": 'number(decimal=",")'}
    problem = read_problem({"x": np.arange(ROWS) % 9, "price": OPEN}, "price", roles=asked)
    assert problem.pipeline.target.mean == pytest.approx(40, abs=15)
    told = note_on(problem.pipeline, "price")  # type: ignore[arg-type]
    assert told.endswith("numbers written as 1.234,5; as given")


def test_a_guess_of_the_target_is_told() -> None:
    problem = read_problem({"x": np.arange(ROWS) % 9, "price": OPEN}, "price")
    assert problem.pipeline.target.mean > 1000
    assert "a guess" in note_on(problem.pipeline, "price")  # type: ignore[arg-type]
    assert 'number(decimal=",")' in note_on(problem.pipeline, "price")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "role", ["number(thousands)", "number(dayfirst)", "date(decimal=,)", "number()", "number(x=3)"]
)
def test_what_a_role_can_not_say(role: str) -> None:
    with pytest.raises(OptionError, match=r'write number\(thousands=","\)'):
        Pipeline.fit(table(price=OPEN), "y", roles={"price": role})


def test_the_command_line_says_it(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("price,y\n" + "\n".join(f'"{c}",{k % 7}.5' for k, c in enumerate(OPEN)) + "\n")
    given = [str(path), "--epochs", "1", "--no-report", "--out", str(tmp_path / "r")]
    done = CliRunner().invoke(
        command_line, ["train", *given, "--role", 'price=number(decimal=",")']
    )
    assert done.exit_code == 0, done.output
    assert "so '1,100' is 1.1; as given" in " ".join(done.output.split())
    again = CliRunner().invoke(
        command_line,
        ["train", "--config", str(tmp_path / "r" / "config.toml"), "--out", str(tmp_path / "s")],
    )
    assert "so '1,100' is 1.1; as given" in " ".join(again.output.split()), again.output


def test_predicting_reads_as_in_training(tmp_path: Path) -> None:
    rows = [f"{k % 9 + 1}.{k % 7}00;{k % 13},{k % 4}5;{k % 5},5" for k in range(ROWS)]
    train, new = tmp_path / "t.csv", tmp_path / "new.csv"
    train.write_text("price;size;y\n" + "\n".join(rows) + "\n")
    new.write_text("price;size\n1.200;3\n900;4\n")  # which alone shows nothing
    pipeline = read_problem(train, "y").pipeline
    assert isinstance(pipeline, Pipeline)
    read = read_table(new, writing=pipeline.writing)
    assert read["price"].values.tolist() == [1200, 900]
    assert np.isfinite(pipeline.transform(read)).all()


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1 234,5", "12"], [1234.5, 12]),
        (["1\u00a0234", "1\u202f234\u202f567"], [1234, 1234567]),
        (["1'234.50", "7"], [1234.5, 7]),
        (["CHF 1'200", "CHF 7"], [1200, 7]),
        (["1.200,50 EUR", "3 EUR"], [1200.5, 3]),
        (["\u22125,5", "3,5"], [-5.5, 3.5]),
    ],
)
def test_more_ways_to_write_numbers(cells: list[str], values: list[float]) -> None:
    assert Table.from_arrays({"a": cells})["a"].values.tolist() == values


@pytest.mark.parametrize(
    ("cells", "form"),
    [
        (["31.12.2024", "1.2.2024"], "%d.%m.%Y"),
        (["31-12-2024", "01-02-2024"], "%d-%m-%Y"),
        (["12/31/24", "1/2/24"], "%m/%d/%y"),
        (["3 Mar 2024", "12 Dec 2023"], "%d %b %Y"),
        (["March 3, 2024", "May 1, 2023"], "%B %d, %Y"),
        (["31/12/2024 10:05", "1/2/2024 9:30 PM"], "%d/%m/%Y"),
        (["2024-01-31", "31.12.2024", "Mar 3, 2024"], "iso|%d.%m.%Y|%b %d, %Y"),
        (["2024-01-31", "13/1/2024", "1/2/2024"], "iso|%d/%m/%Y"),
        (["13/1/2024", "1/13/2024"], ""),  # no order fits both
        (["1.2", "3.4"], ""),
        (["red", "1/2/2024"], ""),
    ],
)
def test_formats_of_dates(cells: list[str], form: str) -> None:
    assert find_date_format(cells) == form


def test_the_time_of_day_is_kept() -> None:
    assert str(parse_date("31/12/2024 9:05:07 PM", "%d/%m/%Y")) == "2024-12-31 21:05:07"
    assert parse_date("31/12/2024 25:00", "%d/%m/%Y") is None


def test_one_column_tells_the_order_of_another() -> None:
    start = [f"{1 + k % 12}/{1 + k % 11}/2024" for k in range(ROWS)]
    end = [f"{1 + k % 28}/{1 + k % 11}/2024" for k in range(ROWS)]
    found = table(start=start, end=end)
    assert found["start"].date_format == "%d/%m/%Y"
    assert str(found["start"].values[1])[:10] == "2024-02-02"
    assert note_on(Pipeline.fit(found, "y"), "start") == ""
    alone = table(start=start)
    assert alone["start"].date_format == "%m/%d/%Y"
    told = note_on(Pipeline.fit(alone, "y"), "start")
    assert "'1/1/2024' was read month first" in told
    assert "--role 'start=date(dayfirst)'" in told
    said = Pipeline.fit(alone, "y", roles={"start": "date(dayfirst)"})
    assert said.encoders[0].date_format == "%d/%m/%Y"  # type: ignore[union-attr]
    assert note_on(said, "start") == "`start`: date, as given"


def test_the_order_in_training_rows_is_that_of_the_whole_table() -> None:
    cells = [f"{1 + k % 12}/{1 + k % 11}/2024" for k in range(ROWS - 1)] + ["31/1/2024"]
    problem = read_problem({"d": cells, "y": np.arange(ROWS) % 7 * 1.5}, "y")
    pipeline = problem.pipeline
    assert isinstance(pipeline, Pipeline)
    assert pipeline.encoders[0].date_format == "%d/%m/%Y"  # type: ignore[union-attr]


def test_mixed_dates_are_dates_and_told() -> None:
    days = np.datetime64("2024-01-01") + np.arange(ROWS)
    forms = ("%Y-%m-%d", "%d.%m.%Y", "%b %d, %Y")
    cells = [day.strftime(forms[k % 3]) for k, day in enumerate(days.tolist())]
    pipeline = Pipeline.fit(table(d=cells), "y")
    assert "d.days" in pipeline.feature_names
    assert "dates written in several ways, such as '2024-01-01'" in note_on(pipeline, "d")
    X = pipeline.transform(table(d=cells))
    assert np.all(np.diff(X[:, pipeline.feature_names.index("d.days")]) > 0)
    with pytest.raises(DataError, match="row 1 of column 'd'"):
        pipeline.transform(Table.from_arrays({"d": ["7/8/2024", "9/10/2024"]}))


def test_numbers_with_many_gaps_are_numbers() -> None:
    cells = [f"{k}.5" if k % 3 else "-" for k in range(ROWS)]
    pipeline = Pipeline.fit(table(a=cells), "y")
    assert pipeline.feature_names == ("a", "a=missing")
    assert "27 cells that can't be read count as missing, the first '-'" in note_on(pipeline, "a")
    words = Pipeline.fit(table(a=[f"{k}.5" if k % 3 else "free" for k in range(ROWS)]), "y")
    assert words.feature_names != pipeline.feature_names
