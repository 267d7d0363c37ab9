"""A network is judged by its loss against the base rate, and scores carry their uncertainty."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from chainrule.tabular.intervals import (
    class_intervals,
    mean_interval,
    student,
    value_intervals,
    wilson,
)
from chainrule.tabular.problem import read_problem
from chainrule.tabular.scores import log_losses, score_classes, score_values
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.table_training import fit_table
from chainrule.tabular.verdict import class_gains, value_gains, verdict


def scored(true: np.ndarray, p: np.ndarray, shares: np.ndarray) -> dict[str, Any]:
    guess = np.broadcast_to(shares, p.shape)
    return {
        "task": "classification", "rows": {"test": len(true)}, "test": score_classes(true, p),
        "baseline": score_classes(true, guess), "intervals": class_intervals(true, p),
        **class_gains(true, p, guess),
    }  # fmt: skip


def valued(true: np.ndarray, predicted: np.ndarray, mean: float, median: float) -> dict[str, Any]:
    guess = np.full(len(true), mean)
    return {
        "task": "regression", "rows": {"test": len(true)}, "test": score_values(true, predicted),
        "baseline": score_values(true, guess), "intervals": value_intervals(true, predicted),
        **value_gains(true, predicted, mean, median),
    }  # fmt: skip


def pair(yes: np.ndarray) -> np.ndarray:
    return np.stack([1 - yes, yes], axis=1)


def test_rare_positives_are_learned_though_none_is_ever_predicted() -> None:
    rng = np.random.default_rng(0)
    p = np.clip(rng.beta(0.8, 9.2, 2000), 0.002, 0.45)
    true = (rng.random(2000) < p).astype(int)
    found = scored(true, pair(p), np.array([1 - p.mean(), p.mean()]))
    assert found["test"]["accuracy"] == found["baseline"]["accuracy"]
    assert verdict(found).outcome == "better"


def test_classes_told_apart_count_where_probabilities_are_off() -> None:
    rng = np.random.default_rng(1)
    true = np.repeat([0, 1], [920, 80])
    yes = np.clip(0.45 + 0.3 * true + rng.normal(0, 0.2, 1000), 0.01, 0.99)
    found = scored(true, pair(yes), np.array([0.92, 0.08]))
    assert found["test"]["accuracy"] < found["baseline"]["accuracy"]
    assert found["test"]["balanced_accuracy"] > 0.65
    said = verdict(found)
    assert (said.outcome, said.poor) == ("mixed", False)
    assert "learned nothing" not in said.text


def test_a_network_stuck_at_the_base_rate_is_no_better_than_the_guess() -> None:
    rng = np.random.default_rng(2)
    true = np.arange(2000) % 10
    z = np.linspace(-0.1, 0.1, 10) + rng.normal(0, 1e-3, (2000, 10))
    found = scored(true, np.exp(z) / np.exp(z).sum(axis=1, keepdims=True), np.full(10, 0.1))
    assert found["test"]["accuracy"] >= found["baseline"]["accuracy"]  # which passed for learned
    said = verdict(found)
    assert said.poor
    assert "log loss 2.30" in said.text
    assert said.text.endswith("It predicts nearly the same for every row.")


def test_noise_is_worse_and_too_few_rows_tell_nothing() -> None:
    rng = np.random.default_rng(3)
    true, p = rng.integers(0, 2, 1000), rng.uniform(0.01, 0.99, 1000)
    assert verdict(scored(true, pair(p), np.array([0.5, 0.5]))).outcome == "worse"
    few = scored(np.array([0, 1]), pair(np.array([0.4, 0.7])), np.array([0.5, 0.5]))
    said = verdict(few)
    assert said.outcome == "unsure"
    assert said.text.startswith("2 rows not seen in training are too few")
    one = verdict(scored(np.array([0]), pair(np.array([0.4])), np.array([0.5, 0.5])))
    assert one.text.startswith("1 row not seen in training is too few")


def test_values_are_judged_by_squared_errors_and_by_absolute_ones() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=500)
    true = x + rng.normal(size=500)
    assert verdict(valued(true, x, 0.0, 0.0)).outcome == "better"
    assert verdict(valued(true, 0.001 * x + 0.05, 0.0, 0.0)).poor
    assert verdict(valued(true, rng.normal(size=500), 0.0, 0.0)).outcome == "worse"
    assert verdict(valued(true, np.full(500, np.inf), 0.0, 0.0)).outcome == "worse"
    wild = 3 * x
    wild[:40] += 14
    assert verdict(valued(2 * x + true, wild, 0.0, 0.0)).outcome == "mixed"
    skewed = np.exp(2 * rng.normal(size=500))  # the median is no discovery
    median = np.full(500, np.median(skewed))
    assert verdict(valued(skewed, median, skewed.mean(), float(np.median(skewed)))).poor


def test_what_chance_gives_is_called_learned_in_one_of_forty_at_most() -> None:
    rng = np.random.default_rng(5)
    outcomes = []
    for _ in range(400):
        true, p = rng.integers(0, 2, 100), rng.uniform(0.45, 0.55, 100)
        outcomes.append(verdict(scored(true, pair(p), np.array([0.5, 0.5]))).outcome)
    assert outcomes.count("better") < 0.06 * 400  # by the loss or by the balanced accuracy


@pytest.mark.parametrize(("hits", "rows"), [(0, 5), (5, 5), (29, 30), (9_750, 10_000)])
def test_the_interval_of_a_share_is_wilsons(hits: int, rows: int) -> None:
    ends = stats.binomtest(hits, rows).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson(hits, rows), (ends.low, ends.high), atol=1e-6)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 10, 100, 10_000])
def test_quantiles_are_students(degrees: int) -> None:
    assert student(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=2e-3)


def test_intervals_hold_the_truth_in_95_of_100_samples() -> None:
    rng = np.random.default_rng(6)
    held = dict.fromkeys(("accuracy", "balanced_accuracy", "log_loss", "rmse", "mae", "r2"), 0)
    p = rng.beta(1, 3, 200_000)
    true = (rng.random(len(p)) < p).astype(int)
    value = rng.normal(size=len(p))
    seen = value + 0.7 * rng.normal(size=len(p))
    truth = score_classes(true, pair(p)) | score_values(value, seen)
    for _ in range(400):
        at = rng.integers(0, len(p), 60)
        found = class_intervals(true[at], pair(p[at])) | value_intervals(value[at], seen[at])
        for name in held:
            low, high = found[name]
            held[name] += low <= truth[name] <= high
    assert all(0.90 * 400 < count <= 400 for count in held.values()), held


def test_single_rows_have_no_interval_but_that_of_their_share() -> None:
    assert mean_interval(np.array([3.0])) is None
    found = class_intervals(np.array([1]), np.eye(2)[[1]])
    assert found["log_loss"] is None
    assert found["accuracy"][0] < 0.25
    assert value_intervals(np.ones(1), np.ones(1)) == {"mae": None, "rmse": None, "r2": None}


def test_the_scores_of_a_table_hold_what_numpy_finds() -> None:
    problem = read_problem("wine", seed=3)
    run = fit_table(problem, choose_settings(120, hidden=[16], epochs=4), progress=False)
    X, y = problem.test
    shares = np.bincount(problem.train[1]) / len(problem.train[1])
    gain = log_losses(y, np.tile(shares, (len(y), 1))) - log_losses(
        y, run.probabilities(run.outputs(X))
    )
    found = run.scores["gain_over_guess"]["log_loss"]
    assert found["mean"] == pytest.approx(gain.mean())
    assert found["standard_error"] == pytest.approx(stats.sem(gain))
    low, high = run.scores["intervals"]["log_loss"]
    assert low < run.scores["test"]["log_loss"] < high


@pytest.mark.parametrize("options", [
    {"hidden": [32] * 5, "activation": "sigmoid", "epochs": 3},
    {"hidden": [32, 32], "bias_init": -30.0, "epochs": 10},
])  # fmt: skip
def test_networks_that_learn_nothing_of_the_digits_are_warned_of(options: dict[str, Any]) -> None:
    problem = read_problem("digits")
    run = fit_table(problem, choose_settings(problem.rows["train"], **options), progress=False)
    assert verdict(run.scores).poor
