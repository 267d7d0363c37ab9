"""Columns that give the target away are named; those that merely help are left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainrule.data import load
from chainrule.data.leaks import Leak
from chainrule.tabular.problem import read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.table_training import fit_table, preflight_table

ROWS = 400
RNG = np.random.default_rng(0)
SIZE, NOISE = RNG.normal(size=ROWS), RNG.normal(size=ROWS)
WORDS = np.where(SIZE + NOISE > 0, "paid", "open")
PRICE = SIZE * 100 + NOISE * 30


def leaks(target: Any, roles: Any = None, **columns: Any) -> dict[str, str]:
    data = {"size": SIZE, "noise": NOISE, **columns, "y": target}
    return {leak.column: leak.kind for leak in read_problem(data, "y", roles=roles).leaks}


def gaps(where: Any) -> list[str | None]:
    return [None if gone else f"2024-01-{1 + k % 28:02}" for k, gone in enumerate(where)]


@pytest.mark.parametrize(
    ("target", "column", "kind"),
    [
        (WORDS, WORDS == "paid", "recoding"),
        (WORDS, np.where(WORDS == "paid", "P", "O"), "recoding"),
        (WORDS, np.where(WORDS == "paid", 7, 3), "recoding"),
        (WORDS, np.where(WORDS == "paid", NOISE + 9, NOISE - 9), "alone"),
        (WORDS, gaps(WORDS == "open"), "missing"),
        (np.sort(WORDS), 3 * np.arange(ROWS) + 5, "order"),
        (PRICE, PRICE * 1.19 + 4, "copy"),
        (PRICE, np.round(PRICE, 1), "alone"),
        (PRICE, np.exp(PRICE / 100), "alone"),
        (np.sort(PRICE), 3 * np.arange(ROWS) + 5, "order"),
        (PRICE, gaps(np.median(PRICE) > PRICE), "missing"),
    ],
)
def test_a_column_that_tells_the_target_is_named(target: Any, column: Any, kind: str) -> None:
    assert leaks(target, leak=column) == {"leak": kind}


@pytest.mark.parametrize(
    ("target", "column"),
    [
        (WORDS, SIZE + NOISE + 0.2 * RNG.normal(size=ROWS)),  # 96 %
        (WORDS, gaps(RNG.random(ROWS) < 0.3)),
        (PRICE, PRICE + 10 * RNG.normal(size=ROWS)),  # R² of 0.99
        (PRICE, gaps(RNG.random(ROWS) < 0.3)),
        (WORDS, [f"name {k}" for k in range(ROWS)]),
        (WORDS, RNG.permutation(ROWS)),
    ],
)
def test_a_column_that_helps_is_left_alone(target: Any, column: Any) -> None:
    assert leaks(target, helps=column) == {}


def test_a_role_answers_the_question() -> None:
    paid = WORDS == "paid"
    assert leaks(WORDS, {"leak": "number"}, leak=paid) == {}
    assert leaks(WORDS, {"leak": "dropped"}, leak=paid) == {}
    data = {"x": WORDS == "paid", "y": WORDS}
    assert read_problem(data, "y").leaks == ()  # all that there is to learn from


@pytest.mark.parametrize("name", ["iris", "wine", "breast-cancer", "diabetes", "digits"])
def test_the_built_in_tables_have_none(name: str) -> None:
    assert load(name) is not None
    assert read_problem(name).leaks == ()


def test_a_leak_is_a_finding_before_training_and_in_the_run() -> None:
    data = {"size": SIZE, "noise": NOISE, "ended": gaps(WORDS == "open"), "y": WORDS}
    problem = read_problem(data, "y")
    settings = choose_settings(272, hidden=[16], epochs=2)
    (leak,) = problem.leaks
    assert isinstance(leak, Leak)
    assert "--role 'ended=dropped'" in str(leak)
    for found in (preflight_table(problem, settings),
                  fit_table(problem, settings, check=True, progress=False).findings):  # fmt: skip
        assert found is not None
        assert found[0].cause == "target_leak"
        assert found[0].where == {"column": "ended"}
        assert found[0].evidence[0].value == pytest.approx(1.0, abs=0.01)
        assert "--role 'ended=dropped'" in found[0].remedy
