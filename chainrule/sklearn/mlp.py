"""Multi-layer perceptrons with scikit-learn's parameters and attributes, and what they lack.

Read next: :mod:`chainrule.sklearn.own_network`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.nn.activations import PReLU, activation
from chainrule.nn.layer import Layer, Linear, Sequential
from chainrule.nn.noise import Dropout
from chainrule.nn.normalize import BatchNorm, LayerNorm, RMSNorm
from chainrule.sklearn.classifying import Classifying, Regressing
from chainrule.sklearn.estimator import NetworkEstimator

__all__ = ["MLPClassifier", "MLPRegressor"]

Array = np.ndarray[Any, Any]
NORMALIZATIONS: dict[str, Callable[..., Layer]] = {
    "batch": BatchNorm, "layer": LayerNorm, "rms": RMSNorm,
}  # fmt: skip
OUTPUT_ACTIVATIONS = {"cross_entropy": "softmax", "binary_cross_entropy": "logistic",
                      "poisson": "exp"}  # fmt: skip


@dataclass(eq=False, repr=False)
class Layered(NetworkEstimator):
    """A network of fully connected hidden layers, described by parameters."""

    hidden_layer_sizes: int | Sequence[int] = (100,)
    activation: Any = "relu"
    dropout: float | Sequence[float] = 0.0
    normalization: str | None = None

    def _build(self, inputs: int, outputs: int, dtype: np.dtype[Any]) -> Layer:
        sizes = self._sizes()
        plans = self._for_each("activation", self.activation, sizes)
        rates = self._for_each("dropout", self.dropout, sizes)
        layers: list[Layer] = []
        width = inputs
        for size, plan, rate in zip(sizes, plans, rates, strict=True):
            layers.append(Linear(width, size, dtype=dtype.name))
            if self.normalization is not None:
                layers.append(self._norm()(size, dtype=dtype.name))
            layers.append(_activation(plan, dtype))
            if rate:
                layers.append(Dropout(rate))
            width = size
        layers.append(Linear(width, outputs, dtype=dtype.name))
        self.n_layers_ = len(sizes) + 2
        self.out_activation_ = OUTPUT_ACTIVATIONS.get(self._aims()[1].name, "identity")
        network = Sequential(layers)
        if (self.warm_start or not hasattr(self, "network_")) and hasattr(self, "coefs_"):
            self._set_weights(network)
        return network

    def _sizes(self) -> list[int]:
        given: Any = self.hidden_layer_sizes
        sizes: list[Any] = list(given) if isinstance(given, Iterable) else [given]
        if not all(isinstance(size, Integral) and int(size) > 0 for size in sizes):
            raise OptionError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return [int(size) for size in sizes]

    def _for_each(self, name: str, choice: Any, sizes: list[int]) -> list[Any]:
        """Return a choice for each hidden layer: one for all, or a list of them."""
        if not isinstance(choice, (list, tuple)):
            return [choice] * len(sizes)
        if len(choice) != len(sizes):
            raise OptionError(
                f"{type(self).__name__}: {name} has {len(choice)} entries for {len(sizes)} hidden "
                "layers; give one for each, or a single one for all."
            )
        return list(choice)

    def _norm(self) -> Callable[..., Layer]:
        if self.normalization not in NORMALIZATIONS:
            raise OptionError(
                f"{type(self).__name__}: unknown normalization {self.normalization!r}. "
                f"{did_you_mean(str(self.normalization), NORMALIZATIONS)}"
            )
        return NORMALIZATIONS[self.normalization]

    def _linears(self, network: Any) -> list[Linear]:
        return [layer for layer in network.layers if isinstance(layer, Linear)]

    def _set_weights(self, network: Any) -> None:
        for layer, coef, bias in zip(
            self._linears(network), self.coefs_, self.intercepts_, strict=True
        ):
            assert layer.bias is not None
            if layer.weight.value is not coef:
                layer.weight.value = coef
            if layer.bias.value is not bias:
                layer.bias.value = bias

    def _take_weights(self) -> None:
        if hasattr(self, "coefs_"):
            self._set_weights(self.network_)

    def _show_weights(self) -> None:
        layers = self._linears(self.network_)
        self.coefs_ = [layer.weight.value for layer in layers]
        self.intercepts_ = [layer.bias.value for layer in layers if layer.bias is not None]


def _activation(choice: Any, dtype: np.dtype[Any]) -> Layer:
    """Return a layer of its own for an activation by name, as a class, layer or function."""
    name = "sigmoid" if isinstance(choice, str) and choice == "logistic" else choice
    made: Any
    if isinstance(name, str):
        made = activation(name)
    elif isinstance(name, type):
        made = name()
    elif callable(name):
        made = copy.deepcopy(name)
    else:
        raise OptionError(f"an activation must be a name, a layer or a function, not {choice!r}.")
    if isinstance(made, PReLU):  # which has a weight, and so a dtype
        made = PReLU(made.units, made.start, dtype.name)
    return made  # type: ignore[no-any-return]


@dataclass(eq=False, repr=False)
class MLPClassifier(Layered, Classifying):
    """A multi-layer perceptron that classifies, with scikit-learn's parameters and attributes.

    It can replace ``sklearn.neural_network.MLPClassifier``.  It minimizes the mean of
    ``-log p(label)`` plus ``alpha / 2 * sum(w²) / rows``, w all weights but biases.  It computes
    in the dtype of X, float32 or float64.  These parameters take more than there, or are new:

    activation
        A name of :func:`chainrule.nn.activations.activation` or of scikit-learn, a layer such as
        ``nn.LeakyReLU(0.1)``, or a function; a list has one for each hidden layer.
    dropout
        The share of a hidden layer's outputs that are set to 0 in training, or a list of shares.
    normalization
        "batch", "layer" or "rms" before each activation, or None.
    solver, learning_rate
        "sgd", "adam", "lbfgs" or the name of another optimizer; or an optimizer, such as
        ``optim.AdamW(optim.Cosine(1e-3))``, and the rates above have no effect.  A schedule as
        `learning_rate` serves any optimizer that is given by name.
    class_weight
        None, "balanced", or a mapping from label to weight.
    progress
        Show a progress bar on standard error.
    callbacks
        Objects that are told of epochs and steps, and may end the training, as those of
        :func:`chainrule.fit`; see :mod:`chainrule.train.callbacks`.

    `early_stopping` scores the rows of ``fit(X_val=..., y_val=...)`` if they are given, else
    `validation_fraction` of the rows, and restores the weights of the best score.

    Attributes: `classes_`, `coefs_`, `intercepts_`, `loss_curve_`, `loss_`, `best_loss_`,
    `validation_scores_`, `best_validation_score_`, `n_iter_`, `t_`, `n_layers_`, `n_outputs_`,
    `out_activation_`, `n_features_in_` and `feature_names_in_` as in scikit-learn;
    `validation_loss_curve_` (without the penalty), `learning_rate_` (at the end), `network_` (the
    layers), and `run_`, a :class:`chainrule.train.run.Run` of the network.

    >>> X, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], ["no", "yes", "yes", "no"]
    >>> model = MLPClassifier((8,), activation="silu", solver="lbfgs", random_state=0).fit(X, y)
    >>> model.predict(X).tolist()
    ['no', 'yes', 'yes', 'no']
    """


@dataclass(eq=False, repr=False)
class MLPRegressor(Layered, Regressing):
    """A multi-layer perceptron that predicts numbers, one or several for each row.

    It can replace ``sklearn.neural_network.MLPRegressor``.  It minimizes the mean of the `loss`,
    for "squared_error" ``sum((prediction - y)²) / 2``, plus ``alpha / 2 * sum(w²) / rows``.  `loss`
    is also "absolute_error", "poisson", or a loss of chainrule such as ``nn.Huber(2.0)``.  Other
    parameters and the attributes are those of :class:`MLPClassifier`; scores are R².

    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]
    >>> model = MLPRegressor((8,), solver="lbfgs", alpha=0, tol=1e-3, random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.99
    True
    """
