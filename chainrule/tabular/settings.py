"""The settings of training on a table, with defaults that depend on the data.

All settings are plain values, so that they can be saved in a file.

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
from chainrule.optim.full_batch import FullBatch
from chainrule.optim.named import optimizer as optimizer_of
from chainrule.optim.named import optimizer_names, schedule_names
from chainrule.optim.optimizer import Optimizer

__all__ = [
    "EFFORTS",
    "Effort",
    "Option",
    "Settings",
    "check_range",
    "choose_settings",
    "loss_names",
    "options",
    "unusual",
]

# The kinds of target of the losses of each task, that of the default first.
KINDS = {
    "classification": ("classes", "ordered"),
    "regression": ("values", "quantiles", "counts"),
}


def check_range(setting: str, value: Any) -> None:
    """Raise OptionError unless `value` is a number in the range of `setting`.

    >>> check_range("dropout", 0.5)
    """
    option = options()[setting]
    low, high, open_low = option.low, option.high, option.open_low
    if is_number(value) and low <= value < high and not (open_low and value == low):
        return
    bounds = f"in {'(' if open_low else '['}{low:g}, {high:g})"
    if high == math.inf:
        bounds = "a finite number" + ("" if low < 0 else " above 0" if open_low else " not below 0")
    raise OptionError(f"{setting} must be {bounds}, not {value!r}.")


def loss_names(task: str) -> list[str]:
    """Return the losses for `task` on a table, the default first.

    `task` is "classification" or "regression".

    >>> loss_names("classification")
    ['cross_entropy', 'kl_divergence', 'ordinal']
    """
    known = [loss for loss in LOSSES.values() if loss.probabilistic]
    return [loss.name for kind in KINDS.get(task, ()) for loss in known if loss.kind == kind]


@dataclass(frozen=True)
class Effort:
    """How much a training on a table does, where no other setting says so.

    It averages `members` networks with layers of `hidden` units, and takes about `steps` steps,
    in `fewest` to `most` epochs; half the fewest of 20,000 rows or more.
    """

    members: int
    hidden: tuple[int, ...]
    steps: int
    fewest: int
    most: int


EFFORTS = {
    "quick": Effort(members=4, hidden=(64,), steps=800, fewest=12, most=80),
    "normal": Effort(members=8, hidden=(64, 64), steps=1200, fewest=24, most=150),
    "best": Effort(members=16, hidden=(128, 128), steps=6000, fewest=24, most=400),
}
BINS = 8  # pieces in which a number is encoded, unless there are many numbers
PARTS = 4  # of the rows, each left out by a quarter of the members
MANY_NUMBERS = 40
MANY_FEATURES = 200


@dataclass(frozen=True)
class Option:
    """The valid values of a setting, and its command line option.

    `kind` is "count" (a whole number of at least `least`), "number" (in [low, high), or
    (low, high) with `open_low`), "name", "choice" (one of `choices`), "switch" or "sizes".
    `part` is the group of options in the help, "network" or "method", or "" if it is not an
    option; `flag` is the option without its dashes, if it differs from the setting's name.
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
    """Return the metadata of a field of :class:`Settings`."""
    return {"option": Option(kind, part, help, **more)}


def options() -> dict[str, Option]:
    """Return the options of all settings, by name."""
    return {f.name: f.metadata["option"] for f in fields(Settings)}


