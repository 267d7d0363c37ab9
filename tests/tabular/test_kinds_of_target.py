"""Counts, classes in an order and several targets, from a table to predictions and reports."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn import metrics as reference
from sklearn.linear_model import PoissonRegressor

import chainrule as cr
from chainrule.cli.commands import command_line
from chainrule.core.errors import DataError, OptionError
from chainrule.data.target import Target
from chainrule.insight.report.overview import overview
from chainrule.insight.report.report import report
from chainrule.tabular.heads import head
from chainrule.tabular.problem import Problem, read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.suit_target import suited
from chainrule.tabular.table_prediction import predict_table
from chainrule.tabular.table_training import fit_table
from chainrule.tabular.target_scores import class_distance, poisson_deviance
from chainrule.tabular.verdict import verdict

Columns = dict[str, Any]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(1200, 3))
SCORE = X @ [1.0, -0.5, 0.3] + 0.3 * RNG.normal(size=1200)
GRADES = np.array(["poor", "fair", "good", "best"])
TABLE: Columns = {
    **{f"x{k}": X[:, k] for k in range(3)},
    "visits": RNG.poisson(np.exp(1 + 0.4 * X[:, 0] - 0.3 * X[:, 1])),
    "grade": GRADES[np.digitize(SCORE, [-0.8, 0.2, 1.2])],
    "price": 300 + 50 * X[:, 0] + 10 * RNG.normal(size=1200),
    "color": np.where(X[:, 1] + 0.3 * RNG.normal(size=1200) > 0, "red", "blue"),
}
FEATURES = ("x0", "x1", "x2")
ORDER = ["poor", "fair", "good", "best"]


def table(*targets: str) -> Columns:
    return {name: TABLE[name] for name in (*FEATURES, *targets)}


def train(problem: Problem, **settings: Any) -> cr.Run:
    settings = {"epochs": 40, "hidden": [16], **settings}
    chosen = choose_settings(problem.rows["train"], task=problem.pipeline.task, **settings)
    return fit_table(problem, chosen, progress=False)


# --- counts --------------------------------------------------------------------------------


def test_counts_are_predicted_as_poisson_regression_does(tmp_path: Path) -> None:
    """A network without hidden layers is a generalized linear model."""
    problem = read_problem(table("visits"), "visits", task="regression")
    run = train(problem, loss="poisson", hidden=(), optimizer="lbfgs", epochs=200, patience=0)
    rows = problem.train_rows
    theirs = PoissonRegressor(alpha=0, tol=1e-8, max_iter=1000).fit(X[rows], TABLE["visits"][rows])
    found = predict_table(run, TABLE)["prediction"]
    np.testing.assert_allclose(found, theirs.predict(X), rtol=2e-3)
    assert problem.raw is not None
    held = problem.raw[1]
    expected = reference.mean_poisson_deviance(TABLE["visits"][held], found[held])
    assert run.scores["test"]["poisson_deviance"] == pytest.approx(expected, rel=1e-5)
    guess = np.full(len(held), TABLE["visits"][rows].mean())
    expected = reference.mean_poisson_deviance(TABLE["visits"][held], guess)
    assert run.scores["baseline"]["poisson_deviance"] == pytest.approx(expected, rel=1e-5)
    loaded = cr.load(run.save(tmp_path / "run"))
    assert (predict_table(loaded, TABLE)["prediction"] == found).all()
    assert "predicted" in report(run, problem).html()  # of a problem in other units


def test_the_deviance_is_that_of_scikit_learn() -> None:
    true = RNG.poisson(3.0, 200)
    predicted = RNG.gamma(2.0, 2.0, 200)
    expected = reference.mean_poisson_deviance(true, predicted)
    assert poisson_deviance(true, predicted) == pytest.approx(expected, rel=1e-12)


def test_counts_keep_their_zero_and_come_back() -> None:
    problem = read_problem(table("visits"), "visits", task="regression")
    counted = suited(problem, choose_settings(700, task="regression", loss="poisson"))
    assert counted.train[1].min() == 0
    assert counted.train[1].mean() == pytest.approx(1, abs=1e-5)
    back = counted.pipeline.target.decode(counted.train[1])
    np.testing.assert_allclose(back, problem.pipeline.target.decode(problem.train[1]), atol=1e-4)
    plain = suited(counted, choose_settings(700, task="regression"))
    np.testing.assert_allclose(plain.train[1], problem.train[1], atol=1e-5)
    with pytest.raises(DataError, match="has values below 0, such as -"):
        suited(read_problem({**table(), "y": X[:, 0]}, "y"), choose_settings(700, loss="poisson"))


def test_a_target_that_looks_counted_is_told_and_no_other() -> None:
    def told(values: Any) -> bool:
        problem = read_problem({**table(), "y": values}, "y")
        return any("--loss poisson" in note for note in problem.pipeline.notes)

    assert told(TABLE["visits"])
    assert told(np.minimum(RNG.poisson(1.0, 1200), 5))  # also as classes
    assert told(RNG.poisson(30 * RNG.gamma(1, 1, 1200)))
    assert not told(np.arange(1200) % 10)  # digits
    assert not told(RNG.integers(18, 90, 1200))  # ages
    assert not told(np.round(np.exp(RNG.normal(12, 1, 1200))))  # prices
    assert not told(TABLE["visits"] + 0.5)


# --- classes in an order -------------------------------------------------------------------


def test_classes_in_an_order_get_probabilities_in_it(tmp_path: Path) -> None:
    problem = read_problem(table("grade"), "grade", roles={"grade": ORDER})
    assert problem.pipeline.classes == tuple(ORDER)
    assert "target `grade`: poor < fair < good < best, as given" in problem.pipeline.notes
    run = train(problem)
    assert run.objective.name == "ordinal"
    found = predict_table(run, TABLE)
    assert list(found) == ["prediction", *(f"probability_{name}" for name in ORDER)]
    shares = np.stack([found[f"probability_{name}"] for name in ORDER], axis=1)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    assert (np.array(ORDER)[shares.argmax(axis=1)] == found["prediction"]).all()
    true = np.array([ORDER.index(name) for name in TABLE["grade"]])
    assert problem.raw is not None
    held = problem.raw[1]
    steps = np.abs(shares.argmax(axis=1) - true)[held].mean()
    assert run.scores["test"]["class_distance"] == pytest.approx(steps)
    assert steps < 0.5 < run.scores["baseline"]["class_distance"]
    assert run.scores["test"]["accuracy"] > 0.7
    assert run.history["val_accuracy"][run.best_epoch - 1] > 0.7
    loaded = cr.load(run.save(tmp_path / "run"))
    assert all((predict_table(loaded, TABLE)[name] == found[name]).all() for name in found)
    assert "fair" in report(run, problem).html()


def test_orders_of_numbers_and_natural_orders() -> None:
    stars = np.digitize(SCORE, [-0.8, 0.2, 1.2]) + 1
    problem = read_problem({**table(), "stars": stars}, roles={"stars": ["4", "3", "2", "1"]})
    assert problem.pipeline.classes == (4, 3, 2, 1)
    words = np.array(["step 2", "step 10", "step 1"])[np.arange(1200) % 3]
    problem = read_problem({**table(), "step": words}, roles={"step": "ordinal", "x0": "dropped"})
    assert problem.pipeline.classes == ("step 1", "step 2", "step 10")
    assert Target.from_json(problem.pipeline.target.to_json()) == problem.pipeline.target


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (["poor", "fair", "good"], "each of its 4 classes once; 'best' is missing"),
        ([*ORDER, "worst"], "no row of target 'grade' is 'worst', which the order lists"),
        ([*ORDER, "poor"], "one is listed twice"),
    ],
)
def test_orders_that_do_not_fit_are_named(order: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_problem(table("grade"), "grade", roles={"grade": order})


def test_ordinal_needs_an_order_and_numbers_have_none() -> None:
    problem = read_problem(table("grade"), "grade")
    with pytest.raises(OptionError, match="ordinal needs the order of the classes of 'grade'"):
        train(problem, loss="ordinal")
    with pytest.raises(OptionError, match="an order of classes, but the task is regression"):
        read_problem(table("grade"), "grade", task="regression", roles={"grade": ORDER})
    ordered = read_problem(table("grade"), "grade", roles={"grade": ORDER})
    assert train(ordered, loss="cross_entropy", epochs=1).objective.name == "cross_entropy"


def test_the_distance_is_that_of_class_numbers() -> None:
    true, predicted = RNG.integers(0, 5, 100), RNG.integers(0, 5, 100)
    expected = reference.mean_absolute_error(true, predicted)
    assert class_distance(true, predicted) == pytest.approx(expected)


# --- several targets -----------------------------------------------------------------------

NAMES = ("price", "color", "grade", "visits")


@pytest.fixture(scope="module")
def several() -> tuple[Problem, cr.Run]:
    columns = {**table(*NAMES), "visits": TABLE["visits"].astype(float) + 0.5}
    problem = read_problem(columns, NAMES, roles={"grade": ORDER})
    return problem, train(problem)


def test_one_network_predicts_numbers_and_classes(several: tuple[Problem, cr.Run]) -> None:
    problem, run = several
    assert problem.pipeline.task == "several"
    assert problem.train[1].shape[1] == 4
    assert not set(NAMES) & set(problem.feature_names)
    assert run.outputs(problem.test[0]).shape[1] == 1 + 2 + 3 + 1
    found = predict_table(run, TABLE, interval=0.9)
    assert list(found) == [
        "prediction_price", "low_price", "high_price",
        "prediction_color", "probability_color_blue", "probability_color_red",
        "prediction_grade", *(f"probability_grade_{name}" for name in ORDER),
        "prediction_visits", "low_visits", "high_visits",
    ]  # fmt: skip
    assert (found["prediction_color"] == TABLE["color"]).mean() > 0.85
    assert np.corrcoef(found["prediction_price"], TABLE["price"])[0, 1] > 0.95
    inside = (found["low_price"] <= TABLE["price"]) & (TABLE["price"] <= found["high_price"])
    assert inside.mean() == pytest.approx(0.9, abs=0.05)


def test_every_target_has_its_scores(several: tuple[Problem, cr.Run]) -> None:
    problem, run = several
    scores = run.scores["targets"]
    assert list(scores) == list(NAMES)
    assert scores["price"]["test"]["r2"] > 0.9
    assert scores["grade"]["test"]["accuracy"] > 0.7
    assert "class_distance" in scores["grade"]["test"]
    assert problem.raw is not None
    held = problem.raw[1]
    found = predict_table(run, {name: values[held] for name, values in TABLE.items()})
    assert scores["color"]["test"]["accuracy"] == pytest.approx(
        (found["prediction_color"] == TABLE["color"][held]).mean()
    )
    assert scores["price"]["test"]["mae"] == pytest.approx(
        np.abs(found["prediction_price"] - TABLE["price"][held]).mean(), rel=1e-5
    )
    assert verdict(run.scores).outcome == "better"


def test_a_head_is_a_run_of_one_target(several: tuple[Problem, cr.Run], tmp_path: Path) -> None:
    _, run = several
    whole = predict_table(run, TABLE)
    for name in NAMES:
        one = head(run, name)
        alone = predict_table(one, TABLE)
        assert (alone["prediction"] == whole[f"prediction_{name}"]).all()
        assert one.scores == run.scores["targets"][name]
        loaded = cr.load(one.save(tmp_path / name))
        assert (predict_table(loaded, TABLE)["prediction"] == alone["prediction"]).all()
        assert name in report(loaded, TABLE).html()
    with pytest.raises(OptionError, match=r"does not predict 'prise'\. Did you mean 'price'"):
        head(run, "prise")


def test_a_run_of_several_comes_back_and_is_shown(
    several: tuple[Problem, cr.Run], tmp_path: Path
) -> None:
    problem, run = several
    loaded = cr.load(run.save(tmp_path / "run"))
    assert loaded.pipeline == run.pipeline
    assert loaded.scores == run.scores
    again, first = predict_table(loaded, TABLE), predict_table(run, TABLE)
    assert all((again[name] == first[name]).all() for name in first)
    shown = str(overview(loaded, tmp_path / "run"))
    assert "target price" in shown
    assert "target grade" in shown
    assert "Target color" in report(run, problem).html()


def test_the_loss_is_the_sum_of_the_standardized_losses(several: tuple[Problem, cr.Run]) -> None:
    problem, run = several
    X, y = problem.test
    z = run.outputs(X).astype(float)
    total = np.square(z[:, 0] - y[:, 0]) + np.square(z[:, 6] - y[:, 3])
    rows = np.arange(len(y))
    for k, columns in ((1, slice(1, 3)), (2, slice(3, 6))):
        aim = run.objective.parts[k][0]
        shares = aim.probabilities(z[:, columns])
        total -= np.log(shares[rows, y[:, k].astype(int)]) / np.log(shares.shape[1])
    assert run.evaluate(TABLE | {"visits": TABLE["visits"] + 0.5})["loss"] > 0
    held = run._scores(X, y)["loss"]
    assert held == pytest.approx(total.mean(), rel=1e-4)


def test_rows_without_one_of_the_targets_are_left_out() -> None:
    price = TABLE["price"].copy()
    price[:100] = np.nan
    problem = read_problem({**table("color"), "price": price}, "price, color")
    assert sum(problem.rows.values()) == 1100
    assert "left out 100 rows without a value of each target" in problem.pipeline.notes


@pytest.mark.parametrize(
    ("target", "more", "message"),
    [
        ("price,colour", {}, "no column 'colour' to predict. Did you mean 'color'"),
        ("price,price", {}, "target 'price' is given twice"),
        ("price,color", {"task": "regression"}, "can't be given for several targets"),
    ],
)
def test_targets_that_can_not_be_are_named(target: str, more: Any, message: str) -> None:
    with pytest.raises((DataError, OptionError), match=message):
        read_problem(table("price", "color"), target, **more)


@pytest.mark.parametrize(
    "setting", [{"loss": "mse"}, {"class_weight": "balanced"}, {"label_smoothing": 0.1}]
)
def test_settings_of_one_target_are_refused(setting: Any) -> None:
    problem = read_problem(table("price", "color"), "price,color")
    with pytest.raises(OptionError, match=f"{next(iter(setting))} can't be set for several"):
        train(problem, **setting)


def test_a_streamed_table_has_an_order_and_several_targets(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    columns = table("price", "grade")
    lines = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    file.write_text("\n".join([",".join(columns), *lines]))
    problem = read_problem(file, "grade", roles={"grade": ORDER}, stream=True)
    assert problem.pipeline.classes == tuple(ORDER)
    assert train(problem, epochs=2).objective.name == "ordinal"
    for several in ("price,grade", ["price", "grade"]):
        roles = {"grade": ORDER}
        streamed, whole = (
            read_problem(file, several, roles=roles, stream=stream) for stream in (True, False)
        )
        for a, b in zip(
            (*streamed.train, *streamed.test), (*whole.train, *whole.test), strict=True
        ):
            np.testing.assert_array_equal(a, b)
        assert [p.to_json() for p in streamed.pipeline.target.parts] == [  # type: ignore[union-attr]
            p.to_json() for p in whole.pipeline.target.parts
        ]
    assert set(train(streamed, epochs=2).scores["targets"]) == {"price", "grade"}
    with pytest.raises(OptionError, match="task 'regression' can't be given for several"):
        read_problem(file, "price,grade", task="regression", stream=True)
    with pytest.raises(OptionError, match="target 'price' is given twice"):
        read_problem(file, "price,price", stream=True)


def test_a_column_with_a_comma_in_its_name_is_one_target() -> None:
    problem = read_problem({**table(), "a,b": TABLE["price"]}, "a,b")
    assert problem.pipeline.target.names == ("a,b",)


def test_the_commands_work_with_several_targets_and_their_config(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    columns = {**table("price", "color", "grade")}
    lines = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    file.write_text("\n".join([",".join(columns), *lines]))
    call = CliRunner().invoke
    place, again = str(tmp_path / "run"), str(tmp_path / "again")
    words = ["train", str(file), "--target", "price,color,grade", "--role",
             "grade=poor<fair<good<best", "--epochs", "15", "--hidden", "16", "--out",
             place]  # fmt: skip
    trained = call(command_line, words)
    assert trained.exit_code == 0, trained.output
    assert "predict `price, color, grade`, 3 targets" in trained.output
    for name in ("price", "color", "grade"):
        assert f"Scores of `{name}` on 240 test rows" in trained.output
    repeated = call(command_line, ["train", "--config", f"{place}/config.toml", "--out", again])
    assert repeated.exit_code == 0, repeated.output
    assert cr.load(again).scores == cr.load(place).scores
    rows = list(csv.DictReader(io.StringIO(
        call(command_line, ["predict", place, str(file)]).stdout)))  # fmt: skip
    assert {"prediction_price", "prediction_color", "probability_grade_best"} <= set(rows[0])
    told = json.loads(call(command_line, ["predict", place, str(file), "--json"]).stdout)
    assert told["target"] == ["price", "color", "grade"]
    assert len(told["prediction_color"]) == 1200
    for command in (["show", place], ["explain", place], ["doctor", place], ["draw", place]):
        result = call(command_line, command)
        assert result.exit_code in (0, 1), result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
    summary = json.loads(call(command_line, [*words[:-1], f"{place}2", "--json"]).stdout)
    assert set(summary["targets"]) == {"price", "color", "grade"}


@pytest.mark.parametrize("loss", ["poisson", "quantile"])
def test_a_loss_of_numbers_decides_the_task(loss: str, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    visits = np.minimum(TABLE["visits"], 12)  # so few that they would be classes
    lines = [f"{a},{b}" for a, b in zip(X[:, 0], visits, strict=True)]
    file.write_text("\n".join(["x,visits", *lines]))
    call = CliRunner().invoke
    words = ["train", str(file), "--loss", loss, "--epochs", "5", "--hidden", "16", "--out",
             str(tmp_path / "run")]  # fmt: skip
    trained = call(command_line, words)
    assert trained.exit_code == 0, trained.output
    assert "predict `visits`, a number" in trained.output
    assert ("mean Poisson deviance" in trained.output) == (loss == "poisson")
    assert "90 % intervals contain" in trained.output
    run = cr.load(tmp_path / "run")
    assert run.outputs(np.zeros((1, 1), "f4")).shape == (1, 3 if loss == "quantile" else 1)
