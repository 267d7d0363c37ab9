"""A healthy training in plain values, and a generator of varied ones.

A seed goes in, a :class:`Recipe` comes out; a recipe makes the arguments of
:func:`chainrule.fit` anew each time it is asked, so that a fault can break them.

Read next: :mod:`chainrule.lab.breakage`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from chainrule.core.errors import OptionError
from chainrule.doctor.case import Case
from chainrule.lab.samples import SHIPPED, Sample, sample
from chainrule.nn.activations import activation
from chainrule.nn.layer import Layer, Linear, Sequential
from chainrule.nn.maxout import Maxout
from chainrule.nn.noise import Dropout
from chainrule.nn.normalize import BatchNorm
from chainrule.nn.regularizers import L2
from chainrule.optim.named import optimizer
from chainrule.optim.optimizer import Optimizer

__all__ = ["Recipe", "healthy"]

Array: TypeAlias = "np.ndarray[Any, Any]"


@dataclass(frozen=True)
class Recipe:
    """A feed-forward training in plain values.

    data: a name that :func:`~chainrule.lab.samples.sample` knows, with `rows` rows if it is made
    up.  hidden: the widths of the hidden layers.  activation: a name of
    :func:`chainrule.nn.activation`, or ``maxout``.  initializer: None for what suits the
    activation.  output: the activation after the last layer, or None.  validation: the share of
    rows held out, 0 for none.  seed: decides the data, the shuffles and the first weights.

    >>> recipe = Recipe("iris", hidden=(8,))
    >>> recipe.case().model.summary().parameters
    67
    """

    data: str
    rows: int = 0
    hidden: tuple[int, ...] = (16,)
    activation: str = "relu"
    initializer: str | None = None
    output: str | None = None
    loss: str = "cross_entropy"
    optimizer: str = "adam"
    learning_rate: float = 3e-3
    batch_size: int = 32
    epochs: int = 50
    dropout: float = 0.0
    batch_norm: bool = False
    l2: float = 0.0
    validation: float = 0.0
    seed: int = 0

    @property
    def sample(self) -> Sample:
        """The data, to be read only."""
        return sample(self.data, self.rows, self.seed % 7)

    @property
    def kind(self) -> str:
        """What the targets are: "classes", "labels" (yes or no, one output) or "values"."""
        if self.sample.classes == 0:
            return "values"
        return "labels" if self.loss == "binary_cross_entropy" else "classes"

    @property
    def outputs(self) -> int:
        """The number of units of the last layer."""
        return self.sample.classes if self.kind == "classes" else 1

    @property
    def train_rows(self) -> int:
        """The number of rows that train."""
        total = len(self.sample.X)
        return total - round(total * self.validation)

    @property
    def steps_an_epoch(self) -> int:
        """The number of steps in an epoch."""
        return -(-self.train_rows // self.batch_size)

    @property
    def steps(self) -> int:
        """The number of steps of the whole training."""
        return self.steps_an_epoch * self.epochs

    def network(self) -> Sequential:
        """Return a new network of this recipe."""
        layers: list[Layer] = []
        width = self.sample.X.shape[1]
        for units in self.hidden:
            if self.activation == "maxout":
                layers.append(Maxout(width, units, weight_init=self.initializer))
            else:
                layers.append(Linear(width, units, weight_init=self.initializer))
            if self.batch_norm:
                layers.append(BatchNorm(units))
            if self.activation != "maxout":
                layers.append(activation(self.activation))
            if self.dropout:
                layers.append(Dropout(self.dropout))
            width = units
        layers.append(Linear(width, self.outputs, weight_init=self.initializer))
        if self.output is not None:
            layers.append(activation(self.output))
        return Sequential(layers)

    def method(self) -> Optimizer:
        """Return a new optimizer of this recipe."""
        return optimizer(self.optimizer, self.learning_rate)

    def parts(self) -> tuple[tuple[Array, Array], tuple[Array, Array] | None]:
        """Return copies of the rows that train, and of those that validate, if any."""
        sound = self.sample
        order = np.random.default_rng([self.seed, 2]).permutation(len(sound.X))
        train, held = order[: self.train_rows], order[self.train_rows :]
        pair = (sound.X[train], sound.y[train])
        return pair, (sound.X[held], sound.y[held]) if len(held) else None

    def case(self) -> Case:
        """Return the training with fresh data and a fresh model."""
        data, validation = self.parts()
        return Case(
            model=self.network(),
            data=data,
            loss=self.loss,
            optimizer=self.method(),
            epochs=self.epochs,
            batch_size=self.batch_size,
            validation=validation,
            regularizer=L2(self.l2) if self.l2 else None,
            seed=self.seed,
        )


# Learning rates between which each optimizer trains these networks well.
RATES = {
    "sgd": (0.03, 0.12),
    "momentum": (0.005, 0.02),
    "nesterov": (0.005, 0.02),
    "adam": (1.5e-3, 6e-3),
    "adamw": (1.5e-3, 6e-3),
    "nadam": (1.5e-3, 6e-3),
    "amsgrad": (2e-3, 6e-3),
    "rmsprop": (7e-4, 2.5e-3),
    "adagrad": (0.02, 0.06),
}
_BENT = ("relu", "relu", "leaky_relu", "elu")
_SMOOTH = ("gelu", "silu", "selu", "maxout")
_NAMES = (*_BENT, "tanh", *_SMOOTH, "sigmoid")


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a number between `low` and `high`, evenly on a logarithmic scale, in two digits."""
    return float(f"{np.exp(rng.uniform(np.log(low), np.log(high))):.2g}")


