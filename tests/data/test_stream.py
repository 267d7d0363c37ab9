"""A table encoded to disk is the table encoded in memory, and takes no memory of its size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.errors import DataError, OptionError
from chainrule.data.splits import split_parts
from chainrule.data.streaming import stream, too_large_for_memory
from chainrule.tabular.problem import Problem, read_problem

MIXED = """
COPY (
    SELECT i AS n, sin(i) * 10 AS wave,
        CASE WHEN i % 7 = 0 THEN NULL ELSE cos(i) END AS gaps,
        ['red', 'blue', '17', 'green'][1 + CAST(hash(i) % 4 AS INT)] AS color,
        i % 3 = 0 AS flag, DATE '2020-01-01' + CAST(hash(i * 3) % 900 AS INT) AS day,
        {target} AS target
    FROM range(2000) AS r(i)
) TO '{path}'
"""
WORDS = "CASE WHEN i % 11 <> 5 THEN ['low', 'high', 'mid'][1 + CAST(hash(i + 1) % 3 AS INT)] END"
NUMBERS = "i * 0.5 + sin(i * i)"
DIGITS = "hash(i) % 5"


def write(path: Path, target: str) -> Path:
    duckdb.sql(MIXED.format(path=path, target=target))
    return path


def same(streamed: Problem, whole: Problem) -> None:
    assert streamed.rows == whole.rows
    assert streamed.pipeline.to_json() == whole.pipeline.to_json()
    for a, b in (
        (streamed.train, whole.train),
        (streamed.validation, whole.validation),
        (streamed.test, whole.test),
    ):
        assert a is not None
        assert b is not None
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])
        assert a[1].dtype == b[1].dtype


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("target", [WORDS, NUMBERS, DIGITS, "i % 2 = 0"])
def test_a_streamed_table_is_the_table_in_memory(
    tmp_path: Path, form: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chainrule.data.streaming._BLOCK_CELLS", 1)  # blocks of the fewest rows
    monkeypatch.setattr("chainrule.data.stored_targets._CELLS_AT_ONCE", 300)
    path = write(tmp_path / f"mixed.{form}", target)
    streamed, whole = read_problem(path, stream=True), read_problem(path, stream=False)
    same(streamed, whole)
    assert isinstance(streamed.train[0], np.memmap)
    assert list(Path(tmp_path).iterdir()) == [path]


@pytest.mark.parametrize(
    "options",
    [
        {"group": "color"},
        {"group": "gaps", "target": "flag"},
        {"group": "day", "target": "wave", "test_fraction": 0},
        {"time": "day"},
        {"time": "gaps", "target": "wave"},
        {"time": "n", "test_fraction": 0},
        {"weight": "n"},
        {"target": "wave,target,flag"},
        {
            "target": "target,wave",
            "group": "color",
            "weight": "n",
            "na": ["target=low", "color=17"],
        },
        {"target": "flag", "na": ["blue", "wave=0"], "roles": {"color": "category"}},
        {"target": "target", "na": ["mid"], "time": "day", "weight": "flag"},
        {"target": "target", "na": ["nothing"]},
    ],
    ids=str,
)
def test_what_is_said_of_rows_is_as_in_memory(
    tmp_path: Path, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chainrule.data.streaming._BLOCK_CELLS", 1)
    monkeypatch.setattr("chainrule.data.stored_targets._CELLS_AT_ONCE", 300)
    path = write(tmp_path / "mixed.csv", WORDS)
    streamed, whole = (read_problem(path, stream=s, **options) for s in (True, False))
    same(streamed, whole)
    for a, b in zip(streamed.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert streamed.leaks == whole.leaks


def test_a_group_without_a_cell_and_copies_without_test_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    lines = [f"{k % 60 / 7:.4f},,{k % 60 * 1.35:.4f}" for k in range(120)]
    path.write_text("x,who,y\n" + "\n".join(lines) + "\n")
    alone = read_problem(path, "y", group="who", stream=True)
    assert "120 groups, 120 rows without a group each alone" in " ".join(alone.pipeline.notes)
    problem = read_problem(path, "y", test_fraction=0)
    assert problem.rows["test"] == 0
    assert not {*problem.train[0].ravel()} & {*problem.validation[0].ravel()}  # type: ignore[index]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": "colour"}, "group: 'colour' is not a feature column. Did you mean 'color'"),
        ({"time": "target"}, "time: 'target' is not a feature column"),
        ({"time": "color"}, "time: column 'color' holds text"),
        ({"weight": "gaps"}, "weight: column 'gaps' must have a number in every row"),
        ({"time": "day", "group": "color"}, "give group or time, not both"),
    ],
)
def test_what_can_not_be_said_of_rows(tmp_path: Path, options: Any, message: str) -> None:
    path = write(tmp_path / "mixed.parquet", WORDS)
    for streamed in (True, False):
        with pytest.raises((DataError, OptionError), match=message):
            read_problem(path, stream=streamed, **options)


def test_a_leak_of_a_streamed_table_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "mixed.parquet", "sin(i) * 1000 + 7")
    assert [leak.column for leak in read_problem(path, stream=True).leaks] == ["wave"]


def test_a_query_is_streamed(tmp_path: Path) -> None:
    path = write(tmp_path / "mixed.csv", WORDS)
    query = f"SELECT wave, color, target FROM '{path}' WHERE n < 900"
    same(read_problem(query, stream=True), read_problem(query))


def test_a_sample_understands_the_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainrule.data.streaming.SAMPLE_ROWS", 400)
    path = write(tmp_path / "mixed.parquet", WORDS)
    streamed, whole = stream(path), read_problem(path, stream=False)
    names = [sorted(p.pipeline.feature_names) for p in (streamed, whole)]
    assert names[0] == names[1]  # n is still an id
    assert streamed.pipeline.classes == whole.pipeline.classes
    assert "the roles of columns were chosen from a random 400 of the training rows" in (
        streamed.pipeline.notes
    )
    X = streamed.train[0]
    assert np.abs(X[:, 0].mean()) < 0.15
    assert X[:, 0].std() == pytest.approx(1, abs=0.1)
    assert not np.allclose(X, whole.train[0])


def test_rows_held_out_change_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", NUMBERS)
    _, _, test = split_parts(2000)
    held = ",".join(map(str, test))
    duckdb.sql(
        f"COPY (SELECT * REPLACE (CASE WHEN n IN ({held}) THEN 1e9 ELSE wave END AS wave) "
        f"FROM '{path}') TO '{tmp_path / 'b.parquet'}'"
    )
    first, second = stream(path), stream(tmp_path / "b.parquet")
    assert first.pipeline.to_json() == second.pipeline.to_json()
    np.testing.assert_array_equal(first.train[0], second.train[0])
    assert second.test[0].max() > 1e6


def test_it_trains(tmp_path: Path) -> None:
    found = stream(write(tmp_path / "mixed.parquet", DIGITS))
    run = cr.fit(
        nn.Linear(found.train[0].shape[1], 5), found.train, loss="cross_entropy",
        validation=found.validation, epochs=2, progress=False,
    )  # fmt: skip
    assert run.settings["rows"] == len(found.train[1])
    assert 0 <= run.evaluate(found.test)["accuracy"] <= 1


def test_errors_name_the_row_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.parquet"
    y = "CASE WHEN i = 1234 THEN 'inf'::DOUBLE ELSE i * 0.3 END"
    duckdb.sql(f"COPY (SELECT sin(i) AS w, {y} AS y FROM range(2000) r(i)) TO '{path}'")
    with pytest.raises(DataError, match="row 1235 of target 'y' is infinite; correct or clear"):
        stream(path, "y")


def test_cells_not_read_are_counted_in_all_rows_not_in_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chainrule.data.streaming.SAMPLE_ROWS", 200)
    monkeypatch.setattr("chainrule.data.streaming._BLOCK_CELLS", 1)
    x = "CASE WHEN i % 100 = 7 THEN 'abc' ELSE CAST(i * 0.3 AS VARCHAR) END"
    path = tmp_path / "slips.parquet"
    duckdb.sql(f"COPY (SELECT {x} AS x, sin(i) AS y FROM range(3000) r(i)) TO '{path}'")
    train, held = (note for note in stream(path).pipeline.notes if "can't be read" in note)
    counts = [int(note.split(" cells")[0].split()[-1]) for note in (train, held)]
    assert sum(counts) == 30
    assert held.startswith("`x`, rows held out: ")


def test_a_lonely_class_is_named_by_its_row(tmp_path: Path) -> None:
    path = tmp_path / "lonely.csv"
    rows = [f"{i / 3},{'odd' if i == 41 else 'ab'[i % 2]}" for i in range(60)]
    path.write_text("\n".join(["x,y", *rows]) + "\n")
    with pytest.raises(DataError, match=r"class 'odd' of target 'y' has one row \(row 42\)"):
        stream(path)


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("x,y\n", None, "header but no rows"),
        ("y\n1.5\n2.5\n3.5\n", None, "no column besides the target"),
        ("x,y\n1,\n2,\n", None, "target 'y' has no value in any row"),
        ("x,y\n1,a\n2,a\n", None, "'a' in every row"),
        ("x,y\n1,2.5\n2,2.5\n3,2.5\n", None, "2.5 in every row; there is nothing to predict"),
        ("x,y\n1,2\n", "z", "no column 'z'"),
        (
            "x,y\n1,2020-01-02\n2,2020-01-03\n",
            None,
            "holds dates.*chosen by its name; name another",
        ),
    ],
)
def test_what_cannot_be_learned_is_refused(
    tmp_path: Path, text: str, target: str | None, message: str
) -> None:
    path = tmp_path / "few.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        stream(path, target)


def test_a_full_disk_is_told_before_encoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "mixed.csv", WORDS)
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=1000))
    with pytest.raises(DataError, match=r"needs .* GB; set TMPDIR"):
        stream(path, folder=tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_large_files_are_streamed_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "mixed.csv", WORDS)
    assert not too_large_for_memory(path)
    monkeypatch.setattr("chainrule.data.streaming._physical_memory", lambda: 1000)
    assert too_large_for_memory(path)
    assert isinstance(read_problem(path).train[0], np.memmap)
    assert not isinstance(read_problem(path, stream=False).train[0], np.memmap)


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupt(done: int, rows: int) -> None:
        raise KeyboardInterrupt

    path = write(tmp_path / "mixed.csv", WORDS)
    with pytest.raises(KeyboardInterrupt):
        stream(path, folder=tmp_path, watch=interrupt)
    assert list(tmp_path.iterdir()) == [path]


MEASURED = """
import re, sys, threading, time
import chainrule as cr
from chainrule import nn
from chainrule.data import read
from chainrule.data.streaming import stream

