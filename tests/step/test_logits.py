"""A model that ends in what its loss does itself is refused before it trains."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn.layer import Layer
from chainrule.transform.bounds import bounds

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)).astype("float32")
CLASSES = (X[:, 0] > 0).astype(int)
LABELS = np.stack([X[:, 0] > 0, X[:, 1] > 0], 1).astype(int)
COUNTS = np.abs(np.round(X[:, :2]))


@dataclass(eq=False)
class Head:
    """A layer of the user's, which ends in a softmax."""

    linear: nn.Linear = field(default_factory=lambda: nn.Linear(3, 2))

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        return cr.softmax(self.linear(x))


def ending(*layers: Layer) -> nn.Sequential:
    return nn.Sequential([nn.Linear(3, 2), *layers])


def train(model: Layer, y: object, loss: object) -> cr.Run:
    return cr.fit(model, (X, y), loss=loss, epochs=1, progress=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "loss", "named"),
    [
        (ending(nn.Sigmoid()), "binary_cross_entropy", "layer 1, Sigmoid"),
        (ending(nn.Sigmoid()), nn.binary_cross_entropy, "layer 1, Sigmoid"),
        (ending(nn.HardSigmoid()), "binary_cross_entropy", "layer 1, HardSigmoid"),
        (ending(cr.softmax), "binary_cross_entropy", "layer 1, softmax"),
        (ending(nn.Sigmoid()), "hinge", "layer 1, Sigmoid"),
        (ending(nn.Sigmoid()), "squared_hinge", "layer 1, Sigmoid"),
        (ending(cr.softmax), "cross_entropy", "layer 1, softmax"),
        (ending(cr.softmax), nn.CrossEntropy(0.1), "layer 1, softmax"),
        (ending(cr.softmax), "kl_divergence", "layer 1, softmax"),
        (ending(nn.Sigmoid()), "cross_entropy", "layer 1, Sigmoid"),
        (ending(lambda z: cr.exp(z) / cr.exp(z).sum(1, keepdims=True)), "cross_entropy", "layer 1"),
        (ending(lambda z: 1 / (1 + cr.exp(-z))), "binary_cross_entropy", "layer 1"),
        (ending(lambda z: (cr.tanh(z) + 1) / 2), "binary_cross_entropy", "layer 1"),
        (ending(cr.softmax, nn.Dropout(0.1), nn.Flatten()), "cross_entropy", "layer 1, softmax"),
        (ending(nn.Sequential([nn.Sigmoid()])), "binary_cross_entropy", "layer 1.0, Sigmoid"),
        (ending(nn.Sigmoid(), nn.Identity()), "binary_cross_entropy", "layer 1, Sigmoid"),
        (nn.Network({"a": nn.Linear(3, 2), "out": nn.Sigmoid()}, [("x", "a"), ("a", "out")]),
         "binary_cross_entropy", "layer out, Sigmoid"),
        (Head(), "cross_entropy", r"softmax \(.*test_logits.py:\d+\)"),
        (nn.Sequential([Head()]), "cross_entropy", r"softmax \(.*test_logits.py:\d+\)"),
    ],
)  # fmt: skip
def test_a_second_sigmoid_or_softmax_is_refused(model: Layer, loss: object, named: str) -> None:
    y = CLASSES if "cross" in str(loss) and "binary" not in str(loss) else LABELS
    y = y if loss not in ("kl_divergence",) and not isinstance(loss, nn.CrossEntropy) else CLASSES
    with pytest.raises(cr.OptionError, match=rf"ends in {named}.*Leave it out"):
        train(model, y, loss)


@pytest.mark.parametrize(
    ("last", "named"),
    [(nn.Softplus(), "layer 1, Softplus"), (cr.exp, "layer 1, exp")],
)
def test_a_second_exponential_is_refused(last: Layer, named: str) -> None:
    with pytest.raises(cr.OptionError, match=rf"logarithm.*ends in {named}"):
        train(ending(last), COUNTS, "poisson")


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("model", "y", "loss"),
    [
        (ending(), CLASSES, "cross_entropy"),
        (ending(cr.log_softmax), CLASSES, "cross_entropy"),  # the same loss, to the last digit
        (ending(nn.ReLU()), CLASSES, "cross_entropy"),
        (ending(nn.Tanh()), LABELS, "binary_cross_entropy"),
        (ending(nn.Sigmoid(), lambda p: 10 * p - 5), LABELS, "binary_cross_entropy"),
        (ending(lambda z: 8 * cr.softmax(z)), CLASSES, "cross_entropy"),
        (ending(nn.Sigmoid(), nn.Linear(2, 2)), LABELS, "binary_cross_entropy"),
        (ending(nn.Residual([nn.Sigmoid()])), LABELS, "binary_cross_entropy"),
        (ending(lambda z: z * cr.sigmoid(z)), LABELS, "binary_cross_entropy"),
        (ending(nn.Sigmoid()), LABELS, "mse"),
        (ending(nn.Sigmoid()), CLASSES, "multiclass_hinge"),
        (ending(nn.Sigmoid()), LABELS, lambda p, t: cr.square(p - t).mean(1)),
        (ending(nn.ReLU()), COUNTS, "poisson"),
        (ending(nn.Softplus()), COUNTS, "mse"),
    ],
)
def test_what_can_be_meant_is_trained(model: Layer, y: object, loss: object) -> None:
    assert len(train(model, y, loss).history) == 1


def test_log_softmax_changes_nothing() -> None:
    plain, twice = ending(), ending(cr.log_softmax)
    first, second = train(plain, CLASSES, "cross_entropy"), train(twice, CLASSES, "cross_entropy")
    assert first.history[0]["loss"] == pytest.approx(second.history[0]["loss"], rel=1e-6)


def test_find_learning_rate_says_it_too() -> None:
    with pytest.raises(cr.OptionError, match=re.escape("layer 1, Sigmoid")):
        cr.find_learning_rate(ending(nn.Sigmoid()), (X, LABELS), loss="binary_cross_entropy")


Z = cr.input("z", ("n", 2))


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (Z, (-np.inf, np.inf)),
        (cr.tanh(Z), (-1, 1)),
        (2 - cr.sigmoid(Z), (1, 2)),
        (-cr.erf(Z), (-1, 1)),
        (cr.abs(cr.tanh(Z)), (0, 1)),
        (cr.relu(Z), (0, np.inf)),
        (cr.clip(Z, -3, 4) / 2, (-1.5, 2)),
        (cr.clip(Z, -3, 4) * cr.clip(Z, -1, 1), (-4, 4)),
        (1 / cr.clip(Z, -1, 1), (-np.inf, np.inf)),
        (cr.where(Z > 0, cr.sigmoid(Z), -1.0), (-1, 1)),
        (cr.concat([cr.sigmoid(Z), cr.tanh(Z)], 1)[:, :1].reshape(-1), (-1, 1)),
        (cr.sin(Z), (-np.inf, np.inf)),  # not known: wider than need be, never narrower
        (cr.exp(Z) - cr.exp(Z), (-np.inf, np.inf)),
        (cr.relu(Z) * cr.sigmoid(Z), (0, np.inf)),
    ],
)
def test_bounds_hold_what_they_should(tensor: cr.Tensor, expected: tuple[float, float]) -> None:
    assert bounds(tensor.node) == pytest.approx(expected)
