"""Estimators around a network of one's own.

Read next: :mod:`chainrule.sklearn.transformers`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError
from chainrule.nn.activations import ReLU
from chainrule.nn.layer import Layer, Linear, Sequential, check_layer, parameters
from chainrule.sklearn.classifying import Classifying, Regressing
from chainrule.sklearn.estimator import NetworkEstimator

__all__ = ["NetworkClassifier", "NetworkRegressor"]


@dataclass(eq=False, repr=False)
class OwnNetwork(NetworkEstimator):
    """A network that a function of the user's makes."""

    model: Callable[..., Layer] | None = None
    model_options: Mapping[str, Any] | None = None

    def _build(self, inputs: int, outputs: int, dtype: np.dtype[Any]) -> Layer:
        if self.model is None:
            hidden, last = (Linear(*s, dtype=dtype.name) for s in ((inputs, 100), (100, outputs)))
            return Sequential([hidden, ReLU(), last])
        who = type(self).__name__
        if not callable(self.model) or parameters(self.model):
            raise OptionError(
                f"{who}: model must be a function (inputs, outputs) that returns a new network, "
                f"such as nn.Linear itself, not {self.model!r}."
            )
        made = self.model(inputs, outputs, **(self.model_options or {}))
        check_layer(f"{who}: what model returned", made)
        return made


@dataclass(eq=False, repr=False)
class NetworkClassifier(OwnNetwork, Classifying):
    """A classifier around a network of one's own.

    `model` is a function (inputs, outputs, **model_options) that returns a new network, with a
    scalar output for two classes and one for each class, or label, otherwise; outputs are logits.
    The network computes in the dtype of its layers.  `model_options` can be searched over.  The
    other parameters and the attributes are those of
    :class:`~chainrule.sklearn.mlp.MLPClassifier`, but for those of its layers.  Raises OptionError
    if `model` is a network, which every fit would train on, instead of a function that makes one.

    >>> from chainrule import nn
    >>> def two_layers(inputs, outputs, width=8):
    ...     return nn.Sequential([nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, outputs)])
    >>> X, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], ["no", "yes", "yes", "no"]
    >>> model = NetworkClassifier(two_layers, {"width": 16}, solver="lbfgs", random_state=0)
    >>> model.fit(X, y).predict(X).tolist()
    ['no', 'yes', 'yes', 'no']
    """


@dataclass(eq=False, repr=False)
class NetworkRegressor(OwnNetwork, Regressing):
    """A regressor around a network of one's own.

    `model` is a function (inputs, outputs, **model_options) that returns a new network; see
    :class:`NetworkClassifier`.

    >>> from chainrule import nn
    >>> X, y = [[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0]
    >>> model = NetworkRegressor(nn.Linear, solver="lbfgs", alpha=0, random_state=0).fit(X, y)
    >>> model.predict([[3.0]]).round(2).tolist()
    [7.0]
    """
