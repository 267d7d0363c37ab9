"""The settings of a training on a table: what was asked for, and a sensible rest.

Enters the size of the training data and what a user set, leaves one full `Settings`.
It exists so that no option is needed, and so that the choices stand in one place.

Read next: :mod:`chainrule.train.table`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.core.errors import OptionError
from chainrule.nn.activations import activation as activation_of
from chainrule.optim.named import optimizer as optimizer_of
from chainrule.optim.optimizer import Optimizer

__all__ = ["Settings", "choose_settings"]


@dataclass(frozen=True)
class Settings:
    """All that decides a training, but for the data.

    `hidden` are the units of each hidden layer; `patience` the epochs in which the
    validation loss must fall by `min_delta`, or None to run all `epochs`.
    """

    hidden: tuple[int, ...]
    activation: str
    optimizer: Optimizer
    epochs: int
    batch_size: int
    patience: int | None
    min_delta: float = 1e-3  # losses here are of order 1: less is creeping, not learning
    seed: int = 0


def choose_settings(
    rows: int,
    *,
    task: str = "classification",
    validated: bool = True,
    hidden: Sequence[int] | None = None,
    activation: str | None = None,
    optimizer: str | Optimizer = "adam",
    learning_rate: float | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
) -> Settings:
    """Return settings for `rows` training rows; what is None is chosen by their number.

    More rows carry wider networks, larger batches and smaller steps, and need fewer
    passes.  Few rows of a real-valued target get tanh, whose smooth curve fits
    between them better than ReLU's corners.  Without a validation part
    (`validated` False) nothing can say when to stop, so all epochs are run.
    Raises OptionError for what has no meaning.

    >>> choose_settings(120).hidden, choose_settings(60_000, batch_size=32).batch_size
    ((64,), 32)
    """
    small, large = rows < 1_000, rows >= 20_000
    for size in hidden or ():
        if isinstance(size, bool) or int(size) != size or size < 1:
            raise OptionError(f"hidden: a layer needs a positive number of units, not {size!r}.")
    if activation is None:
        activation = "tanh" if small and task == "regression" else "relu"
    if activation != "maxout":
        activation_of(activation)  # an unknown name fails here, before training
    if hidden is None:
        hidden = (64,) if small else (256, 128) if large else (128, 64)
    if learning_rate is None and optimizer == "adam":
        learning_rate = 1e-3 if large else 3e-3
    return Settings(
        hidden=tuple(int(size) for size in hidden),
        activation=activation,
        optimizer=optimizer_of(optimizer, learning_rate),
        epochs=epochs or (30 if large else 100 if rows >= 5_000 else 200),
        batch_size=batch_size or (32 if small else 128 if large else 64),
        patience=(5 if large else 15) if validated else None,
        seed=seed,
    )
