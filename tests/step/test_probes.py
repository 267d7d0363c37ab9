"""What fit(watch=True) tells of layers, against the same numbers computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim

RNG = np.random.default_rng(0)
X = RNG.normal(1.0, 2.0, size=(64, 5)).astype("f4")
Y = RNG.integers(0, 3, 64)


def model() -> nn.Sequential:
    return nn.Sequential([nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)])


def test_one_step_is_described_as_computed_by_hand() -> None:
    net = model()
    nn.initialize(net, 4)
    before = {name: p.value.astype(float).copy() for name, p in nn.parameters(net).items()}
    run = cr.fit(
        net, (X, Y), loss="cross_entropy", optimizer=optim.SGD(0.1), epochs=1, batch_size=64,
        watch=True, progress=False,
    )  # fmt: skip
    z = X @ before["0.weight"] + before["0.bias"]
    h = np.maximum(z, 0)
    logits = h @ before["2.weight"] + before["2.bias"]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    g2 = (p - np.eye(3)[Y]) / 64
    g0 = (g2 @ before["2.weight"].T) * (z > 0)
    layers = run.history[0]["layers"]
    assert list(layers) == ["0", "2"]
    for name, inputs, slope in (("0", X.astype(float), g0), ("2", h, g2)):
        expected = {
            "input_mean": inputs.mean(),
            "input_std": inputs.std(),
            "input_zeros": (inputs == 0).mean(),
            "gradient_rms": np.sqrt((slope**2).mean()),
        }
        assert layers[name] == pytest.approx(expected, rel=1e-4)


def test_watching_changes_no_weight_and_both_engines_agree() -> None:
    runs = {}
    for watch, engine in ((False, "native"), (True, "native"), (True, "reference")):
        net = model()
        options = {"epochs": 2, "batch_size": 2, "seed": 3, "progress": False}
        runs[watch, engine] = cr.fit(
            net, (X, Y), loss="cross_entropy", watch=watch, engine=engine, **options
        )
    plain, watched, reference = runs.values()
    np.testing.assert_array_equal(plain.predict_proba(X), watched.predict_proba(X))
    assert "layers" not in plain.history[0]
    for ours, theirs in zip(watched.history, reference.history, strict=True):
        for layer, found in ours["layers"].items():
            assert found == pytest.approx(theirs["layers"][layer], rel=1e-4)


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_the_spread_of_inputs_far_from_0_keeps_its_digits(engine: str) -> None:
    far = (10_000 + np.random.default_rng(1).normal(size=(64, 5))).astype("f4")
    run = cr.fit(
        model(), (far, Y), loss="cross_entropy", optimizer=optim.SGD(1e-9), epochs=1,
        batch_size=64, watch=True, engine=engine, progress=False,
    )  # fmt: skip
    found = run.history[0]["layers"]["0"]
    assert found["input_std"] == pytest.approx(far.astype(float).std(), rel=1e-6)


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_sparse_layers_are_watched_as_dense_ones_are(engine: str) -> None:
    dense, sparse = nn.Linear(5, 4), nn.SparseLinear.from_density(5, 4, 1.0)
    nn.initialize(dense, 1)
    nn.initialize(sparse, 1)
    sparse.weight.value = dense.weight.value[sparse.wiring.sources, sparse.wiring.targets]
    found = []
    for layer in (dense, sparse):
        net = nn.Sequential([layer, nn.Tanh(), nn.Linear(4, 3)])
        nn.initialize(net, 2, keep_assigned=True)
        run = cr.fit(net, (X, Y), loss="cross_entropy", epochs=1, batch_size=64, watch=True,
                     engine=engine, progress=False)  # fmt: skip
        found.append(run.history[0]["layers"])
    assert found[0]["0"] == pytest.approx(found[1]["0"], rel=1e-4)


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_an_epoch_without_a_step_that_is_watched_has_no_such_entry(engine: str) -> None:
    run = cr.fit(model(), (X, Y), loss="cross_entropy", epochs=12, batch_size=32, watch=True,
                 engine=engine, progress=False)  # fmt: skip
    watched = [record["epoch"] for record in run.history if "layers" in record]
    assert watched == [1, 6, 11]  # steps 1, 11 and 21 of 24
