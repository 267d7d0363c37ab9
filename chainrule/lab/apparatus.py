"""What experiments share: networks, trainings over seeds and settings, epochs to a loss.

Read next: the files of ``chainrule/lab/claims/``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.tensor import Tensor, tensor
from chainrule.lab.experiment import Budget
from chainrule.lab.samples import Sample
from chainrule.nn.activations import activation
from chainrule.nn.layer import Layer, Linear, Sequential, initialize, parameters
from chainrule.train.many import fit_many
from chainrule.train.many_runs import Runs

__all__ = [
    "Sweep", "any_at", "best_setting", "epochs_to", "mlp", "outputs_of", "started", "sweep",
]  # fmt: skip

Array = np.ndarray[Any, Any]


def mlp(
    *sizes: int, act: str | Callable[[Tensor], Tensor] | None = "relu", **options: Any
) -> Sequential:
    """Return a network of Linear layers of these `sizes`, with the activation `act` between them.

    `options` are those of Linear, for all layers.

    >>> [type(layer).__name__ for layer in mlp(4, 8, 3, act="tanh").layers]
    ['Linear', 'Tanh', 'Linear']
    """
    layers: list[Any] = []
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        if i and act is not None:
            layers.append(activation(act) if isinstance(act, str) else act)
        layers.append(Linear(a, b, **options))
    return Sequential(layers)


@dataclass(frozen=True)
class Sweep:
    """Trainings of one network with each of some settings, and each of `seeds` seeds."""

    model: Layer
    runs: Runs
    settings: int
    seeds: int

    def scores(self, name: str = "loss") -> Array:
        """Return an entry of the histories: (settings, seeds, epochs), NaN once diverged."""
        return self.runs.scores(name).reshape(self.settings, self.seeds, -1)

    def weights(self, path: str) -> Array:
        """Return a parameter of all trainings: (settings, seeds, ...)."""
        found = self.runs.weights(path)
        return found.reshape(self.settings, self.seeds, *found.shape[1:])

    def models(self, setting: int) -> Iterator[Layer]:
        """Loop over the seeds of a setting: the network, with the weights that each ended with."""
        for i in range(setting * self.seeds, (setting + 1) * self.seeds):
            for path, parameter in parameters(self.model).items():
                parameter.value = self.runs.parameters[path][i]
            yield self.model


def sweep(
    budget: Budget,
    model: Layer,
    data: Sample,
    settings: Sequence[Mapping[str, Any]],
    epochs: int,
    by_seed: Callable[[int], Mapping[str, Any]] = lambda seed: {},
    **options: Any,
) -> Sweep:
    """Train `model` on `data` with each of the `settings` and each seed of the `budget`.

    The loss is that of the sample's target, the optimizer SGD, unless `options` of
    :func:`chainrule.fit_many` say otherwise.  The test rows are scored after each epoch.
    `by_seed` says what else is different for each seed, such as its rows.
    """
    options = {
        "loss": "cross_entropy" if data.classes else "mse",
        "optimizer": "sgd",
        "validation": (data.X_test, data.y_test),
        **options,
    }
    variations = [
        {"seed": s, **by_seed(s), **setting} for setting in settings for s in range(budget.seeds)
    ]
    runs = fit_many(
        model, (data.X, data.y), variations, epochs=budget.epochs(epochs), progress=False, **options
    )
    return Sweep(deepcopy(model), runs, len(settings), budget.seeds)


def epochs_to(losses: Array, level: float) -> Array:
    """Return the epochs until each curve of `losses` (..., epochs) is first at `level` or below.

    Between two epochs the loss is taken as a straight line.  A curve that never gets there counts
    with all its epochs, so that what is measured is the least that it can be.

    >>> epochs_to(np.array([[4.0, 2.0, 0.0], [4.0, 4.0, np.nan]]), 1.0)
    array([2.5, 3. ])
    """
    below = losses <= level
    first = below.argmax(axis=-1)
    reached = below.any(axis=-1)
    before = np.take_along_axis(losses, np.maximum(first - 1, 0)[..., None], -1)[..., 0]
    after = np.take_along_axis(losses, first[..., None], -1)[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(first > 0, (before - level) / (before - after), 1.0)
    return np.where(reached, first + part, float(losses.shape[-1]))


def any_at(needed: Array, most: float) -> bool:
    """Return whether any training of `needed` epochs did not reach its level in `most`."""
    return bool((needed >= most).any())


def best_setting(needed: Array) -> Array:
    """Return the row of `needed` (settings, seeds) with the least mean: the tuned setting."""
    found: Array = needed[int(needed.mean(axis=1).argmin())]
    return found


def started(model: Layer, seed: int) -> Layer:
    """Draw the weights of `model` from `seed`, and return it."""
    initialize(model, seed)
    return model


def outputs_of(model: Layer, X: Array, layers: int | None = None) -> Array:
    """Return the outputs of the first `layers` layers of a Sequential, or of the whole model."""
    part = model if layers is None else Sequential(model.layers[:layers])  # type: ignore[attr-defined]
    found: Array = part(tensor(X)).numpy()
    return found
