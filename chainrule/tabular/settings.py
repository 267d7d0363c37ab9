"""The settings of a training on a table: what was asked for, and a sensible rest.

Enters the size of the training data and what a user set, leaves one full `Settings` of plain
values, which a file can hold.  It exists so that no option is needed, and so that the choices
stand in one place.

Read next: :mod:`chainrule.tabular.build`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.core.options import check_whole, is_number
from chainrule.nn.activations import activation as activation_of
from chainrule.nn.losses import LOSSES
from chainrule.optim.optimizer import Optimizer

__all__ = ["Settings", "check_range", "choose_settings", "loss_names", "unusual"]

# The least of each count; None is allowed where it is the default.
COUNTS = {
    "epochs": 1, "batch_size": 1, "patience": 1, "seed": 0, "pieces": 2, "embedding": 1,
    "accumulate": 1,
}  # fmt: skip
# Of each number the least, what it is below, and whether it is above the least.
RANGES = {
    "learning_rate": (0.0, math.inf, True),
    "min_delta": (0.0, 1.0, False),
    "dropout": (0.0, 1.0, False),
    "noise": (0.0, math.inf, False),
    "bias_init": (-math.inf, math.inf, True),
    "label_smoothing": (0.0, 1.0, False),
    "l1": (0.0, math.inf, False),
    "l2": (0.0, math.inf, False),
    "warmup": (0.0, math.inf, False),
    "weight_decay": (0.0, math.inf, False),
    "max_norm": (0.0, math.inf, True),
    "clip_norm": (0.0, math.inf, True),
    "clip_value": (0.0, math.inf, True),
    "average": (0.0, 1.0, False),
}
# What the losses of each task look at: tables are scored with probabilities or with values.
KINDS = {"classification": "classes", "regression": "values"}
WORDS = ("activation", "norm", "init", "loss", "class_weight", "schedule")


def check_range(setting: str, value: Any) -> None:
    """Raise OptionError unless the number `value` is in the range of that setting.

    >>> check_range("dropout", 0.5)
    """
    low, high, open_low = RANGES[setting]
    if is_number(value) and low <= value < high and not (open_low and value == low):
        return
    bounds = f"in {'(' if open_low else '['}{low:g}, {high:g})"
    if high == math.inf:
        bounds = "a finite number" + ("" if low < 0 else " above 0" if open_low else " from 0 on")
    raise OptionError(f"{setting} must be {bounds}, not {value!r}.")


def loss_names(task: str) -> list[str]:
    """Return the losses a table can be trained with, the default one first.

    `task` is "classification" or "regression".

    >>> loss_names("classification")
    ['cross_entropy', 'kl_divergence']
    """
    kind = KINDS[task]
    return [loss.name for loss in LOSSES.values() if loss.kind == kind and loss.probabilistic]


@dataclass(frozen=True)
class Settings:
    """All that decides a training, but for the data.

    The network: `hidden` are the units of each hidden layer, each followed by `norm` (such as
    "batch"), its `activation` (a name, or "maxout") and `dropout`; `noise` is the spread of what
    is added to the inputs; `density` the share of connections; with `residual` layers of equal
    width are skipped; `init` names the initializer, hidden biases start at `bias_init`; `pieces`
    are those of maxout, `embedding` the size of embedded categories.

    What is minimized: `loss` (None: by the task), with `label_smoothing`, `class_weight`
    ("balanced") and the penalties `l1` and `l2`.

    How: `optimizer` (a name, or an Optimizer, which then says all of its part itself),
    `learning_rate`, its `schedule` after `warmup` epochs, `weight_decay` (None: that of the
    optimizer, 0 for most), `max_norm`, `clip_norm`,
    `clip_value`, `accumulate` batches a step, `average` the decay of averaged weights; `patience`
    are the epochs in which the validation loss must fall by the share `min_delta` of itself, or
    None to run all `epochs`.
    """

    hidden: tuple[int, ...]
    activation: str
    optimizer: str | Optimizer
    epochs: int
    batch_size: int
    patience: int | None
    learning_rate: float | None = None
    min_delta: float = 1e-3  # of the best loss: less is creeping, not learning
    seed: int = 0
    norm: str | None = None
    dropout: float = 0.0
    noise: float = 0.0
    density: float = 1.0
    residual: bool = False
    init: str | None = None
    bias_init: float = 0.0
    pieces: int = 2
    embedding: int | None = None
    loss: str | None = None
    label_smoothing: float = 0.0
    class_weight: str | None = None
    l1: float = 0.0
    l2: float = 0.0
    schedule: str = "constant"
    warmup: float = 0.0
    weight_decay: float | None = None
    max_norm: float | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    accumulate: int = 1
    average: float | None = None

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if value is None and (f.default is None or f.name == "patience"):
                continue
            if f.name in COUNTS:
                below = 2**63 if f.name == "seed" else math.inf
                check_whole(f.name, value, COUNTS[f.name], below)
            elif f.name in RANGES:
                check_range(f.name, value)
            elif f.name in WORDS and not isinstance(value, str):
                raise OptionError(f"{f.name} must be a name, not {value!r}.")
        if not isinstance(self.residual, bool):
            raise OptionError(f"residual must be True or False, not {self.residual!r}.")

    def plain(self) -> dict[str, Any]:
        """Return the settings that say something, as values of JSON and TOML."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["optimizer"] = str(self.optimizer)
        values["hidden"] = list(self.hidden)
        return {name: value for name, value in values.items() if value is not None}


