"""Tables whose rows all train and validate: how they are divided, and what comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.errors import OptionError
from chainrule.doctor.case import Case
from chainrule.doctor.cure import cured
from chainrule.doctor.survey import Survey
from chainrule.insight.report.overview import compare, split_words
from chainrule.tabular.cross_fit import NUMBER, as_trained, crossed, validation_outputs
from chainrule.tabular.problem import Problem, fold_problems, read_problem
from chainrule.tabular.scores import log_losses
from chainrule.tabular.settings import Settings, choose_settings
from chainrule.tabular.suit_target import suited
from chainrule.tabular.table_prediction import predict_table
from chainrule.tabular.table_training import build, fit_table, preflight_table, settings_for
from chainrule.train.callbacks import Moment

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


def test_few_groups_and_one_group_of_most_rows_keep_their_validation_rows() -> None:
    for count in (3, 4, 5):
        groups = np.arange(N) % count
        for y in (table()["y"], np.where(table()["y"] > 0, "yes", "no")):
            problem = read_problem(table(g=groups, y=y), "y", group="g")
            run = fit_table(problem, settings_for(problem, epochs=1), progress=False)
            assert run.scores["rows"]["validation"] > 0
    large = read_problem(table(g=np.r_[np.zeros(N - 50), np.arange(50)]), "y", group="g")
    assert settings_for(large).cross_fit == 1
    with pytest.raises(OptionError, match=r"into 2 parts, because its rows are in too few groups"):
        fit_table(large, settings_for(large, cross_fit=2), progress=False)
    some = read_problem(table(g=np.arange(N) % 7), "y", group="g")
    with pytest.raises(OptionError, match=r"into 8 parts, because its rows are in too few groups"):
        fit_table(some, settings_for(some, cross_fit=8), progress=False)


def test_a_class_of_one_row_does_not_end_the_shares_of_the_others() -> None:
    names = np.array(["often"] * (N - 6) + ["seldom"] * 4 + ["alone"] * 2)
    found, _ = divided(read_problem(table(y=names), "y"))
    assert found.parts is not None
    y = [found.pipeline.classes[k] for k in found.train[1]]
    assert y.count("alone") == 1
    parts = [found.parts[i] for i, name in enumerate(y) if name == "seldom"]
    assert len(parts) == len(set(parts))


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


def test_the_doctor_does_not_take_the_part_of_a_row_for_a_column() -> None:
    """Columns so small that the numbers of parts would be the largest column by far."""
    rows = table()
    small = {k: v * 1e-5 for k, v in rows.items() if k != "y"}
    problem = read_problem({**small, "y": rows["y"]}, "y", preprocess="none")
    found = preflight_table(problem, settings_for(problem, bins=0))
    assert "tiny_inputs" in {f.cause for f in found}
    assert NUMBER not in str(found)
    run = fit_table(problem, settings_for(problem, bins=0, epochs=5), check=True, progress=False)
    assert NUMBER not in str(run.findings)


def test_what_the_neighbours_tell_does_not_depend_on_the_part() -> None:
    problem, settings = divided(read_problem({"a": RNG.normal(size=N), "y": RNG.normal(size=N)}))
    model, data, _, names = as_trained(problem, build(settings, problem).model)
    survey = Survey.of(Case(model, data, "mse", feature_names=names))
    plain = Survey.of(Case(nn.Linear(1, 1), problem.train, "mse"))
    assert survey.neighbours is not None
    assert plain.neighbours is not None
    assert survey.neighbours.gain == plain.neighbours.gain


def test_remedies_keep_the_parts() -> None:
    problem, settings = divided(read_problem(table(), "y"))
    model, data, held, _ = as_trained(problem, build(settings, problem).model)
    case = Case(model, (data[0] * 1, data[1]), "mse", validation=held and held[:2])
    scaled = cured(case, {"preprocess": "standardize"})
    for before, after in ((case.data, scaled.data), (case.validation, scaled.validation)):
        assert before is not None
        assert isinstance(after, tuple)
        np.testing.assert_array_equal(after[0][:, -1], before[0][:, -1])
        assert not np.array_equal(after[0][:, :-1], before[0][:, :-1])
    last = cured(case, {"output": None}).model
    assert isinstance(last, nn.CrossFitted)
    assert isinstance(last.layers[-1], nn.AverageMembers)


def test_a_run_that_diverged_takes_rows_without_their_part() -> None:
    problem = read_problem(table(), "y")
    with pytest.raises(cr.DivergedError) as caught:
        fit_table(problem, settings_for(problem, learning_rate=1e30), progress=False)
    run = caught.value.run
    assert type(run.model) is nn.Sequential
    assert run.outputs(problem.test[0]).shape == (48, 1)
    assert run.feature_names == problem.feature_names


def test_the_split_is_told_rightly_and_runs_are_compared() -> None:
    problem = read_problem(table(), "y")
    runs = [fit_table(problem, settings_for(problem, epochs=2, cross_fit=k), progress=False)
            for k in (4, 1)]  # fmt: skip
    assert split_words(runs[0]) == "192 rows to train and validate in 4 parts, 48 rows to test"
    assert split_words(runs[1]) == "163 rows to train, 29 rows to validate, 48 rows to test"
    assert compare({"4": runs[0], "1": runs[1]}).same_test_rows


def test_a_callback_can_predict_in_the_middle_of_training() -> None:
    """As the docstring of fit_table says."""
    problem, found = read_problem(table(), "y"), []

    class Watching:
        def on_epoch(self, moment: Moment) -> None:
            assert isinstance(moment.run.model, nn.CrossFitted)
            model = nn.Sequential(moment.run.model.layers)
            found.append(model(cr.tensor(problem.test[0])).numpy())

    run = fit_table(
        problem, settings_for(problem, epochs=2), progress=False, callbacks=[Watching()]
    )
    assert run.best_epoch == 2
    np.testing.assert_allclose(found[-1], run.outputs(problem.test[0]), rtol=1e-5, atol=1e-6)
