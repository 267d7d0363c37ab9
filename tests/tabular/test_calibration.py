"""Temperatures and thresholds are chosen on validation rows, kept with the run, and told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, special
from sklearn import metrics as reference

import chainrule as cr
from chainrule.core.errors import OptionError
from chainrule.tabular.calibration import choose_threshold, fit_temperature
from chainrule.tabular.problem import Problem, read_problem
from chainrule.tabular.scores import log_losses
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.table_prediction import predict_table
from chainrule.tabular.table_training import fit_table


def overconfident(rows: int, times: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, 3))
    shares = special.softmax(logits, axis=1)
    true = (shares.cumsum(axis=1) > rng.random((rows, 1))).argmax(axis=1)
    return times * logits, true


@pytest.mark.parametrize("rows", [20, 200, 5000])
def test_the_temperature_is_the_minimum_of_its_objective(rows: int) -> None:
    logits, true = overconfident(rows, 2.5)

    def objective(log: float) -> float:
        loss = log_losses(true, special.softmax(logits / np.exp(log), axis=1))
        return float(loss.sum() + log**2 / (2 * 0.5**2))

    found = optimize.minimize_scalar(objective, bounds=(-3, 3), method="bounded")
    assert np.log(fit_temperature(logits, true)) == pytest.approx(found.x, abs=1e-3)


def test_rows_that_are_all_right_do_not_make_certain() -> None:
    logits = 4 * np.eye(3)[np.arange(20) % 3]
    assert 0.3 < fit_temperature(logits, np.arange(20) % 3) < 1


def noisy(rows: int = 700) -> Problem:
    """Return two classes whose labels are wrong in a quarter of the rows."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(rows, 6))
    yes = (X[:, 0] > 0.7) ^ (rng.random(rows) < 0.2)
    columns = {f"x{k}": X[:, k] for k in range(6)} | {"y": np.where(yes, "yes", "no")}
    return read_problem(columns, "y")


def overfitted(threshold: str | None = None) -> tuple[Problem, cr.Run]:
    problem = noisy()
    settings = choose_settings(
        problem.rows["train"], hidden=[256], epochs=150, learning_rate=0.01, patience=0
    )
    return problem, fit_table(problem, settings, progress=False, threshold=threshold)


def test_an_overfitted_network_becomes_less_sure_and_the_run_keeps_it(tmp_path: Path) -> None:
    problem, run = overfitted()
    assert run.temperature > 1.2
    told = run.scores["calibration"]
    assert told["log_loss"] < told["log_loss_before"]
    X, y = problem.test
    plain = special.softmax(run.outputs(X).astype(float), axis=1)
    assert run.scores["test"]["log_loss"] < log_losses(y, plain).mean()
    found = cr.load(run.save(tmp_path / "run"))
    assert found.temperature == run.temperature
    table = problem.raw[0].take(problem.raw[1])  # type: ignore[index, union-attr]
    for one in (run, found):
        p = predict_table(one, table)["probability_yes"]
        expected = special.softmax(run.outputs(X).astype(float) / run.temperature, axis=1)[:, 1]
        assert p == pytest.approx(expected, abs=1e-6)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["temperature"] > 1.2


def test_a_network_that_is_not_too_sure_keeps_its_probabilities() -> None:
    problem = read_problem("iris")
    run = fit_table(problem, choose_settings(102, hidden=[16], epochs=30), progress=False)
    assert run.temperature == 1
    assert "calibration" not in run.scores


def test_thresholds_are_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(200).round(2)
    yes = rng.random(200) < 0.3 * p
    edges = np.linspace(-0.005, 1.005, 102)
    said = [p >= edge for edge in edges]
    balanced = [reference.balanced_accuracy_score(yes, one) for one in said]
    f1 = [reference.f1_score(yes, one, zero_division=0) for one in said]
    cost = [(~yes & one).sum() + 4 * (yes & ~one).sum() for one in said]
    at = {rule: p >= choose_threshold(rule, yes, p) for rule in ("balanced", "f1", "cost=4")}
    assert reference.balanced_accuracy_score(yes, at["balanced"]) == pytest.approx(max(balanced))
    assert reference.f1_score(yes, at["f1"]) == pytest.approx(max(f1))
    assert (~yes & at["cost=4"]).sum() + 4 * (yes & ~at["cost=4"]).sum() == min(cost)


def test_a_threshold_decides_and_is_kept(tmp_path: Path) -> None:
    problem, run = overfitted("cost=4")
    X, y = problem.test
    p = run.probabilities(run.outputs(X))[:, 1]
    assert run.threshold is not None
    assert run.threshold < 0.5
    said = run.decide(run.outputs(X))
    assert (said == (p >= run.threshold)).all()
    assert run.scores["test"]["recall"] == pytest.approx(reference.recall_score(y, said))
    assert run.scores["test"]["accuracy"] == pytest.approx((said == y).mean())
    assert run.scores["confusion_matrix"] == reference.confusion_matrix(y, said).tolist()
    assert run.scores["threshold"]["rule"] == "cost=4"
    found = cr.load(run.save(tmp_path / "run"))
    table = problem.raw[0].take(problem.raw[1])  # type: ignore[index, union-attr]
    answers = predict_table(found, table)["prediction"]
    assert answers.tolist() == np.where(said == 1, "yes", "no").tolist()
    assert overfitted("0.2")[1].threshold == 0.2


@pytest.mark.parametrize("rule", ["best", "cost=", "cost=-1", "1.5", "0", "nan"])
def test_other_rules_are_refused(rule: str) -> None:
    with pytest.raises(OptionError, match="threshold must be balanced, f1, cost=5"):
        overfitted(rule)


def test_a_threshold_of_two_classes_in_an_order_needs_another_loss() -> None:
    columns = {"x": np.arange(200.0), "y": np.where(np.arange(200) % 3, "ok", "fraud")}
    problem = read_problem(columns, "y", roles={"y": ["ok", "fraud"]})

    def train(loss: str | None) -> cr.Run:
        settings = choose_settings(140, hidden=[8], epochs=1, loss=loss)
        return fit_table(problem, settings, progress=False, threshold="0.3")

    with pytest.raises(OptionError, match=r"with the loss ordinal.* give the loss cross_entropy"):
        train(None)
    assert train("cross_entropy").scores["threshold"]["class"] == "fraud"


def test_a_threshold_needs_two_classes() -> None:
    with pytest.raises(OptionError, match="two classes; 'target' has 3"):
        fit_table(read_problem("iris"), choose_settings(102, hidden=[16], epochs=1), progress=False,
                  threshold="f1")  # fmt: skip
    with pytest.raises(OptionError, match="two classes, but 'price' is not one"):
        fit_table(read_problem("examples/houses.csv", "price"),
                  choose_settings(245, hidden=[8], epochs=1), progress=False,
                  threshold="f1")  # fmt: skip
