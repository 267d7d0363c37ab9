"""The settings of a training on a table: what was asked for, and a sensible rest.

Enters the size of the training data and what a user set, leaves one full `Settings` of plain
values, which a file can hold.  It exists so that no option is needed, and so that the choices
stand in one place.

Read next: :mod:`chainrule.tabular.build`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.core.options import check_whole, is_number
from chainrule.nn.activations import activation as activation_of
from chainrule.nn.initializers import BY_NAME as INITIALIZERS
from chainrule.nn.losses import LOSSES
from chainrule.nn.normalize import NORMS
from chainrule.optim.named import optimizer_names, schedule_names
from chainrule.optim.optimizer import Optimizer

__all__ = [
    "Option",
    "Settings",
    "check_range",
    "choose_settings",
    "loss_names",
    "options",
    "unusual",
]

# What the losses of each task look at: tables are scored with probabilities or with values.
KINDS = {"classification": "classes", "regression": "values"}


def check_range(setting: str, value: Any) -> None:
    """Raise OptionError unless the number `value` is in the range of that setting.

    >>> check_range("dropout", 0.5)
    """
    option = options()[setting]
    low, high, open_low = option.low, option.high, option.open_low
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
class Option:
    """What a setting may be, and how a command offers it.

    `kind` is "count" (a whole number of at least `least`), "number" (in [low, high), or
    (low, high) with `open_low`), "name", "choice" (one of `choices`), "switch" or "sizes".
    `part` is the group of options it stands in, "network" or "method", or "" where no command
    offers it; `flag` is the option without its dashes, where it is not the setting's name.
    """

    kind: str
    part: str = ""
    help: str = ""
    metavar: str = ""
    flag: str = ""
    least: int = 1
    low: float = 0.0
    high: float = math.inf
    open_low: bool = False
    choices: tuple[str, ...] = ()


def _of(kind: str, part: str = "", help: str = "", **more: Any) -> dict[str, Option]:
    """Return what a field of :class:`Settings` carries."""
    return {"option": Option(kind, part, help, **more)}


def options() -> dict[str, Option]:
    """Return the options of all settings, by the names of the settings."""
    return {f.name: f.metadata["option"] for f in fields(Settings)}


@dataclass(frozen=True)
class Settings:
    """All that decides a training, but for the data.

    The network: `hidden` are the units of each hidden layer, each followed by `norm` (such as
    "batch"), its `activation` (a name, or "maxout") and `dropout`; `noise` is the spread of what
    is added to the inputs; `density` the share of connections; with `residual` layers of equal
    width are skipped; `init` names the initializer, hidden biases start at `bias_init`; `pieces`
    are those of maxout, `embedding` the size of embedded categories.

    What is minimized: `loss` (None: by the task), with `label_smoothing`, `class_weight`
    ("balanced"), the penalties `l1` and `l2` on weights, and `activity` on hidden units.

    How: `optimizer` (a name, or an Optimizer, which then says all of its part itself),
    `learning_rate`, its `schedule` after `warmup` epochs, `weight_decay` (None: that of the
    optimizer, 0 for most), `max_norm`, `clip_norm`,
    `clip_value`, `accumulate` batches a step, `average` the decay of averaged weights; `patience`
    are the epochs in which the validation loss must fall by the share `min_delta` of itself, or
    None to run all `epochs`.
    """

    hidden: tuple[int, ...] = field(
        metadata=_of(
            "sizes",
            "network",
            "Units of each hidden layer, as in 128,64; or none.",
            metavar="SIZES",
        )
    )
    activation: str = field(
        metadata=_of("name", "network", "One that chainrule activations lists.")
    )
    optimizer: str | Optimizer = field(
        metadata=_of("name", "method", f"One of {', '.join(optimizer_names())}.")
    )
    epochs: int = field(metadata=_of("count", "method", "Most passes over the rows."))
    batch_size: int = field(metadata=_of("count", "method", "Rows in a step."))
    patience: int | None = field(
        metadata=_of(
            "count", "method", "Epochs without progress after which to stop; 0: never.", least=0
        )
    )
    learning_rate: float | None = field(
        default=None, metadata=_of("number", "method", "Learning rate.", flag="lr", open_low=True)
    )
    # Of the best loss: less is creeping, not learning.
    min_delta: float = field(default=1e-3, metadata=_of("number", high=1.0))
    seed: int = field(default=0, metadata=_of("count", least=0))
    norm: str | None = field(
        default=None,
        metadata=_of("choice", "network", "Normalize each hidden layer.", choices=tuple(NORMS)),
    )
    dropout: float = field(
        default=0.0, metadata=_of("number", "network", "Share of hidden units to drop.", high=1.0)
    )
    noise: float = field(
        default=0.0, metadata=_of("number", "network", "Spread of normal noise on the inputs.")
    )
    density: float = field(
        default=1.0,
        metadata=_of(
            "number", "network", "Share of connections that hidden layers have.", low=-math.inf
        ),
    )
    residual: bool = field(
        default=False,
        metadata=_of(
            "switch", "network", "Add the input of each hidden layer of equal width to its output."
        ),
    )
    init: str | None = field(
        default=None,
        metadata=_of(
            "name",
            "network",
            f"First weights: {', '.join(INITIALIZERS)}  [default: what suits the activation]",
        ),
    )
    bias_init: float = field(
        default=0.0,
        metadata=_of(
            "number",
            "network",
            "Where biases of hidden layers start, such as 0.01.",
            low=-math.inf,
            open_low=True,
        ),
    )
    pieces: int = field(
        default=2,
        metadata=_of(
            "count",
            "network",
            "Products of which a maxout unit takes the largest  [default: 2]",
            metavar="K",
            least=2,
        ),
    )
    embedding: int | None = field(
        default=None,
        metadata=_of(
            "count",
            "network",
            "Size of learned vectors  [default: half the categories, at most 50]",
        ),
    )
    loss: str | None = field(
        default=None,
        metadata=_of(
            "name",
            "method",
            f"For classes {', '.join(loss_names('classification'))}; for numbers "
            f"{', '.join(loss_names('regression'))}  [default: the first]",
        ),
    )
    label_smoothing: float = field(
        default=0.0,
        metadata=_of("number", "method", "Share of each target spread over all classes.", high=1.0),
    )
    class_weight: str | None = field(
        default=None,
        metadata=_of(
            "choice",
            "method",
            "Give every class the same weight, whatever its number of rows.",
            choices=("balanced",),
        ),
    )
    l1: float = field(
        default=0.0, metadata=_of("number", "method", "Penalty on the size of weights.")
    )
    l2: float = field(
        default=0.0, metadata=_of("number", "method", "Penalty on the squares of weights.")
    )
    activity: float = field(
        default=0.0,
        metadata=_of(
            "number", "method", "Penalty on the size of hidden activations, for sparse ones."
        ),
    )
    schedule: str = field(
        default="constant",
        metadata=_of(
            "name", "method", f"How the learning rate changes: {', '.join(schedule_names())}."
        ),
    )
    warmup: float = field(
        default=0.0,
        metadata=_of(
            "number", "method", "Epochs in which the learning rate rises to its start.", metavar="N"
        ),
    )
    weight_decay: float | None = field(
        default=None,
        metadata=_of(
            "number", "method", "Weights shrink by this times the learning rate in each step."
        ),
    )
    max_norm: float | None = field(
        default=None,
        metadata=_of(
            "number", "method", "Most length of a unit's incoming weights.", open_low=True
        ),
    )
    clip_norm: float | None = field(
        default=None,
        metadata=_of("number", "method", "Most length of the gradient.", open_low=True),
    )
    clip_value: float | None = field(
        default=None,
        metadata=_of("number", "method", "Most size of an element of the gradient.", open_low=True),
    )
    accumulate: int = field(
        default=1,
        metadata=_of("count", "method", "Batches whose gradients are added up for a step."),
    )
    average: float | None = field(
        default=None,
        metadata=_of(
            "number",
            "method",
            "Predict with an average of the weights, with this decay, as 0.999.",
            high=1.0,
        ),
    )

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if value is None and (f.default is None or f.name == "patience"):
                continue
            option: Option = f.metadata["option"]
            if option.kind == "count":
                least = 1 if f.name == "patience" else option.least  # 0 has become None
                check_whole(f.name, value, least, 2**63 if f.name == "seed" else math.inf)
            elif option.kind == "number":
                check_range(f.name, value)
            elif option.kind in ("name", "choice") and not isinstance(value, (str, Optimizer)):
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
