"""Importance and dependence against scikit-learn's, and on functions whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.inspection import partial_dependence as reference_dependence
from sklearn.inspection import permutation_importance

import chainrule as cr
from chainrule.data.table import Table
from chainrule.insight.report.report import report
from chainrule.tabular.importance import importance, partial_dependence
from chainrule.tabular.problem import Problem, read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.table_training import fit_table, settings_for


def made(rows: int = 600, preprocess: str | None = None) -> tuple[Problem, cr.Run]:
    """Return a problem in which y depends on a, less on b and on a word, and not on c."""
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(3, rows))
    word = rng.choice(["low", "mid", "high"], rows)
    y = 3 * a + b**2 + 2.0 * (word == "high") + 0.1 * rng.normal(size=rows)
    columns = {"a": a, "b": b, "c": c, "word": word, "y": y}
    problem = read_problem(columns, "y", preprocess=preprocess)
    settings = choose_settings(problem.rows["train"], hidden=[64], task="regression", epochs=100)
    return problem, fit_table(problem, settings, progress=False)


class Fitted(RegressorMixin, BaseEstimator):
    """A run as an estimator of scikit-learn, on the numbers a, b and c, and on the word."""

    def __init__(self, run: cr.Run, words: list[str]):
        self.run, self.words = run, words

    def fit(self, X: np.ndarray, y: np.ndarray) -> Fitted:
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, X: np.ndarray) -> np.ndarray:
        words = np.array(self.words, dtype=object)[X[:, 3].astype(int)]
        table = Table.from_arrays({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "word": words})
        pipeline = self.run.pipeline
        outputs = self.run.outputs(pipeline.transform(table))  # type: ignore[union-attr]
        return pipeline.target.decode(self.run.decide(outputs))  # type: ignore[union-attr]


def as_numbers(problem: Problem) -> tuple[np.ndarray, np.ndarray, list[str]]:
    table, rows = problem.raw  # type: ignore[misc]
    shown = table.take(rows)  # type: ignore[union-attr]
    words = ["low", "mid", "high"]
    codes = [float(words.index(cell)) for cell in shown["word"].as_text()]
    X = np.column_stack([*(shown[name].values for name in "abc"), codes])
    return X, shown["y"].values, words


@pytest.mark.parametrize("preprocess", [None, "pca"])
def test_the_importance_is_that_of_scikit_learn(preprocess: str | None) -> None:
    problem, run = made(preprocess=preprocess)
    X, y, words = as_numbers(problem)
    expected = permutation_importance(
        Fitted(run, words), X, y, n_repeats=40, random_state=0,
        scoring="neg_root_mean_squared_error",
    )  # fmt: skip
    found = importance(run, problem, repeats=40)
    assert found is not None
    assert next(iter(found.means)) == "a"
    for i, name in enumerate(["a", "b", "c", "word"]):
        near = 4 * expected.importances_std[i] / np.sqrt(40) + 1e-4
        assert found.means[name] == pytest.approx(expected.importances_mean[i], abs=near)
        assert found.deviations[name] == pytest.approx(
            expected.importances_std[i], rel=0.6, abs=1e-4
        )
    assert abs(found.means["c"]) < 0.02 * found.means["a"]


def test_the_dependence_is_that_of_scikit_learn() -> None:
    problem, run = made()
    X, _, words = as_numbers(problem)
    some = np.random.Generator(np.random.Philox(0)).permutation(len(X))[:200]
    a, b, word = partial_dependence(run, problem, ["a", "b", "word"])
    for k, one in enumerate((a, b)):
        expected = reference_dependence(
            Fitted(run, words), X[some], [k], custom_values={k: np.array(one.places)}
        )
        assert one.curves["y"] == pytest.approx(expected["average"][0], rel=1e-4, abs=1e-4)
    slope = np.polyfit(a.places, a.curves["y"], 1)[0]
    assert slope == pytest.approx(3, abs=0.3)
    rise = dict(zip(word.places, word.curves["y"], strict=True))
    assert rise["high"] - rise["low"] == pytest.approx(2, abs=0.4)


def test_classes_have_a_curve_each_and_dates_are_years() -> None:
    run = fit_table(
        problem := read_problem("iris"), choose_settings(102, hidden=[16]), progress=False
    )
    found = importance(run, problem)
    assert found is not None
    assert found.measure == "log loss"
    one = partial_dependence(run, problem, list(found.means)[:1])[0]
    assert list(one.curves) == ["setosa", "versicolor", "virginica"]
    assert sum(one.curves.values()) == pytest.approx(np.ones(len(one.places)), abs=1e-4)
    houses = read_problem("examples/houses.csv", "price")
    run = fit_table(houses, choose_settings(245, hidden=[16], task="regression"), progress=False)
    sold = partial_dependence(run, houses, ["sold"])[0]
    assert 2015 < float(sold.places[0]) < float(sold.places[-1]) < 2027
    assert len(sold.places) == 20


def test_of_a_wide_table_only_the_most_promising_columns_are_shuffled() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(1500, 600))
    columns = {f"x{k}": X[:, k] for k in range(600)} | {"y": X[:, 7] + 0.1 * X[:, 9]}
    problem = read_problem(columns, "y")
    run = fit_table(problem, settings_for(problem, hidden=[16], epochs=20), progress=False)
    found = importance(run, problem)
    assert found is not None
    assert next(iter(found.means)) == "x7"
    assert (len(found.means), found.left_out) == (40, 560)


def test_the_report_tells_of_it_and_a_run_on_arrays_has_none() -> None:
    problem, run = made()
    page = report(run, problem).html()
    assert "<h2>What the predictions depend on</h2>" in page
    assert "rise of the root mean square error" in page
    table = problem.raw[0].take(problem.raw[1])  # type: ignore[index, union-attr]
    assert "What the predictions depend on" not in report(run, table).html()
