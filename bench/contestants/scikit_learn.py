"""scikit-learn: MLPClassifier or MLPRegressor, an epoch a call of `partial_fit`.

Read next: `bench/contestants/fma_peak.py`.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor
from threadpoolctl import threadpool_limits
from workloads import Weights, Workload

from contestants.contestant import CannotRunError, Contestant

ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "sigmoid": "logistic"}


class Perceptron(Contestant):
    def __init__(self, workload: Workload, threads: int | None):
        if workload.activation not in ACTIVATIONS:
            raise CannotRunError(f"scikit-learn has no {workload.activation}")
        self.limits = threadpool_limits(threads)
        self.workload = workload
        outputs, rate = workload.sizes[-1], workload.rate
        self.X, y = workload.data()
        self.y = y[:, 0] if y.ndim == 2 and outputs == 1 else y
        # Its squared error is summed over outputs and halved; the others take the mean.
        self.scale = 2 / outputs if workload.loss == "mse" else 1.0
        kind: Any = MLPRegressor if workload.loss == "mse" else MLPClassifier
        self.model = kind(
            hidden_layer_sizes=workload.sizes[1:-1], activation=ACTIVATIONS[workload.activation],
            solver="adam" if workload.optimizer == "adam" else "sgd", alpha=0.0,
            batch_size=workload.batch,
            learning_rate_init=rate if workload.optimizer == "adam" else rate * self.scale,
            momentum=0.9 if workload.optimizer == "momentum" else 0.0, nesterovs_momentum=False,
            n_iter_no_change=10**9, random_state=0,
        )  # fmt: skip
        self.classes: dict[str, Any] = {}
        if workload.loss != "mse":
            self.classes = {"classes": np.arange(max(2, outputs))}
        few = max(workload.batch, 64)
        self.model.partial_fit(self.X[:few], self.y[:few], **self.classes)
        self.reset()

    def reset(self) -> None:
        model = self.model
        for place, (weight, bias) in enumerate(self.workload.weights()):
            model.coefs_[place][...], model.intercepts_[place][...] = weight, bias
        model.__dict__.pop("_optimizer", None)  # the next call begins with new slots
        model.loss_curve_.clear()

    def epoch(self, shuffle: bool = True) -> float:
        self.model.shuffle = shuffle
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model.partial_fit(self.X, self.y)
        return float(self.model.loss_) * (self.scale if self.workload.loss == "mse" else 1.0)

    def weights(self) -> Weights:
        return list(zip(self.model.coefs_, self.model.intercepts_, strict=True))
