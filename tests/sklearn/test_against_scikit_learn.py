"""From the same weights, chainrule takes the steps that scikit-learn takes."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn import neural_network
from sklearn.exceptions import ConvergenceWarning

from chainrule.sklearn import MLPClassifier, MLPRegressor

Array = np.ndarray[Any, Any]
ROWS = 60
draw = np.random.default_rng(0)
X = draw.normal(size=(ROWS, 4))
TARGETS: dict[str, Array] = {
    "binary": np.where(X[:, 0] + X[:, 1] > 0, "yes", "no"),
    "multiclass": np.digitize(X[:, 0], [-0.5, 0.5]),
    "multilabel": (X[:, :3] > 0).astype(int),
    "one number": X[:, 0] * X[:, 1],
    "three numbers": X[:, :3] ** 2,
}
COUNTS = draw.poisson(2.0, ROWS)


def both(kind: str, options: dict[str, Any], weight: Array | None = None) -> tuple[Any, Any]:
    """Train both from the weights of scikit-learn's first epoch, and return them."""
    classes = kind.startswith("multi") or kind == "binary"
    y = COUNTS if options.get("loss") == "poisson" else TARGETS[kind]
    settings: dict[str, Any] = {
        "hidden_layer_sizes": (5, 3), "activation": "tanh", "shuffle": False, "warm_start": True,
        "max_iter": 1, "random_state": 0, "batch_size": 16, "tol": 0, "n_iter_no_change": np.inf,
        "alpha": 0.3, **options,
    }  # fmt: skip
    theirs = (neural_network.MLPClassifier if classes else neural_network.MLPRegressor)(**settings)
    ours = (MLPClassifier if classes else MLPRegressor)(**settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs.fit(X, y)
        theirs.t_ = 0  # the rows seen so far, of which ours saw none
        ours.coefs_ = copy.deepcopy(theirs.coefs_)
        ours.intercepts_ = copy.deepcopy(theirs.intercepts_)
        for one in (theirs, ours):
            one.set_params(max_iter=5).fit(X, y, sample_weight=weight)
    return ours, theirs


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize(
    "options",
    [
        {"solver": "sgd", "learning_rate_init": 0.1},
        {"solver": "sgd", "learning_rate_init": 0.1, "nesterovs_momentum": False},
        {"solver": "sgd", "learning_rate_init": 0.1, "learning_rate": "invscaling", "momentum": 0},
        # scikit-learn adds epsilon before it corrects the bias, so both have none to speak of.
        {"solver": "adam", "learning_rate_init": 0.01, "activation": "relu", "epsilon": 1e-15},
    ],
    ids=["nesterov", "momentum", "invscaling", "adam"],
)
def test_weights_and_losses_agree(kind: str, options: dict[str, Any]) -> None:
    ours, theirs = both(kind, options)
    for mine, other in zip(
        [*ours.coefs_, *ours.intercepts_], [*theirs.coefs_, *theirs.intercepts_], strict=True
    ):
        np.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-8)
    assert (ours.n_layers_, ours.n_outputs_) == (theirs.n_layers_, theirs.n_outputs_)
    assert ours.out_activation_ == theirs.out_activation_
    if kind != "three numbers":  # scikit-learn shows their mean, but trains their sum
        np.testing.assert_allclose(ours.loss_curve_[-5:], theirs.loss_curve_[-5:], rtol=1e-6)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "one number"])
def test_weights_of_rows_agree_in_a_whole_batch(kind: str) -> None:
    weight = draw.integers(0, 4, ROWS).astype(float)
    ours, theirs = both(
        kind, {"solver": "sgd", "learning_rate_init": 0.1, "batch_size": ROWS}, weight
    )
    for mine, other in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-8)


def test_poisson_agrees() -> None:
    ours, theirs = both("one number", {"loss": "poisson", "solver": "sgd"})
    assert ours.out_activation_ == theirs.out_activation_ == "exp"
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-6)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_probabilities_agree(kind: str) -> None:
    ours, theirs = both(kind, {"solver": "sgd"})
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-6)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
