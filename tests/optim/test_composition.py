"""Groups, frozen parameters, accumulated gradients, averaged weights, by what each means."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.optim import Optimizer
from chainrule.run.program import ReferenceProgram
from chainrule.step.objective import objective
from chainrule.step.part import Part
from chainrule.step.record import record_step

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(24, 3)), RNG.normal(size=(24, 2))


def net() -> nn.Sequential:
    model = nn.Sequential(
        [nn.Linear(3, 4, dtype="float64"), nn.Tanh(), nn.Linear(4, 2, dtype="float64")]
    )
    nn.initialize(model, 1)
    return model


def program(method: Optimizer) -> ReferenceProgram:
    step = record_step(net(), objective("mse"), method, (), Part(X, Y))
    cr.verify(step.graph)
    return ReferenceProgram(step.graph, step.state, {"x": X, "y": Y})


def weights(ours: ReferenceProgram) -> dict[str, Any]:
    mark = "parameter/"
    return {k[len(mark) :]: v.copy() for k, v in ours.state.items() if k.startswith(mark)}


def same(a: dict[str, Any], b: dict[str, Any], tolerance: float = 1e-14) -> None:
    for name, value in a.items():
        np.testing.assert_allclose(value, b[name], rtol=0, atol=tolerance, err_msg=name)


def fit(method: Optimizer, **options: Any) -> cr.Run:
    options = {"epochs": 6, "batch_size": 5} | options
    return cr.fit(net(), (X, Y), loss="mse", optimizer=method, progress=False, **options)


# --- groups ---------------------------------------------------------------------------


def test_a_group_moves_as_under_its_own_optimizer_alone() -> None:
    whole = program(optim.Adam(0.05))
    other = program(optim.SGD(0.3, 0.9))
    both = program(optim.groups({"*.weight": optim.Adam(0.05)}, default=optim.SGD(0.3, 0.9)))
    for ours in (whole, other, both):
        ours.run(np.arange(24), 24)  # one step, while all weights are still alike
    adam, sgd, mixed = weights(whole), weights(other), weights(both)
    same({k: v for k, v in mixed.items() if k.endswith("weight")}, adam)
    same({k: v for k, v in mixed.items() if k.endswith("bias")}, sgd)
    slots = {k for k in both.state if k[:2] in ("m/", "v/")}
    assert slots == {"m/0.weight", "v/0.weight", "m/2.weight", "v/2.weight", "v/0.bias", "v/2.bias"}


def test_frozen_parameters_stay_and_cost_nothing() -> None:
    method = optim.groups({"0.*": optim.freeze}, default=optim.Adam(0.05))
    ours, whole = program(method), program(optim.Adam(0.05))
    before = weights(ours)
    ours.run(np.tile(np.arange(24), 5), 8)
    after = weights(ours)
    for name in before:
        assert np.array_equal(before[name], after[name]) == name.startswith("0.")
    assert not [name for name in ours.state if name in ("m/0.weight", "v/0.bias")]
    products = [
        sum(n.primitive.name == "matmul" for n in p.interpreter.graph.nodes) for p in (ours, whole)
    ]
    # Two forward; back to two weights and to one layer's input, or to one weight alone.
    assert products == [3, 5]


def test_the_first_pattern_counts_and_a_chain_clips_its_group_or_all_that_is_trained() -> None:
    before = weights(program(optim.SGD(0.1)))
    rates = {"2.bias": optim.SGD(1.0), "*.bias": optim.freeze, "*": optim.SGD(1e-9)}
    ours = program(optim.groups(rates))
    ours.run(np.arange(24), 24)
    moved = {name: abs(v - before[name]).max() for name, v in weights(ours).items()}
    assert moved["0.bias"] == 0
    assert moved["0.weight"] < 1e-8 < 1e-3 < moved["2.bias"]
    inner = optim.chain(optim.ClipNorm(0.1), optim.SGD(1.0))
    clipped = optim.groups({"2.*": inner}, default=optim.freeze)
    around = optim.chain(
        optim.ClipNorm(0.1), optim.groups({"2.*": optim.SGD(1.0)}, default=optim.freeze)
    )
    for method in (clipped, around):
        ours = program(method)
        ours.run(np.arange(24), 24)
        change = [v - before[name] for name, v in weights(ours).items() if name[0] == "2"]
        assert np.linalg.norm(np.concatenate([c.ravel() for c in change])) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (lambda: optim.groups({"0.wieght": optim.SGD()}, optim.SGD()),
         r"no parameter matches '0.wieght'. Did you mean '0.weight'\?"),
        (lambda: optim.groups({"1.*": optim.freeze}, optim.SGD()), r"no parameter matches '1\.\*'"),
        (lambda: optim.groups({"0.*": optim.SGD()}),
         "no pattern matches the parameter '2.weight'"),
        (lambda: optim.groups({"0.*": optim.SGD(), "0.bias": optim.freeze}, optim.SGD()),
         r"all parameters that '0.bias' matches are taken by '0\.\*'"),
        (lambda: optim.groups({"*": optim.freeze}), "all 4 parameters are frozen"),
        (lambda: optim.groups({}), "give optimizers by pattern"),
        (lambda: optim.groups({"*": optim.SGD()}, optim.SGD()), "'\\*' is the default"),
        (lambda: optim.groups({"*": optim.ClipNorm(1.0)}), "which is not an optimizer"),
        (lambda: optim.groups({"*": "adam"}), "which is not an optimizer"),
        (lambda: optim.ClipNorm(1.0), "makes no changes out of gradients"),
        (lambda: optim.chain(optim.WeightDecay(0.1), optim.SGD()), "so it comes after one"),
        (lambda: optim.chain(optim.SGD(), optim.Adam()), "only one part .* SGD and Adam"),
        (lambda: optim.chain(optim.SGD(), 3), "3 is not an optimizer"),
        (lambda: optim.Accumulate(0, optim.SGD()), "steps must be a positive integer"),
        (lambda: optim.Accumulate(2, optim.ClipNorm(1.0)), "optimizer must compute changes"),
        (lambda: optim.Accumulate(math.nan, optim.SGD()), "steps must be a positive integer"),  # type: ignore[arg-type]
        (lambda: optim.Accumulate(10**9, optim.SGD()), "a step needs 1000000000 batches, but"),
        (lambda: optim.chain(optim.EMA(optim.SGD()), optim.WeightDecay(0.1)),
         "EMA would average weights that WeightDecay changes after it"),
        (lambda: optim.EMA(optim.SGD(), 1.0), r"EMA: decay must be in \[0, 1\)"),
        (lambda: optim.EMA(optim.SGD(), start=-1), "start must be an integer of at least 0"),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_refused_before_training(method: Any, message: str) -> None:
    with pytest.raises(cr.OptionError, match=message):
        fit(method())


# --- accumulation ---------------------------------------------------------------------


@pytest.mark.parametrize("inner", [optim.SGD(0.2), optim.Adam(optim.Polynomial(0.1, steps=20))])
def test_accumulating_equals_larger_batches(inner: Optimizer) -> None:
    large, small = program(inner), program(optim.Accumulate(4, inner))
    for _ in range(5):
        order = RNG.permutation(24)
        large.run(order, 24)
        small.run(order, 6)
        same(weights(small), weights(large))
    before = weights(small)
    small.run(np.arange(18), 6)
    same(before, weights(small), 0)  # three of four batches change nothing


# --- averages -------------------------------------------------------------------------


@pytest.mark.parametrize(("decay", "start"), [(0.9, 0), (0.0, 0), (None, 0), (None, 4), (0.5, 3)])
def test_the_average_is_that_of_the_weights(decay: float | None, start: int) -> None:
    ours = program(optim.EMA(optim.SGD(0.3), decay, start))
    seen: list[Any] = []
    for t in range(1, 11):
        ours.run(np.arange(24), 24)
        seen.append(ours.state["parameter/0.weight"].copy())
        tail = seen[start:] or seen[-1:]
        shares = [(decay or 0) ** (len(tail) - 1 - i) if decay is not None else 1
                  for i in range(len(tail))]  # fmt: skip
        expected = np.average(tail, axis=0, weights=shares)
        np.testing.assert_allclose(ours.state["average/0.weight"], expected, rtol=0, atol=1e-13)
        assert t == ours.state["step"]


def test_validation_and_the_final_model_use_the_average(tmp_path: Path) -> None:
    seen: list[Any] = []

    def look(run: cr.Run, record: dict[str, Any]) -> None:
        seen.append(run.model.layers[0].weight.value.copy())  # type: ignore[attr-defined]
        assert run.evaluate((X, Y))["loss"] == pytest.approx(record["val_loss"], rel=1e-12)

    method = optim.EMA(optim.SGD(0.3), None)
    run = fit(method, batch_size=24, validation=(X, Y), on_epoch=look)
    plain = program(optim.SGD(0.3))
    trail = 0.0
    for epoch in range(6):
        plain.run(np.arange(24), 24)
        trail = trail + weights(plain)["0.weight"]
        np.testing.assert_allclose(seen[epoch], trail / (epoch + 1), rtol=0, atol=1e-12)
    final = run.model.layers[0].weight.value  # type: ignore[attr-defined]
    np.testing.assert_array_equal(final, seen[-1])
    run.save(tmp_path / "run")
    np.testing.assert_array_equal(cr.load(tmp_path / "run").predict(X), run.predict(X))


def test_weights_set_between_epochs_are_trained_on_from_there() -> None:
    seen: list[Any] = []

    def put_at_seven(run: cr.Run, record: dict[str, Any]) -> None:
        weight = run.model.layers[0].weight  # type: ignore[attr-defined]
        seen.append(weight.value.copy())
        weight.value = np.full((3, 4), 7.0)

    fit(optim.EMA(optim.SGD(1e-9), 0.5), epochs=3, on_epoch=put_at_seven)
    assert abs(seen[0]).max() < 3
    np.testing.assert_allclose(seen[1:], 7.0, atol=1e-6)


def test_early_stopping_keeps_the_best_average() -> None:
    noise = RNG.normal(size=(24, 2))
    method = optim.groups(
        {"0.bias": optim.SGD(0.3), "2.bias": optim.freeze},
        default=optim.EMA(optim.Adam(0.3), 0.8),
    )
    run = fit(method, epochs=60, validation=(X, noise), early_stopping=5)
    losses = [record["val_loss"] for record in run.history]
    assert len(losses) < 60
    assert run.best_epoch == 1 + int(np.argmin(losses))
    assert run.evaluate((X, noise))["loss"] == pytest.approx(min(losses), rel=1e-12)
    assert min(losses) < losses[-1]


def test_a_divergence_in_the_first_epoch_leaves_the_weights_as_they_were() -> None:
    model = net()
    before = {name: p.value.copy() for name, p in nn.parameters(model).items()}
    with pytest.raises(cr.DivergedError), np.errstate(all="ignore"):
        cr.fit(
            model, (X * 1e3, Y), loss="mse", optimizer=optim.EMA(optim.SGD(1e300)), epochs=3,
            batch_size=4, progress=False,
        )  # fmt: skip
    same({name: p.value for name, p in nn.parameters(model).items()}, before, 0)
