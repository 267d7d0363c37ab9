"""Splits that keep groups, copies and the future apart, through `read_problem` and the command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from chainrule.cli.commands import command_line
from chainrule.core.errors import DataError, OptionError
from chainrule.data import Pipeline
from chainrule.data.splits import split_groups, split_times
from chainrule.tabular.problem import Problem, read_problem

ROWS = 300
RNG = np.random.default_rng(0)
SIZE = RNG.normal(size=ROWS)


def parts(problem: Problem) -> list[set[int]]:
    """Return the rows of each part, by a column `row` that is their number times 1.5."""
    pipeline = problem.pipeline
    assert isinstance(pipeline, Pipeline)
    place = pipeline.feature_names.index("row")
    pieces = [problem.train, problem.validation, problem.test]
    back = [pipeline.encoders[place].scaling.inverse(p[0][:, [place]]) for p in pieces if p]  # type: ignore[union-attr]
    return [set(np.round(rows.ravel() / 1.5).astype(int).tolist()) for rows in back]


def table(**more: Any) -> dict[str, Any]:
    return {"row": np.arange(ROWS) * 1.5 + 0.0, "size": SIZE, **more, "y": np.round(SIZE * 3, 3)}


def test_rows_of_a_group_are_in_one_part() -> None:
    patient = [f"p{k % 37}" if k % 50 else None for k in range(ROWS)]
    problem = read_problem(table(patient=patient), "y", group="patient")
    found = parts(problem)
    assert sorted(row for part in found for row in part) == list(range(ROWS))
    groups = [{patient[row] for row in part} - {None} for part in found]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    assert 0.15 * ROWS < len(found[2]) < 0.25 * ROWS
    assert problem.pipeline.feature_names == ("row", "size")  # patients to come are others
    told = [note for note in problem.pipeline.notes if "`patient`" in note]
    assert "43 groups, 6 rows without a group each alone" in told[0]
    kept = read_problem(table(patient=patient), "y", group="patient",
                        roles={"patient": "category"})  # fmt: skip
    assert len(kept.pipeline.feature_names) > 2


def test_groups_of_classes_keep_their_shares() -> None:
    groups = np.arange(600) // 3
    classes = (groups % 10 == 0).astype(np.int64)
    train, held, test = split_groups(groups, classes, 0.2, seed=3)
    assert held is not None
    for part in (train, held, test):
        assert classes[part].mean() == pytest.approx(0.1, abs=0.03)
        assert not set(groups[part]) & set(groups[np.setdiff1d(np.arange(600), part)])


def test_the_future_is_never_trained_on() -> None:
    when = RNG.permutation(np.arange(ROWS) // 2)
    days = (np.datetime64("2020-01-01") + when).astype(str)
    for column in (when, days, [None, *days[1:]]):
        problem = read_problem(table(when=column), "y", time="when")
        found = [sorted(part) for part in parts(problem)]
        latest = [when[part].max() for part in found]
        earliest = [when[part].min() for part in found]
        assert latest[0] < earliest[1]
        assert latest[1] < earliest[2]
        assert len(found[2]) == pytest.approx(0.2 * ROWS, abs=4)
    assert any("1 row without a value of `when` left out" in n for n in problem.pipeline.notes)
    assert sum(map(len, found)) == ROWS - 1


def test_what_can_not_be_split() -> None:
    for options, error, says in [
        ({"group": "size", "time": "row"}, OptionError, "group or time, not both"),
        ({"group": "sizes"}, DataError, "group: 'sizes' is not a feature column. Did you mean"),
        ({"time": "y"}, DataError, "time: 'y' is not a feature column"),
        ({"time": "word"}, DataError, "holds text, not dates or numbers"),
        ({"group": "same"}, DataError, "All rows are of one group"),
        ({"time": "zero"}, DataError, "All rows are of one time"),
    ]:
        data = table(word=["a", "b"] * 150, same=["x"] * ROWS, zero=np.zeros(ROWS))
        with pytest.raises(error, match=says):
            read_problem(data, "y", **options)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="one time"):
        split_times(np.ones(5))


def test_copies_are_in_one_part_and_told() -> None:
    first = {name: np.asarray(values) for name, values in table().items()}
    del first["row"]
    data = {name: np.r_[values, values[:60], values[:10]] for name, values in first.items()}
    problem = read_problem({"id": range(370), **data}, "y")
    (told,) = (note for note in problem.pipeline.notes if "copies" in note)
    assert told.startswith("70 rows of 370 are copies of others in every cell that is used")
    assert problem.validation is not None
    rows = [{row.tobytes() for row in part[0]} for part in
            (problem.train, problem.validation, problem.test)]  # fmt: skip
    assert not rows[0] & rows[1] | rows[0] & rows[2] | rows[1] & rows[2]
    assert sum(problem.rows.values()) == 370


@pytest.mark.parametrize("digits", [0, 1])
def test_rows_that_are_equal_by_nature_are_left(digits: int) -> None:
    grades = np.round(RNG.normal(size=(ROWS, 2)), digits)
    data = {"a": grades[:, 0], "b": grades[:, 1], "y": RNG.integers(0, 3, ROWS)}
    assert not any("copies" in note for note in read_problem(data, "y").pipeline.notes)


def test_the_command_splits_so_and_writes_it_down(tmp_path: Path) -> None:
    path, place = tmp_path / "t.csv", tmp_path / "r"
    rows = [f"p{k % 20},{SIZE[k]:.3f},{SIZE[k] * 2:.2f}" for k in range(ROWS)]
    path.write_text("patient,size,y\n" + "\n".join(rows) + "\n")
    given = [str(path), "--group", "patient", "--hidden", "8", "--epochs", "1", "--no-report",
             "--out", str(place)]  # fmt: skip
    done = CliRunner().invoke(command_line, ["train", *given])
    assert done.exit_code == 0, done.output
    assert "the rows of one `patient` are in one part: 20 groups" in " ".join(done.output.split())
    assert 'group = "patient"' in (place / "config.toml").read_text()


SPLIT = """
from chainrule.tabular.problem import read_problem

places = [k % 30 for k in range(60)]
rows = {"size": [0.5 * k for k in places], "word": ["abcdefg"[k % 7] for k in places]}
rows["price"] = [2 * size for size in rows["size"]]
problem = read_problem(rows, "price")
print(any("copies" in note for note in problem.pipeline.notes), problem.train_rows.tolist())
"""


def test_the_split_of_copies_is_the_same_in_any_process() -> None:
    def split(seed: str) -> str:
        command = [sys.executable, "-c", SPLIT]
        env = {**os.environ, "PYTHONHASHSEED": seed}
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout

    first = split("1")
    assert first.startswith("True [")
    assert split("2") == first
