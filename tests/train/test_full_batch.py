"""Training with all rows at once reaches what others reach, and behaves as fit always does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import chainrule as cr
from chainrule import nn, optim
from chainrule.run.program import Engine
from chainrule.step.objective import objective
from chainrule.step.part import Part
from chainrule.step.record import record_step
from chainrule.train.full_batch_program import FullBatchProgram, full_batch_program

RNG = np.random.default_rng(0)
X = RNG.uniform(-2, 2, (60, 2))
Y = np.sin(X[:, 0]) * X[:, 1] + RNG.normal(0, 0.05, 60)
METHODS = {"lbfgs": optim.LBFGS(), "lm": optim.LevenbergMarquardt()}
BOTH = pytest.mark.parametrize("method", METHODS)
ENGINES = pytest.mark.parametrize("engine", ["reference", "native"])


def network(hidden: int = 4, dtype: str = "float64") -> Any:
    return nn.Sequential(
        [nn.Linear(2, hidden, dtype=dtype), nn.Tanh(), nn.Linear(hidden, 1, dtype=dtype)]
    )


def train(method: str = "lbfgs", model: Any = None, data: Any = (X, Y), **options: Any) -> cr.Run:
    settings: dict[str, Any] = {"loss": "mse", "epochs": 15, "progress": False, "seed": 1}
    settings["optimizer"] = METHODS[method]
    return cr.fit(network() if model is None else model, data, **{**settings, **options})


@ENGINES
def test_logistic_regression_is_scikit_learn_s(engine: str) -> None:
    iris = load_iris()
    x, y = iris.data[:, :3], iris.target
    theirs = LogisticRegression(C=2.0, tol=1e-10, max_iter=5000).fit(x, y)
    run = train(
        model=nn.Sequential([nn.Linear(3, 3, dtype="float64")]), data=(x, y), engine=engine,
        loss="cross_entropy", regularizer=nn.L2(1 / (2 * 2.0 * len(x))), epochs=500,
    )  # fmt: skip
    assert run.stopped is not None
    assert "no part of the gradient is larger than 1e-08, after" in run.stopped
    np.testing.assert_allclose(run.predict_proba(x), theirs.predict_proba(x), atol=1e-6)
    np.testing.assert_allclose(run.model[0].weight.value.T, theirs.coef_, atol=1e-5)  # type: ignore[index]


@BOTH
def test_linear_regression_is_the_least_squares(method: str) -> None:
    run = train(method, nn.Sequential([nn.Linear(2, 1, dtype="float64")]), epochs=100)
    design = np.column_stack([X, np.ones(60)])
    best, squares = np.linalg.lstsq(design, Y, rcond=None)[:2]
    np.testing.assert_allclose(run.outputs(X)[:, 0], design @ best, atol=1e-7)
    assert run.history[-1]["loss"] == pytest.approx(squares[0] / 60, rel=1e-10)
    assert run.stopped is not None


@BOTH
def test_engines_agree(method: str) -> None:
    losses = [
        [record["loss"] for record in train(method, engine=engine, epochs=8).history]
        for engine in ("reference", "native")
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)
    assert losses[0] == sorted(losses[0], reverse=True)


@ENGINES
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_more_rows_than_one_pass_takes(engine: str, dtype: str) -> None:
    x = RNG.normal(size=(2500, 2)).astype(dtype)
    y = np.tanh(x @ [1.0, -2.0])
    weight = RNG.uniform(0.5, 2, 2500)
    run = train(
        "lbfgs", network(dtype=dtype), (x, y), engine=engine, epochs=12, sample_weight=weight,
        regularizer=nn.L2(1e-5),
    )  # fmt: skip
    assert run.history[-1]["loss"] < 0.02 * run.history[0]["loss"]
    errors = (run.outputs(x)[:, 0] - y) ** 2
    mean = np.sum(errors * weight) / weight.sum()
    assert run.history[-1]["loss"] == pytest.approx(mean, rel=1e-4 if dtype == "float32" else 1e-9)


@ENGINES
def test_the_gradient_gathered_in_pieces_is_the_loss_s(engine: str) -> None:
    x = RNG.normal(size=(2500, 2))  # two whole pieces and a part
    model, aim = network(), objective("mse")
    nn.initialize(model, 3)
    data = Part(x, np.tanh(x @ [[1.0], [-2.0]]), weight=RNG.uniform(0.5, 1.5, 2500))
    step = record_step(model, aim, optim.LBFGS(), (), data, regularizer=nn.L2(0.01))
    program = full_batch_program(optim.LBFGS(), model, aim, step, data, 0, Engine(engine))
    assert program.chunk < 2500
    point = np.concatenate([program.state[f"parameter/{path}"].ravel() for path in program.trained])
    _, gradient = program.look(point)
    along = RNG.normal(size=point.size)
    ends = [program.look(point + sign * 1e-5 * along)[0] for sign in (1, -1)]
    assert gradient @ along == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-7)


def test_levenberg_marquardt_goes_where_first_order_methods_hardly_do() -> None:
    x = np.linspace(-3, 3, 40)[:, None]
    y = np.sin(2 * x[:, 0])
    model = nn.Sequential(
        [nn.Linear(1, 6, dtype="float64"), nn.Tanh(), nn.Linear(6, 1, dtype="float64")]
    )
    run = train("lm", model, (x, y), epochs=300, engine="reference")
    assert run.history[-1]["loss"] < 1e-3  # from 0.5; five seeds reached 5e-5 to 3e-9


def test_several_outputs_and_parameters_used_in_other_ways() -> None:
    class Doubled:
        def __init__(self) -> None:
            self.inner = nn.Linear(2, 2, dtype="float64")

        def __call__(self, x: Any) -> Any:
            return x @ (self.inner.weight * 2.0) + self.inner.bias

    y = np.column_stack([Y, X[:, 0]])
    run = train("lm", Doubled(), (X, y), epochs=30)
    design = np.column_stack([X, np.ones(60)])
    want = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(run.outputs(X), want, atol=1e-8)


def test_rows_that_act_on_each_other_are_taken_at_once() -> None:
    x, y = np.repeat(X, 20, 0), np.repeat(Y, 20)
    model = nn.Sequential([nn.Linear(2, 4), nn.BatchNorm(4), nn.Tanh(), nn.Linear(4, 1)])
    run = train("lbfgs", model, (x, y), epochs=20)
    assert run.history[-1]["loss"] < 0.5 * run.history[0]["loss"]


@BOTH
def test_validation_early_stopping_and_history(method: str) -> None:
    run = train(method, validation=0.3, early_stopping=4, epochs=200, metrics=["r2"])
    assert [record["epoch"] for record in run.history] == list(range(1, len(run.history) + 1))
    assert len(run.history) < 200
    best = min(run.history, key=lambda record: record["val_loss"])
    assert run.best_epoch == best["epoch"]
    assert {"loss", "r2", "val_loss", "val_r2", "seconds"} <= set(run.history[0])
    assert run.settings["batch_size"] == run.settings["rows"] == 42


@BOTH
def test_the_history_tells_the_loss_of_the_weights_that_are_left(method: str) -> None:
    run = train(method, epochs=3)
    assert run.evaluate((X, Y))["loss"] == pytest.approx(run.history[-1]["loss"], rel=1e-12)
    assert run.stopped is None


@BOTH
def test_saved_and_loaded(method: str, tmp_path: Path) -> None:
    run = train(method, epochs=3)
    again = cr.load(run.save(tmp_path / "run"))
    np.testing.assert_array_equal(again.outputs(X), run.outputs(X))
    assert again.settings["optimizer"] == repr(METHODS[method])


@BOTH
def test_on_epoch_may_stop_and_may_move_the_weights(method: str) -> None:
    def move(run: cr.Run, record: dict[str, Any]) -> bool:
        if record["epoch"] == 2:
            for layer in (run.model[0], run.model[2]):  # type: ignore[index]
                layer.weight.value = layer.weight.value * 3.0
        return bool(record["epoch"] == 5)

    run, straight = train(method, on_epoch=move), train(method, epochs=5)
    assert run.stopped == "on_epoch asked to stop at epoch 5"
    assert run.history[1]["loss"] == straight.history[1]["loss"]
    assert run.history[2]["loss"] != straight.history[2]["loss"]
    assert run.evaluate((X, Y))["loss"] == pytest.approx(run.history[-1]["loss"])


@BOTH
def test_interrupted_within_a_step_the_last_accepted_weights_stay(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    place = FullBatchProgram.place

    def interrupted(self: Any, point: Any) -> None:
        nonlocal calls
        calls += 1
        place(self, point)
        if calls == 12:
            place(self, point * 2)
            raise KeyboardInterrupt

    monkeypatch.setattr(FullBatchProgram, "place", interrupted)
    with pytest.warns(UserWarning, match="interrupted in epoch"):
        run = train(method)
    assert run.stopped == "interrupted"
    # The search may have ended just before, at a point that is lower and not in the history yet.
    assert run.evaluate((X, Y))["loss"] <= run.history[-1]["loss"] * (1 + 1e-12)


def test_frozen_parameters_stay() -> None:
    model = network()
    nn.initialize(model, 1)
    model[0].weight.trainable = False
    before = model[0].weight.value.copy()
    for method in METHODS:
        run = train(method, model, epochs=4)
        np.testing.assert_array_equal(model[0].weight.value, before)
        assert run.history[-1]["loss"] < run.history[0]["loss"]


@BOTH
def test_training_ends_at_once_where_nothing_is_to_gain(method: str) -> None:
    model = nn.Sequential([nn.Linear(2, 1, dtype="float64")])
    model[0].weight.value, model[0].bias.value = np.zeros((2, 1)), [0.0]
    run = train(method, model, (X, np.zeros(60)))
    assert run.stopped is not None
    assert run.stopped.endswith("after 1 iterations")


def mse(output: Any, target: Any) -> Any:
    return abs(output[:, 0] - target)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "dropout": (
        {"model": nn.Sequential([nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 1)])},
        "LBFGS compares losses along its way, and this one is drawn anew each time",
    ),
    "a chain": (
        {"optimizer": optim.chain(optim.ClipNorm(1.0), optim.LBFGS())},
        "LBFGS looks along its own steps, so it can't be part of Chain",
    ),
    "watch": ({"watch": True}, "LBFGS has none"),
    "another loss": (
        {"method": "lm", "loss": "cross_entropy", "data": (X, Y > 0), "model": nn.Linear(2, 2)},
        "sum of squares least, loss='mse', and not loss 'cross_entropy'; optim.LBFGS",
    ),
    "a loss of the same name": ({"method": "lm", "loss": mse}, "and not a loss of your own"),
    "weights": ({"method": "lm", "sample_weight": np.ones(60)}, "and not rows with weights"),
    "a penalty": ({"method": "lm", "regularizer": nn.L2(0.1)}, "without a regularizer"),
    "statistics": (
        {"method": "lm", "model": nn.Sequential([nn.Linear(2, 1), nn.BatchNorm(1)])},
        "layers that keep statistics",
    ),
    "a mean over rows": (
        {"method": "lm", "model": nn.Sequential([lambda x: x - x.mean(0), nn.Linear(2, 1)])},
        "rows act on each other",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_t_be_done_is_refused_with_words(name: str) -> None:
    options, words = REFUSED[name]
    with pytest.raises(cr.OptionError, match=words):
        train(**options)


def test_a_jacobian_beyond_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainrule.train.full_batch_program.MOST_BYTES", 1000)
    with pytest.raises(cr.OptionError, match="the Jacobian of 60 residuals to 17 parameters"):
        train("lm")