def healthy(seed: int) -> Recipe:
    """Return a sound recipe drawn from `seed`: varied data, network, optimizer and length.

    >>> healthy(3) == healthy(3)
    True
    """
    if seed < 0:
        raise OptionError(f"healthy: seed must be 0 or more, not {seed}.")
    rng = np.random.default_rng([seed, 0])
    made = ("blobs", "moons", "xor", "rings", "clusters", "friedman", "plane", "wave")
    data = str(rng.choice([*SHIPPED, *made]))
    rows = 0 if data in SHIPPED else int(rng.choice([300, 600, 1200, 2400]))
    name = str(rng.choice(_NAMES))
    depth = int(rng.choice([1, 1, 2, 2, 3, 4, 6]))
    depth = min(depth, 1 if name == "sigmoid" else 3 if name == "maxout" else 6)
    width = int(rng.choice([12, 16, 24, 32, 64, 128]))
    hidden = tuple(max(8, int(width * rng.choice([1.0, 1.0, 0.75]))) for _ in range(depth))
    method = str(rng.choice(list(RATES)))
    if name == "sigmoid" and method in ("sgd", "momentum", "nesterov", "adagrad"):
        method = "adam"
    low, high = RATES[method]
    if depth > 3:
        high = (low * high) ** 0.5
    rate = _between(rng, low, high)
    if name == "sigmoid":
        rate = float(f"{2 * rate:.2g}")
    if data == "diabetes" and method == "sgd":  # little to learn, and steep at the start
        rate = float(f"{0.3 * rate:.2g}")
    validation = float(rng.choice([0.0, 0.2, 0.25]))
    binary = data in ("breast-cancer", "moons", "xor")
    values = data in ("diabetes", "friedman", "plane", "wave")
    loss = "mse" if values else "cross_entropy"
    if binary and rng.random() < 0.6:
        loss = "binary_cross_entropy"
    if values and rng.random() < 0.25:
        loss = "huber"
    easy = data in ("iris", "wine", "breast-cancer", "plane", "blobs", "diabetes")
    batch = int(rng.choice([8, 16, 32, 64, 128, 256]))
    steps = float(rng.choice([300, 600, 1200])) if easy else float(rng.choice([1200, 2500]))
    if method in ("sgd", "adagrad"):
        steps *= 2.0
    if rng.random() < 0.2:  # slow, but it gets there
        rate, steps = float(f"{0.3 * rate:.2g}"), 4 * steps
    noisy = data == "diabetes"
    made_recipe = Recipe(
        data=data,
        rows=rows,
        hidden=hidden[:2] if noisy else hidden,
        activation=name,
        loss=loss,
        optimizer=method,
        learning_rate=rate,
        batch_size=batch,
        dropout=float(rng.choice([0.1, 0.2])) if rng.random() < 0.15 and width >= 64 else 0.0,
        l2=_between(rng, 1e-5, 3e-4) if rng.random() < 0.25 else 0.0,
        validation=validation,
        seed=seed,
    )
    return _settled(made_recipe, steps, noisy, bool(rng.random() < 0.2))


def _settled(recipe: Recipe, steps: float, noisy: bool, batch_norm: bool) -> Recipe:
    """Return `recipe` with a batch that divides the rows well, and epochs for so many steps."""
    values = {f: getattr(recipe, f) for f in recipe.__dataclass_fields__}
    batch = min(recipe.batch_size, max(8, recipe.train_rows // 4))
    while recipe.train_rows % batch == 1:
        batch += 1
    values["batch_size"] = batch
    values["batch_norm"] = (
        batch_norm and batch >= 16 and recipe.activation != "maxout" and not noisy
    )
    an_epoch = -(-recipe.train_rows // batch)
    values["epochs"] = max(3, min(round(steps / an_epoch), 20 if noisy else 400))
    if noisy:
        values["l2"] = max(recipe.l2, 1e-3)
    return Recipe(**values)
