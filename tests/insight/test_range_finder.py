"""The learning-rate finder: rates that train, and silence where nothing can be told."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.insight.range_finder import RateSearch


def table(name: str) -> tuple[Any, Any]:
    found = data.load(name)
    X = np.asarray(found.X, np.float32)
    return (X - X.mean(axis=0)) / (X.std(axis=0) + 1e-6), np.asarray(found.y)


IRIS, DIGITS = table("iris"), table("digits")


def net(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential([nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, outputs)])


def find(X: Any, y: Any, outputs: int, **options: Any) -> RateSearch:
    options = {"loss": "cross_entropy"} | options
    return cr.find_learning_rate(net(X.shape[1], outputs), (X, y), **options)


@pytest.mark.parametrize("optimizer", ["adam", "momentum"])
@pytest.mark.parametrize(("pair", "classes"), [(IRIS, 3), (DIGITS, 10)], ids=["iris", "digits"])
def test_training_at_the_suggested_rate_works(pair: Any, classes: int, optimizer: str) -> None:
    found = find(*pair, classes, optimizer=optimizer)
    assert found.suggestion is not None, found
    losses = {}
    for factor in (0.01, 1.0):
        run = cr.fit(
            net(pair[0].shape[1], classes), pair, loss="cross_entropy", epochs=20, progress=False,
            optimizer=optim.optimizer(optimizer, factor * found.suggestion), validation=0.25,
        )  # fmt: skip
        losses[factor] = run.history[-1]["val_loss"]
    assert losses[1.0] < 0.35
    assert losses[1.0] < losses[0.01] / 2


def test_the_rates_rise_evenly_and_the_losses_are_those_of_a_training() -> None:
    found = find(*IRIS, 3, low=1e-5, high=0.1, steps=40, optimizer="sgd")
    assert len(found.rates) == len(found.losses) == len(found.smoothed) == 40
    np.testing.assert_allclose(found.rates, 1e-5 * 1e4 ** (np.arange(40) / 40), rtol=1e-9)
    assert found.losses[0] == pytest.approx(found.start, rel=1e-3)
    assert found.losses[-1] < found.start
    assert "still falling at the highest rate tried" in found.reason


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_suggested_for_random_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, y = IRIS
    found = find(X, rng.permutation(y), 3, seed=seed)
    assert found.suggestion is None
    assert "no better than shuffled targets" in found.reason
    noise = rng.normal(size=(150, 1)).astype("f4")
    found = find(X, noise, 1, loss="mse", seed=seed)
    assert found.suggestion is None
    assert "no suggestion" in repr(found)


def test_nothing_is_suggested_where_the_loss_never_falls() -> None:
    X, y = IRIS
    hopeless = find(X, y, 3, optimizer="sgd", low=1e6, high=1e9)
    assert hopeless.suggestion is None
    assert "never falls" in hopeless.reason
    assert len(hopeless.rates) < 120  # it stopped where it diverged
    model = net(4, 3)
    cr.fit(model, (X, y), loss="cross_entropy", epochs=200, progress=False)
    trained = cr.find_learning_rate(model, (X, y), loss="cross_entropy")
    assert trained.suggestion is None
    assert "may already be trained" in trained.reason, trained
    few = find(X[::5], y[::5], 3)
    assert few.suggestion is None
    assert "30 rows are too few" in few.reason
    assert few.to_dict()["losses"] == []
    assert repr(few).startswith("learning rate: no suggestion")


def test_a_divergence_ends_the_search_and_does_no_harm() -> None:
    X, y = IRIS
    model = nn.Sequential([nn.Linear(4, 1)])
    target = y[:, None].astype("f4")
    found = cr.find_learning_rate(model, (X, target), loss="mse", optimizer="sgd", high=1e6)
    assert found.suggestion is not None
    assert found.rates[-1] < 1e6
    assert found.losses[-1] > found.start
    assert found.suggestion < found.rates[int(np.argmin(found.losses))]
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_model_is_not_changed() -> None:
    fresh, drawn = net(4, 3), net(4, 3)
    nn.initialize(drawn, 5)
    before = {name: p.value.copy() for name, p in nn.parameters(drawn).items()}
    for model in (fresh, drawn):
        cr.find_learning_rate(model, IRIS, loss="cross_entropy", steps=20)
    assert not any(p.assigned for p in nn.parameters(fresh).values())
    for name, p in nn.parameters(drawn).items():
        np.testing.assert_array_equal(p.value, before[name])


def test_composed_optimizers_have_their_one_rate_found() -> None:
    inner = optim.SGD(optim.Cosine(0.1, steps=5), momentum=0.9)
    method = optim.EMA(optim.chain(optim.ClipNorm(1.0), inner, optim.WeightDecay(1e-4)))
    found = find(*IRIS, 3, optimizer=method)
    assert found.suggestion is not None
    frozen = optim.groups({"0.*": optim.freeze}, default=optim.Adam())
    assert find(*IRIS, 3, optimizer=frozen).suggestion is not None
    several = optim.groups({"0.*": optim.SGD()}, default=optim.Adam())
    with pytest.raises(cr.OptionError, match="has several learning rates"):
        find(*IRIS, 3, optimizer=several)


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_both_engines_find_the_same(engine: str) -> None:
    X, y = IRIS[0].astype("f8"), IRIS[1]
    model = nn.Sequential([nn.Linear(4, 8, dtype="float64"), nn.Tanh(),
                           nn.Linear(8, 3, dtype="float64")])  # fmt: skip
    found = cr.find_learning_rate(model, (X, y), loss="cross_entropy", steps=60, engine=engine)
    assert found.suggestion == pytest.approx(0.043, rel=0.1)


def test_it_is_drawn_as_text_and_as_svg() -> None:
    found = find(*IRIS, 3)
    text = repr(found)
    assert text.startswith(f"learning rate: {found.suggestion:.2g} (")
    assert all(len(line) <= 79 for line in text.splitlines()[1:])
    assert sum(line.count("*") for line in text.splitlines()) > 20
    svg = found.svg()
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert "learning rate" in svg
    assert "http" not in svg.replace("http://www.w3.org/", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 0.0}, "low and high must be positive numbers"),
        ({"low": 1.0, "high": 0.1}, "low and high must be positive numbers"),
        ({"steps": 5}, "steps must be an integer of at least 20, not 5"),
        ({"batch_size": 0}, "batch_size must be a positive integer, not 0"),
        ({"low": "x"}, "low and high must be positive numbers"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
        ({"optimizer": optim.Adam}, r"optimizer is the class Adam; call it: Adam\(\)"),
        ({"optimizer": "adan"}, "unknown optimizer 'adan'"),
    ],
)
def test_options_without_meaning_are_refused(options: Any, message: str) -> None:
    with pytest.raises(cr.OptionError, match=message):
        find(*IRIS, 3, **options)
