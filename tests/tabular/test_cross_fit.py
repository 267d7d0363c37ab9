"""Tables whose rows all train and validate: how they are divided, and what comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.errors import OptionError
from chainrule.tabular.cross_fit import crossed, validation_outputs
from chainrule.tabular.problem import Problem, fold_problems, read_problem
from chainrule.tabular.scores import log_losses
from chainrule.tabular.settings import Settings, choose_settings
from chainrule.tabular.suit_target import suited
from chainrule.tabular.table_prediction import predict_table
from chainrule.tabular.table_training import fit_table, settings_for

RNG = np.random.default_rng(6)
N = 240


def table(**more: Any) -> dict[str, Any]:
    x = RNG.normal(size=(N, 3))
    columns = {"a": x[:, 0], "b": x[:, 1], "c": x[:, 2]}
    return {**columns, "y": x[:, 0] - x[:, 1] ** 2 + RNG.normal(size=N) / 4, **more}


def divided(problem: Problem, **asked: Any) -> tuple[Problem, Settings]:
    settings = settings_for(problem, **asked)
    return crossed(suited(problem, settings), settings), settings


def test_every_row_trains_and_validates() -> None:
    problem = read_problem("iris")
    assert problem.validation is not None
    found, settings = divided(problem)
    assert (settings.cross_fit, found.rows) == (4, {"train": 120, "validation": 120, "test": 30})
    assert found.parts is not None
    assert found.validation is not None
    np.testing.assert_array_equal(found.train[0], np.r_[problem.train[0], problem.validation[0]])
    np.testing.assert_array_equal(found.train[1], found.validation[1])
    shares = [np.bincount(found.train[1][found.parts == k]).tolist() for k in range(4)]
    assert shares == [[10, 10, 10]] * 4
    assert divided(problem, seed=1)[0].parts.tolist() != found.parts.tolist()  # type: ignore[union-attr]


def test_rows_of_a_group_and_copies_are_in_one_part() -> None:
    patients = np.repeat(np.arange(N // 4), 4)
    grouped = read_problem(table(patient=patients), "y", group="patient")
    folds = fold_problems(table(patient=patients), "y", folds=2, group="patient")
    once = table()
    copied = read_problem({k: np.tile(v, 2) for k, v in once.items()}, "y")
    for problem in (grouped, copied, folds[0]):
        assert problem.groups is not None
        found, _ = divided(problem)
        assert found.parts is not None
        for group in np.unique(groups := np.concatenate(problem.groups)):
            assert len(set(found.parts[groups == group])) == 1
        assert np.bincount(found.parts).min() > 0.15 * len(found.parts)


def test_rows_that_are_not_divided() -> None:
    in_time = read_problem(table(day=np.arange(N)), "y", time="day")
    small = read_problem({k: v[:30] for k, v in table().items()}, "y")
    for problem, reason in ((in_time, "fixed"), (small, "too few rows")):
        assert settings_for(problem).cross_fit == 1
        with pytest.raises(OptionError, match=reason):
            fit_table(problem, settings_for(problem, cross_fit=2), progress=False)
    usual = read_problem(table(), "y")
    for asked in ({"hidden": [8]}, {"members": 1}, {"optimizer": "lbfgs"}, {"cross_fit": 1}):
        assert settings_for(usual, **asked).cross_fit == 1
    parts = [settings_for(usual, members=m).cross_fit for m in (16, 9, 6, 5)]
    assert parts == [4, 3, 3, 1]
    assert choose_settings(30_000, divides=True).cross_fit == 1
    with pytest.raises(OptionError, match=r"5 members can't be divided into 4"):
        fit_table(usual, settings_for(usual, members=5, cross_fit=4), progress=False)


def test_the_run_averages_all_members_and_is_validated_by_those_that_left_a_row_out(
    tmp_path: Path,
) -> None:
    rows = table()
    problem = read_problem({**rows, "y": np.where(rows["y"] > 0, "yes", "no")}, "y")
    found, settings = divided(problem, epochs=12)
    run = fit_table(problem, settings, progress=False)
    assert type(run.model) is nn.Sequential
    assert run.features == problem.train[0].shape[1:]
    assert run.scores["rows"] == {"train": 192, "validation": 192, "test": 48}
    members = nn.Sequential(run.model.layers[:-1])
    assert found.parts is not None
    assert found.validation is not None
    X, y = found.validation
    each = members(cr.tensor(X)).numpy().reshape(len(X), settings.members, 2)
    left_out = np.arange(settings.members) % 4 == found.parts[:, None]
    wanted = np.stack([row[own].mean(axis=0) for row, own in zip(each, left_out, strict=True)])
    np.testing.assert_allclose(validation_outputs(run, found), wanted, rtol=1e-4, atol=1e-5)
    shares = np.exp(wanted) / np.exp(wanted).sum(axis=1, keepdims=True)
    best = run.history[run.best_epoch - 1]["val_loss"]
    assert best == pytest.approx(log_losses(y, shares).mean(), rel=1e-4)
    run.save(tmp_path / "run")
    again = cr.load(tmp_path / "run")
    new = {k: v for k, v in rows.items() if k != "y"}
    np.testing.assert_array_equal(
        predict_table(run, new)["probability_yes"], predict_table(again, new)["probability_yes"]
    )


def test_intervals_temperature_and_threshold_come_from_all_rows() -> None:
    rows = table(w=np.r_[np.ones(N // 2), np.full(N // 2, 3.0)])
    problem = read_problem(rows, "y", weight="w")
    run = fit_table(problem, settings_for(problem, epochs=10), progress=False)
    assert run.scores["prediction_interval"]["calibrated_on"] == 192
    classes = read_problem({**rows, "y": np.where(rows["y"] > 0, "yes", "no")}, "y")
    run = fit_table(classes, settings_for(classes, epochs=10), progress=False, threshold="f1")
    assert run.scores["threshold"]["rows"] == 192


def test_the_doctor_finds_nothing_wrong_with_the_parts() -> None:
    problem = read_problem("wine")
    run = fit_table(problem, settings_for(problem), progress=False, check=True)
    assert [str(f) for f in (run.findings or ()) if f.level != "note"] == []