def unusual(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the saved `settings` of a run that are not what they are when not asked for.

    >>> unusual({"hidden": [64], "dropout": 0.0, "l2": 1e-4, "schedule": "constant"})
    {'hidden': [64], 'l2': 0.0001}
    """
    usual = {f.name: f.default for f in fields(Settings) if f.name != "seed"}
    return {k: v for k, v in settings.items() if v is not None and v != usual.get(k, MISSING)}


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
    patience: int | None = None,
    **more: Any,
) -> Settings:
    """Return settings for `rows` training rows; what is None is chosen by their number.

    More rows carry wider networks, larger batches and smaller steps, and need fewer
    passes.  Few rows of a real-valued target get tanh, whose smooth curve fits
    between them better than ReLU's corners.  Without a validation part
    (`validated` False), or with a patience of 0, all epochs are run.  `more` are other
    fields of :class:`Settings`; None leaves one at its default.
    Raises OptionError for what has no meaning.

    >>> choose_settings(120).hidden, choose_settings(60_000, batch_size=32).batch_size
    ((64,), 32)
    """
    small, large = rows < 1_000, rows >= 20_000
    if isinstance(hidden, (str, bytes)) or not (hidden is None or isinstance(hidden, Sequence)):
        raise OptionError(f"hidden must be a list of numbers of units, not {hidden!r}.")
    for size in hidden or ():
        check_whole("hidden: the units of a layer", size)
    known = [f.name for f in fields(Settings)]
    for name in more:
        if name not in known:
            raise OptionError(f"there is no setting {name!r}. {did_you_mean(name, known)}")
    if activation is None:
        activation = "tanh" if small and task == "regression" else "relu"
    if activation != "maxout" and isinstance(activation, str):
        activation_of(activation)  # an unknown name fails here, before training
    if hidden is None:
        hidden = (64,) if small else (256, 128) if large else (128, 64)
    if learning_rate is None and optimizer == "adam":
        learning_rate = 1e-3 if large else 3e-3
    if patience is None:
        patience = 5 if large else 15
    check_whole("patience", patience, least=0)
    if epochs is None:
        epochs = 30 if large else 100 if rows >= 5_000 else 200
    if batch_size is None:
        batch_size = 32 if small else 128 if large else 64
    return Settings(
        hidden=tuple(int(size) for size in hidden),
        activation=activation,
        optimizer=optimizer,
        learning_rate=learning_rate,
        epochs=epochs,
        batch_size=batch_size,
        patience=patience if validated and patience > 0 else None,
        **{name: value for name, value in more.items() if value is not None},
    )
