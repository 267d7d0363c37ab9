"""Twelve untidy tables, written as people write them: what is said, and what comes out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from chainrule.core.errors import DataError
from chainrule.tabular.problem import Problem, read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.table_training import fit_table
from chainrule.train.run import Run

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(header: str, rows: Sequence[str], above: str = "", encoding: str = "utf-8") -> Path:
        path = tmp_path / "table.csv"
        path.write_text(above + header + "\n" + "\n".join(rows) + "\n", encoding=encoding)
        return path

    return write


def train(problem: Problem, epochs: int = 40) -> Run:
    settings = choose_settings(
        problem.rows["train"],
        task=problem.pipeline.task,
        validated=problem.validation is not None,
        epochs=epochs,
        hidden=[64],
    )
    return fit_table(problem, settings, progress=False)


def said(problem: Problem) -> str:
    return "\n".join(problem.pipeline.notes)


def numbers(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(1, 9, rows), rng.uniform(1, 9, rows)
    return a, b, 3 * a - 2 * b + 0.1 * rng.normal(size=rows)


def test_sentinels(write: Write) -> None:
    a, b, y = numbers(400)
    rows = [
        f"{-999 if k % 9 == 0 else f'{a[k]:.2f}'},{'-' if k % 7 == 0 else f'{b[k]:.2f}'},{y[k]:.2f}"
        for k in range(400)
    ]
    problem = read_problem(write("a,b,y", rows), "y")
    assert "`a`: -999 in " in said(problem)
    assert "counts as missing, as all other values are from 1" in said(problem)
    assert "the first '-' in row 1" in said(problem)
    assert problem.pipeline.feature_names == ("a", "a=missing", "b", "b=missing")
    assert train(problem).scores["test"]["r2"] > 0.5


def test_leaks(write: Write) -> None:
    a, b, y = numbers(400)
    bad = y > np.median(y)
    rows = [
        f"{a[k]:.2f},{b[k]:.2f},{'2024-03-01' if bad[k] else ''},{'B' if bad[k] else 'G'},"
        f"{'bad' if bad[k] else 'good'}"
        for k in range(400)
    ]
    path = write("a,b,written off,grade,y", rows)
    found = {leak.column: leak.kind for leak in read_problem(path, "y").leaks}
    assert found == {"written off": "missing", "grade": "recoding"}
    asked = {"written off": "dropped", "grade": "dropped"}
    problem = read_problem(path, "y", roles=asked)
    assert problem.leaks == ()
    assert 0.7 < train(problem).scores["test"]["accuracy"] < 1


def test_currencies(write: Write) -> None:
    a, b, _ = numbers(400)
    prices = 1000 * a + 900 * b
    rows = [
        f"{f'{a[k]:.2f}'.replace('.', ',')};{b[k] * 10:.0f}%;{prices[k]:_.0f} €".replace("_", ".")
        for k in range(400)
    ]
    problem = read_problem(write("size;share;price", rows), "price")
    assert "target `price`: numbers written as €1.234,5" in said(problem)
    assert "`size`: numbers written as 1.234,5" in said(problem)
    assert problem.pipeline.target.mean == pytest.approx(prices.mean(), rel=0.1)
    assert train(problem).scores["test"]["r2"] > 0.8


def test_mixed_dates(write: Write) -> None:
    days = np.datetime64("2022-01-01") + np.random.default_rng(0).integers(0, 700, 400)
    forms = ("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%d %b %Y")
    y = (days - np.datetime64("2022-01-01")).astype(int) / 10
    cells = [day.strftime(forms[k % 4]) for k, day in enumerate(days.tolist())]
    rows = [f"{cell},{k % 5},{y[k]}" for k, cell in enumerate(cells)]
    problem = read_problem(write("day,other,y", rows), "y")
    assert "`day`: dates written in several ways, such as '202" in said(problem)
    assert "day.days" in problem.pipeline.feature_names
    assert train(problem).scores["test"]["r2"] > 0.9


def test_titles(write: Write) -> None:
    a, b, y = numbers(200)
    rows = [f"{a[k]:.2f};{b[k]:.2f};{y[k]:.2f}" for k in range(200)]
    path = write("a;b;y", rows, above="Measurements, plant 7\nas of 2024-05-01;;\n\n")
    problem = read_problem(path, "y")
    assert "left out 3 lines above the header, beginning 'Measurements, plant 7'" in said(problem)
    assert sum(problem.rows.values()) == 200
    assert train(problem).scores["test"]["r2"] > 0.8


def test_latin_1(write: Write) -> None:
    a, _, _ = numbers(300)
    rows = [f"{a[k]:.2f},{'Köln' if k % 2 else 'Zürich'},{k % 2}.5" for k in range(300)]
    problem = read_problem(write("a,town,y", rows, encoding="latin-1"), "y", task="regression")
    assert "read as Latin-1" in said(problem)
    assert "Zürich" in said(problem)
    assert {"town=Köln", "town=Zürich"} < set(problem.pipeline.feature_names)
    assert train(problem).scores["test"]["r2"] > 0.9


def test_an_id_in_the_order_of_the_target(write: Write) -> None:
    a, b, y = numbers(400)
    bad = y > np.median(y)
    order = np.argsort(bad, kind="stable")
    steps = np.cumsum(np.random.default_rng(1).integers(1, 9, 400)) + 5000
    rows = [
        f"{steps[i]},{a[k]:.2f},{b[k]:.2f},{'bad' if bad[k] else 'good'}"
        for i, k in enumerate(order)
    ]
    problem = read_problem(write("case,a,b,y", rows), "y")
    assert {leak.column: leak.kind for leak in problem.leaks} == {"case": "order"}
    assert "--role 'case=dropped'" in str(problem.leaks[0])
    named = read_problem(write("case_id,a,b,y", rows), "y")  # dropped, so it gives nothing away
    assert "dropped `case_id`: every value differs" in said(named)
    assert named.leaks == ()


def test_duplicated_rows(write: Write) -> None:
    a, b, y = numbers(200)
    rows = [f"{a[k]:.3f},{b[k]:.3f},{y[k]:.3f}" for k in [*range(200), *range(100), *range(50)]]
    problem = read_problem(write("a,b,y", rows), "y")
    assert "150 rows of 350 are copies of others" in said(problem)
    assert problem.validation is not None
    trained = {row.tobytes() for row in problem.train[0]}
    assert not trained & {row.tobytes() for row in (*problem.validation[0], *problem.test[0])}


def test_one_in_a_hundred(write: Write) -> None:
    a, b, y = numbers(2000)
    rare = y > np.quantile(y, 0.99)
    rows = [f"{a[k]:.2f},{b[k]:.2f},{'fraud' if rare[k] else 'fine'}" for k in range(2000)]
    problem = read_problem(write("a,b,y", rows), "y")
    shares = [part[1].tolist().count(1) for part in (problem.train, problem.test)]
    assert min(shares) >= 3  # the rare class is in both
    assert problem.leaks == ()
    scores = train(problem, epochs=20).scores
    assert scores["baseline"]["guess"] == "fine"
    assert 0.5 <= scores["test"]["balanced_accuracy"] <= 1


def test_five_rows(write: Write) -> None:
    problem = read_problem(write("a,y", ["1,2.5", "2,4.5", "3,6.5", "4,8.5", "5,10.5"]), "y")
    assert problem.rows == {"train": 4, "validation": 0, "test": 1}
    assert problem.leaks == ()
    assert np.isfinite(train(problem, epochs=5).history[-1]["loss"])
    with pytest.raises(DataError, match="class 'c' of target 'y' has one row"):
        read_problem(write("a,y", ["1,a", "2,a", "3,b", "4,b", "5,c"]), "y")


@pytest.mark.thorough
def test_many_rows(write: Write) -> None:
    a, b, y = numbers(300_000)
    words = np.array(["north", "south", "east", "west"])[np.arange(300_000) % 4]
    rows = [f'{a[k]:.3f},"{1000 * b[k]:,.0f}",{words[k]},{y[k]:.2f}' for k in range(300_000)]
    path = write("a,b,side,y", rows)
    before = time.process_time()
    problem = read_problem(path, "y")
    assert time.process_time() - before < 20  # seconds; about 3 on a machine that does nothing else
    assert "`b`: numbers written as 1,234.5" in said(problem)
    assert sum(problem.rows.values()) == 300_000
    assert train(problem, epochs=1).scores["test"]["r2"] > 0.9


def test_many_columns(write: Write) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2000)).round(2)
    X[:, 7:1000:10] = 0.5
    y = X[:, 3] > 0
    rows = [",".join(map(str, row)) + f",{'yes' if y[k] else 'no'}" for k, row in enumerate(X)]
    problem = read_problem(write(",".join(f"x{j}" for j in range(2000)) + ",y", rows), "y")
    assert "dropped `x7`: every value is 0.5" in said(problem)
    assert problem.train[0].shape[1] == 1900
    assert [leak.column for leak in problem.leaks] == ["x3"]
    assert train(problem, epochs=2).scores["rows"]["test"] == 40