def now():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024

peak, over = 0, threading.Event()
def watch():
    global peak
    while not over.wait(0.01):
        peak = max(peak, now())
watcher = threading.Thread(target=watch, daemon=True)
watcher.start()
read._STORE_MEMORY = 2**27
found = stream(sys.argv[1], folder=sys.argv[2])
X = found.train[0]
cr.fit(nn.Linear(X.shape[1], 1), found.train, loss="mse", epochs=1, batch_size=256, progress=False)
over.set()
watcher.join()
print(peak, X.nbytes // 2**20)
"""


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    root = str(Path(cr.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "CHAINRULE_CACHE": str(tmp_path / "code")}
    peaks = []
    # DuckDB keeps up to 190 MB of such a table at hand, so both tables are larger than that.
    for rows in (500_000, 900_000):
        path = tmp_path / f"{rows}.parquet"
        columns = ", ".join(f"random() AS c{i}" for i in range(50))
        duckdb.sql(f"COPY (SELECT {columns} FROM range({rows})) TO '{path}'")
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, str(path), str(tmp_path)],
            env=environment, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        peaks.append(int(done.stdout.split()[0]))
    # 400,000 rows more are 80 MB more as float32 and 160 MB as float64, for each copy of them.
    assert peaks[1] - peaks[0] < 70, peaks
