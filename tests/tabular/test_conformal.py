"""Prediction intervals contain the target as often as they say, and say so when they can't."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LinearRegression

import chainrule as cr
from chainrule import data, nn
from chainrule.cli.commands import command_line
from chainrule.core.errors import OptionError
from chainrule.data.target import Target
from chainrule.step.objective import objective
from chainrule.tabular.conformal import (
    MOST_KEPT,
    calibrated,
    coverage,
    intervals_of,
    quantiles_of,
)
from chainrule.tabular.problem import read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.table_prediction import predict_table
from chainrule.tabular.table_training import fit_table

Array = np.ndarray[Any, Any]
MSE = objective("mse")
TARGET = Target("y", "regression", mean=10.0, scale=2.0)


def reach_by_hand(scores: Array, level: float) -> float:
    """Return the least score that, with the one to come counted as infinite, covers `level`."""
    for score in np.sort(scores):
        if (scores <= score).sum() >= level * (len(scores) + 1) - 1e-9:
            return float(score)
    return math.inf


@pytest.mark.parametrize("rows", [9, 10, 19, 57, 200])
@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_the_ends_are_as_far_as_the_finite_sample_asks(rows: int, level: float) -> None:
    rng = np.random.default_rng(rows)
    outputs, true = rng.normal(size=(rows, 1)), rng.normal(size=rows)
    made = calibrated(TARGET, MSE, outputs, true)
    low, high = intervals_of(made, MSE, np.array([[0.0], [1.0]]), level)
    reach = 2 * reach_by_hand(np.abs(true - outputs[:, 0]), level)
    np.testing.assert_allclose([low, high], [[10 - reach, 12 - reach], [10 + reach, 12 + reach]])


@pytest.mark.parametrize("rows", [9, 25, 60])
def test_new_rows_lie_inside_as_often_as_promised_whatever_the_distribution(rows: int) -> None:
    """Over many calibrations: at least 90 %, and at most ``1 / (rows + 1)`` more."""
    rng, inside = np.random.default_rng(rows), []
    for _ in range(3000):
        errors = rng.standard_t(2, rows + 1)  # heavy tails, and skewed
        errors = np.where(errors > 0, 3 * errors, errors)
        made = calibrated(TARGET, MSE, np.zeros((rows, 1)), errors[1:])
        low, high = intervals_of(made, MSE, np.zeros((1, 1)), 0.9)
        inside.append(low[0] <= made.decode(errors[:1])[0] <= high[0])
    doubt = 3 * math.sqrt(0.9 * 0.1 / 3000)
    assert 0.9 - doubt <= np.mean(inside) <= 0.9 + 1 / (rows + 1) + doubt


def test_of_many_scores_evenly_spaced_ones_are_kept() -> None:
    true = np.random.default_rng(0).exponential(size=20_000)
    made = calibrated(TARGET, MSE, np.zeros((20_000, 1)), true)
    assert len(made.errors) == MOST_KEPT
    for level in (0.1, 0.5, 0.9, 0.99):
        reach = intervals_of(made, MSE, np.zeros((1, 1)), level)[1][0] / 2 - 5
        assert (true <= reach).mean() == pytest.approx(level, abs=1 / MOST_KEPT)


@pytest.mark.parametrize(("level", "needed"), [(0.9, 9), (0.95, 19), (0.5, 1), (0.99, 99)])
def test_too_few_rows_are_told_with_the_number_needed(level: float, needed: int) -> None:
    true = np.linspace(-1, 1, max(needed, 2))[:needed]
    enough = calibrated(TARGET, MSE, np.zeros((needed, 1)), true)
    assert np.isfinite(intervals_of(enough, MSE, np.zeros((1, 1)), level)).all()
    few = calibrated(TARGET, MSE, np.zeros((needed - 1, 1)), true[1:])
    with pytest.raises(OptionError, match=rf"at least {needed} validation rows?"):
        intervals_of(few, MSE, np.zeros((1, 1)), level)
    assert coverage(few, MSE, np.zeros((1, 1)), np.zeros(1), level) is None


@pytest.mark.parametrize("level", [0.0, 1.0, 90, True, "a"])
def test_levels_are_shares(level: Any) -> None:
    with pytest.raises(OptionError, match="interval must be a share between 0 and 1"):
        intervals_of(TARGET, MSE, np.zeros((1, 1)), level)


def test_quantiles_are_stretched_about_the_median() -> None:
    """Rows whose outer quantiles are far apart get wide intervals, and a side of its own width."""
    aim = objective("quantile")
    rng = np.random.default_rng(0)
    size = rng.uniform(0.1, 2, 4000)
    true = rng.normal(size=4000) * size
    outputs = size[:, None] * np.array([-0.5, 0.0, 0.8])  # far too narrow, and lopsided
    made = calibrated(TARGET, aim, outputs[:2000], true[:2000])
    low, high = intervals_of(made, aim, outputs[2000:], 0.9)
    np.testing.assert_allclose((high - 10) / (10 - low), 1.6)
    held = made.decode(true[2000:])
    inside = (low <= held) & (held <= high)
    for part in (size[2000:] < 1, size[2000:] >= 1):
        assert inside[part].mean() == pytest.approx(0.9, abs=0.03)
    crossed = outputs[2000:, ::-1]
    assert (np.array(intervals_of(made, aim, crossed, 0.9)) == [low, high]).all()
    found = quantiles_of(made, aim, outputs[:, ::-1])
    assert list(found) == [0.05, 0.5, 0.95]
    assert (found[0.05] <= found[0.5]).all()
    assert (found[0.5] <= found[0.95]).all()


def test_widths_follow_the_prediction_where_the_errors_do() -> None:
    """The line that scikit-learn fits to the sizes of the training errors, within its bounds."""
    rng = np.random.default_rng(0)
    outputs = rng.uniform(-1, 3, (3000, 1))
    true = outputs[:, 0] + rng.normal(size=3000) * (1.2 + outputs[:, 0]) / 2
    trained = (outputs[:1000], true[:1000])
    made = calibrated(TARGET, MSE, outputs[1000:2000], true[1000:2000], trained)
    line = LinearRegression().fit(outputs[:1000], np.abs(true - outputs[:, 0])[:1000])
    mean = np.abs(true - outputs[:, 0])[:1000].mean()
    low, high = intervals_of(made, MSE, outputs[2000:], 0.9)
    expected = np.clip(line.predict(outputs[2000:]), 0.3 * mean, 4 * mean)
    np.testing.assert_allclose((high - low) / expected, (high - low)[0] / expected[0])
    assert (high - low).max() > 4 * (high - low).min()
    held = made.decode(true[2000:])
    inside = (low <= held) & (held <= high)
    for part in (outputs[2000:, 0] < 1, outputs[2000:, 0] >= 1):
        assert inside[part].mean() == pytest.approx(0.9, abs=0.04)
    assert Target.from_json(json.loads(json.dumps(made.to_json()))) == made
    perfect = calibrated(TARGET, MSE, outputs, outputs[:, 0], (outputs, outputs[:, 0]))
    assert perfect.widths == ()


def test_counts_have_no_interval_below_0_and_wider_ones_where_more_is_expected() -> None:
    aim, target = objective("poisson"), Target("n", "regression", mean=4.0, counts=True)
    rng = np.random.default_rng(0)
    rate = rng.uniform(0.5, 20, 4000)
    true = rng.poisson(rate)
    outputs = np.log(rate / 4)[:, None]
    made = calibrated(target, aim, outputs[:2000], target.standardize(true[:2000]))
    low, high = intervals_of(made, aim, outputs[2000:], 0.9)
    assert low.min() == 0
    assert np.corrcoef(high - low, rate[2000:])[0, 1] > 0.9
    held = coverage(made, aim, outputs[2000:], true[2000:])
    assert held is not None
    assert held["covered"] == pytest.approx(0.91, abs=0.03)


def run_on(rows: int, loss: str | None = None, epochs: int = 30) -> tuple[cr.Run, dict[str, Array]]:
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, rows)
    columns = {"x": x, "y": 3 * x + rng.normal(size=rows) * (0.2 + np.abs(x))}
    problem = read_problem(columns, "y")
    settings = choose_settings(rows, hidden=[16], task="regression", loss=loss, epochs=epochs)
    return fit_table(problem, settings, progress=False), columns


@pytest.mark.parametrize("loss", ["mse", "mae", "quantile"])
def test_a_run_has_intervals_that_come_back_with_it(loss: str, tmp_path: Path) -> None:
    run, columns = run_on(2000, loss)
    held = run.scores["prediction_interval"]
    assert held["calibrated_on"] == 240
    assert held["level"] == 0.9
    # The standard error is 0.025: 240 rows to calibrate on, 400 to test on.
    assert held["covered"] == pytest.approx(0.9, abs=0.075)
    assert held["between"][0] < held["covered"] < held["between"][1]
    loaded = cr.load(run.save(tmp_path / "run"))
    assert loaded.scores == run.scores
    found = predict_table(loaded, columns, interval=0.8)
    again = predict_table(run, columns, interval=0.8)
    assert all((found[name] == again[name]).all() for name in found)
    low, high, y = found["low"], found["high"], columns["y"]
    assert (low < found["prediction"]).all()
    assert (found["prediction"] < high).all()
    assert np.mean((low <= y) & (y <= high)) == pytest.approx(0.8, abs=0.05)
    wide = predict_table(run, columns, interval=0.95)
    assert (wide["low"] < low).all()
    assert (wide["high"] > high).all()
    assert list(predict_table(run, columns))[:1] == ["prediction"]
    far = np.abs(columns["x"]) > 1.5
    ratio = (high - low)[far].mean() / (high - low)[~far].mean()
    assert ratio == pytest.approx(1, abs=0.2) if loss != "quantile" else ratio > 1.3


def test_quantiles_are_predicted_beside_the_median() -> None:
    run, columns = run_on(2000, "quantile", epochs=60)
    found = predict_table(run, columns)
    assert list(found) == ["prediction", "quantile_0.05", "quantile_0.5", "quantile_0.95"]
    assert (found["prediction"] == found["quantile_0.5"]).all()
    for name, share in (("quantile_0.05", 0.05), ("quantile_0.5", 0.5), ("quantile_0.95", 0.95)):
        assert np.mean(columns["y"] <= found[name]) == pytest.approx(share, abs=0.04)
    loaded = cr.nn.from_config(cr.nn.to_config(nn.Quantile((0.25, 0.75))))
    assert loaded == nn.Quantile((0.25, 0.75))


def test_runs_without_calibration_say_why_they_have_no_interval() -> None:
    run, columns = run_on(30)
    assert run.scores["prediction_interval"] is None
    with pytest.raises(OptionError, match=r"at least 9 validation rows .* this run has none"):
        predict_table(run, columns, interval=0.9)
    old = Target.from_json(
        {"name": "y", "task": "regression", "classes": [], "mean": 1.0, "scale": 2.0}
    )
    with pytest.raises(OptionError, match="this run has none"):
        intervals_of(old, MSE, np.zeros((1, 1)), 0.9)
    iris = read_problem("iris")
    run = fit_table(iris, choose_settings(102, hidden=[16], epochs=1), progress=False)
    with pytest.raises(OptionError, match="'target' has classes"):
        predict_table(run, data.load("iris").to_table(), interval=0.9)


def test_the_commands_print_the_coverage_and_write_the_ends(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    lines = [f"{a},{2 * a + b}" for a, b in zip(x, rng.normal(size=400), strict=True)]
    file, place = tmp_path / "t.csv", str(tmp_path / "run")
    file.write_text("\n".join(["x,y", *lines]))
    call = CliRunner().invoke
    trained = call(
        command_line, ["train", str(file), "--hidden", "16", "--epochs", "20", "--out", place]
    )
    assert trained.exit_code == 0, trained.output
    assert "90 % intervals contain" in trained.output
    assert "their mean width" in trained.output
    result = call(command_line, ["predict", place, str(file), "--interval", "0.9"])
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert list(rows[0]) == ["x", "y", "prediction", "low", "high"]
    inside = [float(r["low"]) <= float(r["y"]) <= float(r["high"]) for r in rows]
    assert np.mean(inside) == pytest.approx(0.9, abs=0.06)
    told = json.loads(
        call(command_line, ["predict", place, str(file), "--interval", "0.9", "--json"]).stdout
    )
    assert told["low"][0] == pytest.approx(float(rows[0]["low"]), rel=1e-6)
    assert "probabilities" not in told
    bad = call(command_line, ["predict", place, str(file), "--interval", "90"])
    assert bad.exit_code == 2
    assert "interval must be a share" in bad.stderr
