"""Bad input of every kind of `docs/bad-input.md`: an error, warning, finding or note that says so.

The inputs are those of the benchmark, which asks other libraries, too.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from bench.bad_input import (
    RUNNERS,
    Outcome,
    Told,
    ask,
    fit_chainrule,
    fit_chainrule_table,
    page,
    score,
    usual_words,
)
from bench.bad_input_cases import CASES, Answer, Case, classes, values
from chainrule import data, nn, optim, tabular
from chainrule.core.errors import ChainruleError, DataError

UNKNOWABLE = {"other units at prediction", "columns reordered at prediction"}  # of bare arrays


@pytest.fixture(scope="module")
def usual() -> dict[Any, set[str]]:
    """Return what chainrule says of clean data."""
    return {runner: usual_words(runner) for runner in (fit_chainrule, fit_chainrule_table)}


def check(outcome: Outcome | None, wanted: Answer | None) -> None:
    if wanted is None or outcome is None:
        assert outcome is wanted
        return
    assert outcome.kind == wanted.kind, outcome
    assert wanted.says in f"{outcome.type} {outcome.text}"
    if outcome.kind == "error":
        known = getattr(cr.core.errors, outcome.type)
        assert issubclass(known, ChainruleError)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_fit_tells_of_bad_input(case: Case, usual: dict[Any, set[str]]) -> None:
    check(ask(fit_chainrule, case, usual[fit_chainrule]), case.fit)


@pytest.mark.one_in(7)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_table_tells_of_bad_input(case: Case, usual: dict[Any, set[str]]) -> None:
    check(ask(fit_chainrule_table, case, usual[fit_chainrule_table]), case.table)


def test_chainrule_is_silent_and_wrong_only_where_arrays_do_not_show_it() -> None:
    assert {case.name for case in CASES if case.fit and case.fit.kind == "wrong"} == UNKNOWABLE
    assert not any(case.table and case.table.kind == "wrong" for case in CASES)


# --- masked arrays ----------------------------------------------------------------------------


def masked(X: Any, place: Any) -> Any:
    hidden = np.zeros(X.shape, bool)
    hidden[place] = True
    return np.ma.masked_array(X, mask=hidden)


def fit(X: Any, y: Any, **options: Any) -> Any:
    model = nn.Linear(4, 1)
    return cr.fit(model, (X, y), loss="mse", epochs=1, progress=False, **options)


def test_a_masked_value_is_named_wherever_it_is_given() -> None:
    clean = values()
    with pytest.raises(DataError, match=r"X\[7, 1\] \(row 7, column 1\) is masked; 2 .* 1 of 300"):
        fit(masked(clean.X, (7, [1, 2])), clean.y)
    with pytest.raises(DataError, match=r"y\[3\] \(row 3\) is masked"):
        fit(clean.X, masked(clean.y, 3))
    with pytest.raises(DataError, match=r"sample_weight\[5\] \(row 5\) is masked"):
        fit(clean.X, clean.y, sample_weight=masked(np.ones(300), 5))
    run = fit(clean.X, clean.y)
    for predict in (run.predict, run.predictor()):
        with pytest.raises(DataError, match="row 7, column 1"):
            predict(masked(clean.X.astype(np.float32), (7, 1)))
    with pytest.raises(DataError, match=r"y\[3\]"):
        run.evaluate((clean.X, masked(clean.y, 3)))


def test_a_mask_that_hides_nothing_is_no_mask() -> None:
    clean = values()
    run = fit(np.ma.masked_array(clean.X), np.ma.masked_array(clean.y))
    same = fit(clean.X, clean.y)
    np.testing.assert_array_equal(run.predict(clean.new), same.predict(clean.new))


def test_masked_targets_need_the_weight_0() -> None:
    clean = values()
    weight = np.where(np.arange(300) == 3, 0.0, 1.0)
    y = np.where(np.arange(300) == 3, 1e6, clean.y)
    fit(clean.X, masked(y, 3), sample_weight=weight)
    with pytest.raises(DataError, match=r"y\[4\] .* is NaN"):
        fit(clean.X, masked(y, 4), sample_weight=weight)


@pytest.mark.parametrize("kind", ["float", "int", "bool", "U3", "datetime64[s]"])
def test_masked_cells_of_a_table_are_missing(kind: str) -> None:
    column = masked(np.array([0, 1, 1, 0]).astype(kind), 2)
    table = data.Table.from_arrays({"a": column, "b": [1, 2, 3, 4]})
    assert table["a"].missing.tolist() == [False, False, True, False]
    assert table["a"].kind == data.Table.from_arrays({"a": column.data})["a"].kind


# --- the other answers ------------------------------------------------------------------------


def test_images_without_a_bright_pixel_are_told_and_dark_ones_are_pixels() -> None:
    X = np.zeros((20, 3, 3), np.uint8)
    X[11, 1, 1] = 16
    model = [nn.Flatten(), nn.Linear(9, 2)]
    y = np.arange(20) % 2
    with pytest.warns(UserWarning, match=r"no number in it is above 16.*nn.Scale\(1 / 16\)"):
        cr.fit(nn.Sequential(model), (X, y), loss="cross_entropy", epochs=1, progress=False)
    X[11, 1, 1] = 17
    cr.fit(nn.Sequential(model), (X, y), loss="cross_entropy", epochs=1, progress=False)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_large_features_of_classes_are_told_by_default(loss: str) -> None:
    clean = classes()
    labels = loss == "binary_cross_entropy"
    y = (clean.y == 1).astype(float) if labels else clean.y

    def train(factor: float) -> None:
        model = nn.Linear(4, 1 if labels else 3)
        cr.fit(model, (clean.X * factor, y), loss=loss, epochs=1, progress=False)

    train(100.0)
    with pytest.warns(UserWarning, match="scores that spread by"):
        train(1e4)


def test_numbers_with_hundreds_of_digits_are_written_shortly() -> None:
    assert data.Table.from_arrays({"a": [1e300, 5.0]})["a"].as_text().tolist() == ["1e+300", "5"]


def test_a_rare_class_is_a_warning_unless_it_is_weighted() -> None:
    y = (np.arange(1000) % 100 == 0).astype(int)
    X = np.random.default_rng(0).normal(size=(1000, 4)) + y[:, None]

    def level(**options: Any) -> str:
        run = cr.fit(
            nn.Linear(4, 2), (X, y), loss="cross_entropy", optimizer=optim.Adam(0.01), epochs=5,
            progress=False, check=True, **options,
        )  # fmt: skip
        return next(f.level for f in run.findings if f.cause == "few_of_a_class")

    assert level() == "warning"
    assert level(class_weight="balanced") == "note"


def test_cells_that_are_missing_only_at_prediction_are_told_only_then() -> None:
    rows = {"a": np.arange(40.0) % 7, "b": [*"xy" * 20], "c": [None, 1.0, 2.0, 3.0] * 10}
    problem = tabular.read_problem({**rows, "y": 2.5 * rows["a"]}, "y")
    settings = tabular.choose_settings(
        problem.rows["train"], hidden=[16], task="regression", epochs=1
    )
    run = tabular.fit_table(problem, settings, progress=False)
    told: list[str] = []
    tabular.predict_table(
        run, {"a": [1.0, None], "b": ["x", None], "c": [1.0, None]}, tell=told.append
    )
    assert [line.split(";")[0] for line in told] == [
        "1 row has no value of `a`, which training always had",
        "1 row has no value of `b`, which training always had",
    ]


# --- the measurement --------------------------------------------------------------------------


def made(outcome: Any) -> Any:
    """Return a library that gives `outcome`, or raises it."""

    def runner(_: Any) -> Told:
        if isinstance(outcome, Exception):
            raise outcome
        if isinstance(outcome, str):
            warnings.warn(outcome, stacklevel=2)
        return Told(classes().true if not isinstance(outcome, float) else classes().true * 0, [])

    return runner


def test_an_answer_is_classified_by_what_happened() -> None:
    case = Case("clean", classes, None, None)
    assert ask(made(ValueError("no")), case, set()) == Outcome("error", "ValueError", "no")
    assert ask(made("odd 1"), case, set()) == Outcome("warning", "UserWarning", "odd 1", 1.0)
    assert ask(made("odd 1"), case, {"warning UserWarning odd #"}) == Outcome("right", score=1.0)
    assert ask(made(None), case, set()) == Outcome("right", score=1.0)
    silent = ask(made(0.0), case, set())
    assert silent is not None
    assert (silent.kind, str(silent)) == ("wrong", "**silent, wrong: 0.33**")
    assert RUNNERS["chainrule `fit`"][1] is fit_chainrule


def test_scores() -> None:
    clean = values()
    assert score(clean.true[:, None], clean) == 1.0
    assert np.isnan(score(clean.true[:3], clean))
    assert np.isnan(score(clean.true * np.nan, clean))
    even = classes(true=np.arange(150) % 2 == 0)
    assert score(["true"] * 150, even) == score([True] * 150, even) == score([1] * 150, even) == 0.5
    assert score(np.eye(3)[classes().true], classes()) == 1.0
    halves = classes(true=np.arange(150) % 2 * 1.5)
    assert score([0] * 150, halves) == 0.5


def test_the_page_counts_and_shows_the_answers() -> None:
    shown = page({"A": {"NaN in X": Outcome("error", "E", "line 1\nline 2")},
                  "B": {"NaN in X": Outcome("wrong", score=0.5)}})  # fmt: skip
    assert "| NaN in X | error: `E` | **silent, wrong: 0.50** |" in shown
    assert "| error | 1 | 0 |" in shown
    assert "| **silent, wrong** | 0 | 1 |" in shown
    assert "- A: `line 1`" in shown
