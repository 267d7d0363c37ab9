"""Values that stand for "no value": sentinels, found or told, and words that the user names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from chainrule.cli.commands import command_line
from chainrule.data import Pipeline, Table, read_table
from chainrule.data.gaps import find_sentinels, with_gaps
from chainrule.tabular.problem import read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.table_prediction import predict_table
from chainrule.tabular.table_training import fit_table

AGES = [float(18 + k % 60) for k in range(100)]


def found_in(values: list[float]) -> list[tuple[float, bool]]:
    column = Table.from_arrays({"a": values})["a"]
    return [(sentinel.value, sentinel.surely) for sentinel in find_sentinels(column)]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([*AGES, -999, -999], [(-999, True)]),
        ([*AGES, -99, -99], [(-99, True)]),
        ([*AGES, 999, 999, 999], [(999, True)]),
        ([*AGES, -999, -999, 9999, 9999], [(-999, True), (9999, True)]),
        ([*(x * 100 for x in AGES), -999, -999], [(-999, True)]),  # the only negative number
        ([*AGES, -999], []),  # once is a number
        ([*AGES, 99, 99, 99], []),  # an age
        ([*(x - 300 for x in AGES), *(x + 500 for x in AGES), -999, -999], [(-999, False)]),
        ([*AGES, *[0.0] * 9], [(0, False)]),
        ([*AGES, *[-1.0] * 9], [(-1, False)]),
        ([float(k % 30) for k in range(100)], []),  # 0 is a number among others
        ([float(k % 3 - 1) for k in range(100)], []),  # -1, 0 and 1
        ([1.0, 999.0] * 50, []),  # two codes
        (AGES, []),
    ],
)
def test_what_is_found(values: list[float], found: list[tuple[float, bool]]) -> None:
    assert sorted(found_in(values)) == sorted(found)


def test_a_sentinel_is_missing_here_and_in_new_tables() -> None:
    values = [*AGES, *[-999.0] * 4]
    table = Table.from_arrays({"age": values, "y": np.arange(104) % 7 * 1.5})
    pipeline = Pipeline.fit(table, "y")
    told = [note for note in pipeline.notes if "`age`" in note]
    assert told == ["`age`: -999 in 4 cells, first in row 101, counts as missing, as all other "
                    "values are from 18 to 77"]  # fmt: skip
    assert pipeline.feature_names == ("age", "age=missing")
    again = Pipeline.from_json(json.loads(json.dumps(pipeline.to_json())))
    X = again.transform(Table.from_arrays({"age": [20.0, -999.0, np.nan]}))
    assert np.array_equal(X[1], X[2])
    assert X[:, 1].tolist() == [0, 1, 1]


def test_a_doubtful_value_is_told_and_kept() -> None:
    table = Table.from_arrays({"bmi": [*AGES, *[0.0] * 9], "y": np.arange(109) % 7 * 1.5})
    pipeline = Pipeline.fit(table, "y")
    assert pipeline.feature_names == ("bmi",)
    (told,) = (note for note in pipeline.notes if "`bmi`" in note)
    assert "0 in 9 cells, first in row 101" in told
    assert told.endswith("if it stands for no value, say --na 'bmi=0'")


@pytest.mark.parametrize(
    ("cells", "na", "missing"),
    [
        ([1.0, 0.0, 3.0, -999.0], ["-999"], [3]),
        ([1.0, 0.0, 3.0, -999.0], ["-999", "x=0"], [1, 3]),
        ([1.0, 0.0, 3.0, -999.0], ["other=0"], []),
        (["1", "Unknown", "3", "-999.0"], ["unknown", "-999"], [1, 3]),
        (["a", "b", "none", "-"], ["none", "-"], [2, 3]),
        (["€1,50", "€-999,00", "€3", "€2"], ["-999"], [1]),
        (["2024-01-05", "1900-01-01", "2024-02-01", "2024-03-01"], ["1900-01-01"], [1]),
        ([True, False, True, False], ["false"], [1, 3]),
    ],
)
def test_words_that_are_named(cells: list[Any], na: list[str], missing: list[int]) -> None:
    table = with_gaps(Table.from_arrays({"x": cells, "other": ["p", "q", "r", "s"]}), na)
    assert np.flatnonzero(table["x"].missing).tolist() == missing
    assert not table["other"].missing.any()


def test_named_words_are_missing_in_training_and_prediction(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"{k % 50 if k % 9 else 'unknown'},{'ab'[k % 2] if k % 8 else 'none'},{k % 2}.5"
            for k in range(120)]  # fmt: skip
    path.write_text("x,word,y\n" + "\n".join(rows) + "\n")
    problem = read_problem(path, "y", task="regression", na=["unknown", "word=none"])
    pipeline = problem.pipeline
    assert isinstance(pipeline, Pipeline)
    assert sorted(pipeline.feature_names) == ["word=a", "word=b", "word=missing", "x", "x=missing"]
    assert any("missing, as they are 'unknown', 'word=none': 14 cells of `x`, 15 cells of" in note
               for note in pipeline.notes)  # fmt: skip
    run = fit_table(
        problem, choose_settings(80, hidden=[16], task="regression", epochs=1), progress=False
    )
    run.save(tmp_path / "r")
    told: list[str] = []
    new = {"x": ["unknown", "3"], "word": ["none", "a"]}
    predict_table(run, new, tell=told.append)
    assert told == []
    X = pipeline.transform(Table.from_arrays(new))
    assert X[:, 1].tolist() == [1, 0]
    given = [str(path), "--target", "y", "--task", "regression", "--na", "unknown,word=none"]
    done = CliRunner().invoke(
        command_line,
        ["train", *given, "--epochs", "1", "--no-report", "--out", str(tmp_path / "s")],
    )
    assert done.exit_code == 0, done.output
    assert "14 cells of `x`, 15 cells of `word`" in " ".join(done.output.split())
    assert 'na = ["unknown", "word=none"]' in (tmp_path / "s" / "config.toml").read_text()
    streamed = read_problem(
        path, "y", task="regression", na=["unknown", "word=none"], stream=True
    ).pipeline
    assert isinstance(streamed, Pipeline)
    assert streamed.to_json() == pipeline.to_json()


def test_rows_without_a_target_are_those_that_are_named() -> None:
    data = {"x": np.arange(60) * 0.5, "y": [float(k % 7) if k % 6 else -999.0 for k in range(60)]}
    problem = read_problem(data, "y", task="regression", na=["y=-999"])
    assert sum(problem.rows.values()) == 50
    assert problem.pipeline.target.mean == pytest.approx(3, abs=0.6)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_sentinel_in_the_target_is_told_and_kept(tmp_path: Path, streamed: bool) -> None:
    path = tmp_path / "t.csv"
    cells = [-999 if k in (3, 40, 70) else 20 + k % 37 for k in range(90)]
    path.write_text(
        "x,age\n" + "\n".join(f"{k * 0.37:.2f},{y}" for k, y in enumerate(cells)) + "\n"
    )
    problem = read_problem(path, "age", task="regression", stream=streamed)
    assert (
        "target `age`: -999 in 3 cells, first in row 4, where all other values are from 20 to 56; "
        "if it stands for no value, say --na 'age=-999'"
    ) in problem.pipeline.notes
    assert sum(problem.rows.values()) == 90
    said = read_problem(path, "age", task="regression", stream=streamed, na=["age=-999"])
    assert sum(said.rows.values()) == 87
    assert not any("if it stands for" in note for note in said.pipeline.notes)


def test_a_word_that_does_not_occur_is_told() -> None:
    data = {"x": np.arange(60) * 0.5, "y": np.arange(60) % 7}
    notes = read_problem(data, "y", na=["nothing"]).pipeline.notes
    assert "no cell is 'nothing', so --na changes nothing" in notes


def test_a_written_file_keeps_gaps_of_words(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "\n".join(f"{k if k % 3 else 'n/k'},{k}.5" for k in range(90)) + "\n")
    pipeline = Pipeline.fit(read_table(path), "y")
    assert pipeline.feature_names == ("x", "x=missing")