@dataclass(frozen=True)
class Settings:
    """All settings of a training, except the data.

    Network: `hidden` are the numbers of units of the hidden layers, each followed by `norm` (such
    as "batch"), its `activation` (a name, or "maxout") and `dropout`; `noise` is the standard
    deviation of noise on the inputs; `density` the share of connections kept; `residual` adds a
    skip connection around layers of equal width; `init` names the initializer; `bias_init` is the
    initial bias of hidden layers; `pieces` is for maxout, `embedding` the size of embeddings.
    `members` such networks are trained as one, and their outputs averaged; numbers are encoded in
    `bins` pieces of their range (0: as they are).  `cross_fit` is in how many parts the rows are
    divided, each left out by some members, which it validates (1: validation rows of their own).

    Objective: `loss` (None: by the task), with `label_smoothing`, `class_weight` ("balanced"),
    the penalties `l1` and `l2` on weights, and `activity` on hidden activations.

    Optimization: `optimizer` (a name, or an Optimizer, which replaces all settings up to
    `average`), `learning_rate`, its `schedule` after `warmup` epochs, `weight_decay` (None: the
    default of the optimizer, 0 for most), `max_norm`, `clip_norm`, `clip_value`, `accumulate`
    batches per step, `average` the decay of averaged weights.  Training stops if the validation
    loss does not fall by the share `min_delta` in `patience` epochs (None: run all `epochs`).
    `effort` is the one by which the settings that were not given were chosen.
    """

    hidden: tuple[int, ...] = field(
        metadata=_of(
            "sizes",
            "network",
            "Units of each hidden layer of one plain network, such as 128,64; or none.",
            metavar="SIZES",
        )
    )
    activation: str = field(
        metadata=_of("name", "network", "Activation of hidden layers; see chainrule activations.")
    )
    optimizer: str | Optimizer = field(
        metadata=_of(
            "name",
            "method",
            f"Optimizer: {', '.join(optimizer_names())}  [default: adamw, with a cosine schedule "
            "and decay]",
        )
    )
    epochs: int = field(metadata=_of("count", "method", "Maximum number of epochs."))
    batch_size: int = field(metadata=_of("count", "method", "Rows per step."))
    patience: int | None = field(
        metadata=_of(
            "count", "method", "Stop after this many epochs without improvement; 0: never.", least=0
        )
    )
    learning_rate: float | None = field(
        default=None, metadata=_of("number", "method", "Learning rate.", flag="lr", open_low=True)
    )
    # A share of the best loss: smaller improvements do not count.
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
        default=0.0, metadata=_of("number", "network", "Standard deviation of noise on inputs.")
    )
    density: float = field(
        default=1.0,
        metadata=_of(
            "number", "network", "Share of connections that hidden layers keep.", low=-math.inf
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
            f"Initial weights: {', '.join(INITIALIZERS)}  [default: depends on the activation]",
        ),
    )
    bias_init: float = field(
        default=0.0,
        metadata=_of(
            "number",
            "network",
            "Initial bias of hidden layers, such as 0.01.",
            low=-math.inf,
            open_low=True,
        ),
    )
    pieces: int = field(
        default=2,
        metadata=_of(
            "count",
            "network",
            "Linear pieces of a maxout unit, which returns the largest  [default: 2]",
            metavar="K",
            least=2,
        ),
    )
    embedding: int | None = field(
        default=None,
        metadata=_of(
            "count",
            "network",
            "Size of embedding vectors  [default: half the categories, at most 50]",
        ),
    )
    members: int = field(
        default=1,
        metadata=_of(
            "count",
            "network",
            "Networks that are trained as one and whose outputs are averaged  [default: by the "
            "effort, 1 with --hidden]",
        ),
    )
    bins: int = field(
        default=0,
        metadata=_of(
            "count",
            "network",
            "Pieces of its range in which each number is encoded; 0: none  [default: "
            f"{BINS}, 0 with --hidden or many numbers]",
            least=0,
        ),
    )
    cross_fit: int = field(
        default=1,
        metadata=_of(
            "count",
            "network",
            "Divide the rows into N parts, each left out by 1/N of the members, which validate on "
            f"it, so that all rows train. 1: hold out 15 %  [default: {PARTS} for an ensemble]",
        ),
    )
    effort: str = field(
        default="normal",
        metadata=_of(
            "choice",
            "method",
            "How much to compute for a better network  [default: normal]",
            choices=tuple(EFFORTS),
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
            "Give every class the same total weight, whatever its number of rows.",
            choices=("balanced",),
        ),
    )
    l1: float = field(
        default=0.0, metadata=_of("number", "method", "L1 penalty on weights (absolute values).")
    )
    l2: float = field(
        default=0.0, metadata=_of("number", "method", "L2 penalty on weights (squares).")
    )
    activity: float = field(
        default=0.0,
        metadata=_of(
            "number", "method", "L1 penalty on hidden activations, which makes them sparse."
        ),
    )
    schedule: str = field(
        default="constant",
        metadata=_of("name", "method", f"Learning rate schedule: {', '.join(schedule_names())}."),
    )
    warmup: float = field(
        default=0.0,
        metadata=_of(
            "number", "method", "Epochs in which the learning rate rises from 0.", metavar="N"
        ),
    )
    weight_decay: float | None = field(
        default=None,
        metadata=_of(
            "number", "method", "Decay of weights in each step, multiplied by the learning rate."
        ),
    )
    max_norm: float | None = field(
        default=None,
        metadata=_of(
            "number", "method", "Maximum norm of a unit's incoming weights.", open_low=True
        ),
    )
    clip_norm: float | None = field(
        default=None,
        metadata=_of("number", "method", "Maximum norm of the gradient.", open_low=True),
    )
    clip_value: float | None = field(
        default=None,
        metadata=_of("number", "method", "Maximum size of a gradient element.", open_low=True),
    )
    accumulate: int = field(
        default=1,
        metadata=_of("count", "method", "Batches whose gradients are accumulated for a step."),
    )
    average: float | None = field(
        default=None,
        metadata=_of(
            "number",
            "method",
            "Predict with a moving average of the weights, with this decay, such as 0.999.",
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
                least = 1 if f.name == "patience" else option.least  # 0 was replaced by None
                check_whole(f.name, value, least, 2**63 if f.name == "seed" else math.inf)
            elif option.kind == "number":
                check_range(f.name, value)
            elif option.kind in ("name", "choice") and not isinstance(value, (str, Optimizer)):
                raise OptionError(f"{f.name} must be a name, not {value!r}.")
        if not isinstance(self.residual, bool):
            raise OptionError(f"residual must be True or False, not {self.residual!r}.")

    def plain(self) -> dict[str, Any]:
        """Return the settings that are not None, as values for JSON and TOML."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["optimizer"] = str(self.optimizer)
        values["hidden"] = list(self.hidden)
        return {name: value for name, value in values.items() if value is not None}


def unusual(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the saved `settings` of a run that differ from their defaults.

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
    features: int = 1,
    numbers: int = 1,
    pixels: bool = False,
    divides: bool = False,
    hidden: Sequence[int] | None = None,
    activation: str | None = None,
    optimizer: str | Optimizer | None = None,
    learning_rate: float | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    patience: int | None = None,
    **more: Any,
) -> Settings:
    """Return settings for `rows` training rows, which determine those that are None.

    By default several networks are trained as one, and their outputs averaged; `effort`, one of
    "quick", "normal" and "best", says how many, how wide and for how many steps.  Numbers are
    encoded in pieces unless there are many; `numbers` is how many of the `features` are numbers.
    :func:`~chainrule.tabular.table_training.settings_for` takes them from a problem.  With
    `hidden`, the network is a plain one with these layers, and with an `optimizer` the method is
    the plain one; the other settings add to them.  Images (`pixels`) and full-batch optimizers
    get a plain network, too.  If the rows may be divided (`divides`), those of an ensemble are.

    More rows get larger batches, and fewer epochs.  A plain network for regression on few rows
    gets tanh, whose smooth curves interpolate between rows better than ReLU.  Without validation
    rows (`validated` False), or with a patience of 0, all epochs are run.  `more` are other fields
    of :class:`Settings`; None keeps the default.
    Raises OptionError for invalid settings.

    >>> choose_settings(120).members, choose_settings(120, hidden=[64]).members
    (8, 1)
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
    given = {name: value for name, value in more.items() if value is not None}
    effort = EFFORTS.get(given.get("effort", "normal"))
    if effort is None:
        hint = did_you_mean(str(given["effort"]), EFFORTS)
        raise OptionError(f"unknown effort {given['effort']!r}. {hint}")
    if activation not in (None, "maxout") and isinstance(activation, str):
        activation_of(activation)  # raises OptionError for an unknown name
    full_batch = optimizer is not None and isinstance(optimizer_of(optimizer), FullBatch)
    plain = hidden is not None or pixels or full_batch
    if plain:
        hidden = (
            ((64,) if small else (256, 128) if large else (128, 64)) if hidden is None else hidden
        )
        activation = activation or ("tanh" if small and task == "regression" else "relu")
    else:
        hidden, activation = effort.hidden, activation or "relu"
        given = _ensemble(effort, rows, (features, numbers), activation, given) | given
        if divides and validated and not large:
            parts = (k for k in (PARTS, 3, 2) if given["members"] % k == 0)
            given = {"cross_fit": next(parts, 1)} | given
    if optimizer is None:
        optimizer, method = "adamw", {"schedule": "cosine", "weight_decay": 0.01}
        if learning_rate is None:
            learning_rate = 1e-3 if large else 2e-3
        given = method | given
    elif learning_rate is None and optimizer == "adam":
        learning_rate = 1e-3 if large else 3e-3
    if batch_size is None:
        batch_size = 32 if small else 256 if large else 64
    check_whole("batch_size", batch_size)
    if epochs is None:
        fewest = effort.fewest // 2 if large else effort.fewest
        epochs = min(effort.most, max(fewest, round(effort.steps * batch_size / rows)))
    if patience is None:
        patience = max(10, epochs // 4)
    check_whole("patience", patience, least=0)
    return Settings(
        hidden=tuple(int(size) for size in hidden),
        activation=activation,
        optimizer=optimizer,
        learning_rate=learning_rate,
        epochs=epochs,
        batch_size=batch_size,
        patience=patience if validated and patience > 0 else None,
        **given,
    )


def _ensemble(
    effort: Effort, rows: int, counts: tuple[int, int], activation: str, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings of an ensemble, as far as those that are `given` allow one."""
    alone = activation == "maxout" or given.get("density", 1) != 1
    alone = alone or given.get("norm") not in (None, "batch")
    features, numbers = counts
    wide = features > MANY_FEATURES
    members = effort.members // 2 if wide or rows >= 20_000 else effort.members
    return {
        "members": 1 if alone else members,
        "bins": 0 if wide or numbers > MANY_NUMBERS else BINS,
        "dropout": 0.1,
    }
