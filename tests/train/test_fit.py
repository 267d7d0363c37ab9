"""Training does exactly the arithmetic it says: batches, shuffles, sums, seeds, state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.run.program import ReferenceProgram, prepare
from chainrule.step.metrics import metric
from chainrule.step.objective import objective
from chainrule.step.part import Part
from chainrule.step.record import record_step

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 3))
CLASSES = (X @ [1.0, -2.0, 0.5] > 0).astype(int) + (X[:, 0] > 1)
VALUES = X @ [1.0, -2.0, 0.5] + 0.1 * RNG.normal(size=50)


def net(outputs: int = 3, dtype: str = "float32") -> nn.Sequential:
    return nn.Sequential(
        [nn.Linear(3, 8, dtype=dtype), nn.Tanh(), nn.Linear(8, outputs, dtype=dtype)]
    )


def weights(model: Any) -> dict[str, Any]:
    return {name: p.value.copy() for name, p in nn.parameters(model).items()}


def quick(model: Any = None, y: Any = CLASSES, **options: Any) -> cr.Run:
    options = {"loss": "cross_entropy", "epochs": 3, "batch_size": 8, "progress": False} | options
    return cr.fit(net() if model is None else model, (X, y), **options)


def orders(seed: int, epochs: int, rows: int) -> list[Any]:
    """Return the documented shuffle of each epoch: Philox keyed by seed and epoch."""
    return [
        np.random.Generator(np.random.Philox(key=[seed, 2**32 + epoch])).permutation(rows)
        for epoch in range(1, epochs + 1)
    ]


@pytest.mark.parametrize("batch", [8, 50, 1, 7])
def test_epochs_equal_a_loop_written_by_hand(batch: int) -> None:
    """Two layers, backpropagation derived on paper; 50 rows leave a partial batch."""
    model = net(1, "float64")
    nn.initialize(model, 3)
    w1, b1, w2, b2 = (v.copy() for v in weights(model).values())
    run = cr.fit(
        model, (X, VALUES), loss="mse", optimizer=optim.SGD(0.05), epochs=2, batch_size=batch,
        seed=3, progress=False,
    )  # fmt: skip
    for epoch, order in enumerate(orders(3, 2, 50)):
        total = squares = 0.0
        for start in range(0, 50, batch):
            rows = order[start : start + batch]
            x, y = X[rows], VALUES[rows, None]
            h = np.tanh(x @ w1 + b1)
            error = h @ w2 + b2 - y
            total += float((error**2).sum())
            squares += float((error**2).sum())
            d_out = 2 * error / len(rows)
            d_h = (d_out @ w2.T) * (1 - h**2)
            w2, b2 = w2 - 0.05 * h.T @ d_out, b2 - 0.05 * d_out.sum(0)
            w1, b1 = w1 - 0.05 * x.T @ d_h, b1 - 0.05 * d_h.sum(0)
        assert run.history[epoch]["loss"] == pytest.approx(total / 50, rel=1e-12)
        assert run.history[epoch]["r2"] == pytest.approx(1 - squares / 50 / VALUES.var(), rel=1e-12)
    for got, expected in zip(weights(model).values(), (w1, b1, w2, b2), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
    h = np.tanh(X @ w1 + b1)
    np.testing.assert_allclose(run.predict(X), (h @ w2 + b2)[:, 0], atol=1e-12)


def test_a_batch_larger_than_the_data_is_the_full_batch() -> None:
    one, other = quick(batch_size=50), quick(batch_size=10**6)
    assert [r["loss"] for r in one.history] == [r["loss"] for r in other.history]
    for name, value in weights(one.model).items():
        np.testing.assert_array_equal(value, weights(other.model)[name])


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    one, same, other = quick(seed=4), quick(seed=4), quick(seed=5)
    for name, value in weights(one.model).items():
        np.testing.assert_array_equal(value, weights(same.model)[name])
    assert one.history[-1]["loss"] == same.history[-1]["loss"] != other.history[-1]["loss"]


def test_the_shuffle_depends_on_the_seed_even_from_the_same_weights() -> None:
    results = []
    for seed in (1, 2):
        model = net()
        nn.initialize(model, 0)
        results.append(quick(model, seed=seed).history[-1]["loss"])
    assert results[0] != results[1]


def test_fit_continues_from_trained_weights() -> None:
    run = quick(epochs=20, optimizer="sgd")
    trained = run.evaluate((X, CLASSES))["loss"]
    again = cr.fit(
        run.model, (X, CLASSES), loss="cross_entropy", optimizer=optim.SGD(1e-9), epochs=1,
        seed=99, progress=False,
    )  # fmt: skip
    assert again.history[0]["loss"] == pytest.approx(trained, rel=1e-4)


def test_a_refused_fit_leaves_the_model_untouched() -> None:
    model = net()
    with pytest.raises(cr.DataError):
        quick(model, validation=(X, CLASSES + 7), seed=3)
    assert not nn.parameters(model)["0.weight"].assigned


def test_history_has_one_full_record_an_epoch() -> None:
    run = quick(validation=0.2, metrics=["accuracy"], optimizer=optim.Adam(0.01))
    assert [r["epoch"] for r in run.history] == [1, 2, 3]
    for record in run.history:
        assert list(record) == [
            "epoch", "loss", "accuracy", "learning_rate", "seconds", "samples_per_second",
            "val_loss", "val_accuracy",
        ]  # fmt: skip
        assert record["learning_rate"] == 0.01
        assert record["seconds"] > 0
        assert record["samples_per_second"] == pytest.approx(40 / record["seconds"])
        assert 0 <= record["accuracy"] <= 1
    assert run.settings["seed"] == 0
    assert run.settings["rows"] == 40


def test_training_loss_and_accuracy_are_those_before_each_step() -> None:
    model = net()
    nn.initialize(model, 0)
    start = quick(model, optimizer=optim.SGD(1e-12), epochs=1)
    after = start.evaluate((X, CLASSES))
    assert start.history[0]["loss"] == pytest.approx(after["loss"], rel=1e-5)
    assert start.history[0]["accuracy"] == pytest.approx(after["accuracy"])


def test_the_step_is_one_verified_graph_with_contiguous_state() -> None:
    model = net()
    nn.initialize(model)
    y = CLASSES.astype(np.int64)
    step = record_step(
        model, objective("cross_entropy"), optim.Adam(), (metric("accuracy"),), Part(X, y)
    )
    cr.verify(step.graph)
    assert {name.split("/")[0] for name in step.state} == {"parameter", "m", "v", "hyper", "step"}
    program = ReferenceProgram(step.graph, step.state, {"x": X, "y": y})
    for kind in ("parameter", "m", "v"):
        arena = program.arenas[kind]
        assert arena.buffer.flags.c_contiguous
        assert arena.buffer.ctypes.data % 64 == 0
        for view in arena.views.values():
            offset = view.ctypes.data - arena.buffer.ctypes.data
            assert 0 <= offset <= len(arena.buffer) - view.nbytes
            assert offset % 64 == 0
            assert np.shares_memory(view, arena.buffer)
    before = program.arenas["parameter"].buffer.copy()
    sums = program.run(np.arange(50), 8)
    assert sorted(sums) == ["accuracy", "loss"]
    assert program.state["step"] == 7
    assert not np.array_equal(before, program.arenas["parameter"].buffer)


def test_a_program_names_inputs_that_do_not_match() -> None:
    model = net()
    nn.initialize(model)
    step = record_step(model, objective("cross_entropy"), optim.SGD(), (), Part(X, CLASSES))
    with pytest.raises(cr.GraphError, match=r"do not match the step's inputs: y"):
        prepare(step.graph, step.state, {"x": X}, 4)


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(cr.OptionError, match="no parameters"):
        cr.fit(nn.Sequential([nn.ReLU()]), (X, X), loss="mse", progress=False)


def test_a_model_that_loses_the_rows_is_refused() -> None:
    model = nn.Sequential([nn.Linear(3, 1), lambda x: x.sum()])
    with pytest.raises(cr.ShapeError, match="first axis must be the rows"):
        cr.fit(model, (X, VALUES), loss="mse", progress=False)


def test_images_of_bytes_are_scaled_to_one() -> None:
    images = RNG.integers(0, 256, (40, 4, 4), dtype=np.uint8)
    y = RNG.integers(0, 2, 40)
    runs = []
    for features in (images, images.astype(np.float32) / 255):
        model = nn.Sequential([nn.Flatten(), nn.Linear(16, 2)])
        runs.append(cr.fit(model, (features, y), loss="cross_entropy", epochs=2, progress=False))
    assert runs[0].history[-1]["loss"] == pytest.approx(runs[1].history[-1]["loss"], rel=1e-5)
    np.testing.assert_allclose(
        runs[0].outputs(images), runs[1].outputs(images / 255), rtol=1e-4, atol=1e-6
    )
    with pytest.raises(cr.DataError, match=r"holds float64 but the model was trained on uint8"):
        runs[0].predict(images / 255)


def test_prediction_in_pieces_equals_prediction_at_once() -> None:
    run = quick(epochs=1)
    many = RNG.normal(size=(9000, 3))  # more than two pieces
    at_once = np.concatenate([run.outputs(many[i : i + 1]) for i in (0, 4095, 4096, 8999)])
    np.testing.assert_allclose(run.outputs(many)[[0, 4095, 4096, 8999]], at_once, rtol=1e-5)
    y = RNG.integers(0, 3, 9000)
    p = run.predict_proba(many).astype(float)
    expected = -np.log(p[np.arange(9000), y]).mean()
    assert run.evaluate((many, y))["loss"] == pytest.approx(expected, rel=1e-5)
    assert run.evaluate((many, y))["accuracy"] == (run.predict(many) == y).mean()


def test_run_graph_is_the_model() -> None:
    run = quick(epochs=1)
    graph = run.graph()
    cr.verify(graph)
    expected = cr.evaluate(graph, {"x": X})["output"]
    np.testing.assert_allclose(run.outputs(X), expected, rtol=1e-5, atol=1e-6)


def squares(output: cr.Tensor, target: cr.Tensor) -> cr.Tensor:
    return ((output - target) ** 2).sum(1)


def loss(output: cr.Tensor, target: cr.Tensor) -> cr.Tensor:
    return squares(output, target)


def columns(output: cr.Tensor, target: cr.Tensor) -> cr.Tensor:
    return output - target


def a_float(output: cr.Tensor, target: cr.Tensor) -> Any:
    return 1.0


def named(name: str) -> Any:
    def measure(output: cr.Tensor, target: cr.Tensor) -> cr.Tensor:
        return output.mean(1)

    measure.__name__ = name
    return measure


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["accuracy", "accuracy"]}, "two are named 'accuracy'"),
        ({"metrics": [loss]}, "'loss' is a name the history keeps"),
        ({"metrics": [named("penalty")], "regularizer": nn.L2(0.1)}, "'penalty' is a name the his"),
        ({"metrics": [named("weight")], "sample_weight": np.ones(50)}, "'weight' is a name the hi"),
        ({"metrics": [named("val_loss")]}, "'val_loss' is a name the history keeps"),
        ({"metrics": [named("layers")]}, "'layers' is a name the history keeps"),
        ({"metrics": [named("watch/rows")]}, "'watch/rows' is a name the history keeps"),
        ({"metrics": [named("mse")]}, r"'mse' is the name of a metric of chainrule, .* give the n"),
        ({"metrics": [named("accuracy")]}, "'accuracy' is the name of a metric of chainrule"),
        ({"loss": a_float}, r"loss 'a_float' returned float, not a tensor.*chainrule's func"),
        ({"metrics": [a_float]}, r"metric 'a_float' returned float, not a tensor"),
        ({"metrics": [columns], "loss": "mse", "y": X}, r"metric 'columns' returned shape \(n, 3"),
        ({"optimizer": optim.Adam}, r"optimizer is the class Adam; call it: Adam\(\)"),
        ({"model": nn.Linear}, r"model is the class Linear; call it: Linear\(\.\.\.\)"),
        ({"model": [nn.Linear(3, 3)]}, r"model is a list, .*wrap it: nn\.Sequential\("),
        ({"model": 3}, r"model is a int, and must be a layer; such as nn\.Linear"),
        ({"model": lambda x: x.numpy()}, "has no value"),
        ({"model": lambda x: np.zeros((2, 2))}, "the model returned ndarray, not a tensor"),
        ({"seed": 2**64}, rf"seed must be an integer of at least 0 and below {2**63}, not"),
        ({"validation": 1.5}, r"validation must be a pair .* or the fraction .*; got 1\.5"),
    ],
)
def test_what_can_not_be_trained_names_the_way_out(options: dict[str, Any], message: str) -> None:
    with pytest.raises(cr.ChainruleError, match=message):
        quick(**options)


def test_a_metric_of_chainrule_may_be_given_as_its_function() -> None:
    assert metric(nn.mse) is metric("mse")
    run = quick(net(1), y=VALUES, loss="mae", metrics=[nn.mse, "mae"])
    assert run.metrics == quick(net(1), y=VALUES, loss="mae", metrics=["mse", "mae"]).metrics


def test_parameters_out_of_reach_are_refused_by_name_and_line() -> None:
    hidden = nn.Linear(3, 3)
    with pytest.raises(cr.OptionError, match=r"parameter 'weight' f32\[3,3\], used at .*__call__"):
        quick(lambda x: hidden(x))
    with pytest.raises(cr.OptionError, match=r"that training can't find"):
        quick(nn.Sequential([nn.Linear(3, 3), lambda x: hidden(x)]))


def test_numbers_beyond_the_models_dtype_are_named() -> None:
    wrong = X.copy()
    wrong[7, 2] = -1e300
    with pytest.raises(cr.DataError, match=r"X\[7, 2\] \(row 7, column 2\) is -1e\+300, too large"):
        cr.fit(net(), (wrong, CLASSES), loss="cross_entropy", progress=False)
    with pytest.raises(cr.DataError, match=r"X\[7, 2\].* too large for float32"):
        quick().predict(wrong)
    with pytest.raises(cr.DataError, match=r"y\[7, 2\].* too large for float32"):
        quick(y=wrong, loss="mse")
    assert quick(net(dtype="float64"), y=X, loss="mse").history


def test_a_single_axis_is_told_where_another_belongs() -> None:
    with pytest.raises(cr.ShapeError, match=r"X has one axis; .* give X\[:, None\]"):
        cr.fit(nn.Linear(1, 2), (X[:, 0], CLASSES), loss="mse", progress=False)
    with pytest.raises(cr.DataError, match=r"Give a single row as X\[None\]"):
        quick().predict(X[0])
    one = cr.fit(nn.Linear(1, 1), (X[:, :1], X[:, 0]), loss="mse", epochs=1, progress=False)
    with pytest.raises(cr.DataError, match=r"Give single features as X\[:, None\]"):
        one.predict(X[:, 0])


def test_the_engine_of_training_is_that_of_validation_and_prediction() -> None:
    run = quick(engine="reference", threads=1, validation=0.2)
    run.predict(X)
    assert {f.engine for f in run._functions.values()} == {"reference"}
    assert len(run._functions) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, X, y: cr.fit(m, X, y, loss="mse"), r"fit\(model, \(X, y\), loss="),  # type: ignore[call-arg,arg-type]
        (lambda m, X, y: cr.fit(m, (X, y), loss="mse", epoch=3), "Did you mean 'epochs'"),  # type: ignore[call-arg]
        (lambda m, X, y: cr.fit(m, (X, y), loss="mse", lr=0.1), "belongs to the optimizer"),  # type: ignore[call-arg]
        (lambda m, X, y: cr.fit(m, (X, y)), "missing a required argument: 'loss'"),  # type: ignore[call-arg]
        (lambda m, X, y: optim.Adam(lr=0.1), "It is called 'learning_rate' here"),  # type: ignore[call-arg]
        (lambda m, X, y: data.split(X, y, 0.2), r"train, test = split\(y, 0.2\)"),  # type: ignore[arg-type]
        (lambda m, X, y: data.Whiten().transform(X), r"Whiten\(\).fit\(X_train\).transform"),
    ],
)
def test_the_commonest_slips_are_answered(call: Any, message: str) -> None:
    X = np.eye(3)
    with pytest.raises(cr.OptionError, match=message):
        call(nn.Linear(3, 1), X, X[:, 0])
