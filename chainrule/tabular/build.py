"""Build the network, loss, optimizer and penalty from the settings.

Read next: :mod:`chainrule.tabular.problem`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from numpy.typing import NDArray

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.core.tensor import Tensor
from chainrule.core.wording import counted
from chainrule.data.pipeline import CategoryCodes
from chainrule.nn.activations import activation as activation_of
from chainrule.nn.embedding import EmbedColumns
from chainrule.nn.initializers import initializer
from chainrule.nn.layer import Layer, Linear, Sequential
from chainrule.nn.losses import CrossEntropy
from chainrule.nn.maxout import Maxout
from chainrule.nn.members import AverageMembers, MemberLinear
from chainrule.nn.noise import Dropout, GaussianNoise
from chainrule.nn.normalize import NORMS
from chainrule.nn.pieces import PiecewiseLinear
from chainrule.nn.regularizers import L1, L1L2, ActivityPenalty
from chainrule.nn.residual import Residual
from chainrule.nn.scale import Scale
from chainrule.nn.several import Several
from chainrule.nn.wiring import SparseLinear
from chainrule.optim.clip import ClipNorm, ClipValue
from chainrule.optim.decay import MaxNorm, WeightDecay
from chainrule.optim.full_batch import FullBatch
from chainrule.optim.named import optimizer as optimizer_of
from chainrule.optim.named import schedule as schedule_of
from chainrule.optim.optimizer import Optimizer, chain
from chainrule.optim.schedules import Schedule
from chainrule.optim.schedules import epochs as in_epochs
from chainrule.optim.wrappers import EMA, Accumulate
from chainrule.tabular.settings import Settings, loss_names

__all__ = [
    "Setup",
    "build_loss",
    "build_model",
    "build_optimizer",
    "build_penalty",
    "check_settings",
]


ENOUGH_ROWS = 20_000  # for the quantiles of numbers
# The loss that :class:`AverageMembers` knows for each; others are like mse.
SPREAD_OF = {
    "cross_entropy": "cross_entropy", "kl_divergence": "cross_entropy", "poisson": "poisson",
    "binary_cross_entropy": "binary_cross_entropy",
}  # fmt: skip


def check_settings(settings: Settings, task: str | None = None) -> None:
    """Raise OptionError for invalid settings, by building everything once.

    The loss is checked only if `task` is given.
    """
    build_model(1, 1, settings)
    parts, members = settings.cross_fit, settings.members
    if parts > 1 and members % parts:
        cure = "give a divisor of the members" if members > 1 else "leave cross_fit out"
        raise OptionError(
            f"cross_fit: {counted(members, 'member')} can't be divided into {parts} parts; {cure}."
        )
    build_optimizer(settings)
    build_penalty(settings)
    if task is not None:
        build_loss(settings, task)
    if settings.class_weight not in (None, "balanced"):
        raise OptionError(f"class_weight must be 'balanced', not {settings.class_weight!r}.")
    if settings.class_weight is not None and task == "regression":
        raise OptionError("class_weight needs classes, but the task is regression.")
    if settings.pieces != 2 and settings.activation != "maxout":
        raise OptionError(f"pieces needs the activation maxout, not {settings.activation}.")


@dataclass(frozen=True)
class Setup:
    """The arguments of :func:`chainrule.fit` besides the data."""

    model: Sequential
    loss: str | Callable[[Tensor, Tensor], Tensor]
    optimizer: Optimizer
    penalty: L1L2 | None


def build_model(
    features: int,
    outputs: int,
    settings: Settings,
    codes: Sequence[CategoryCodes] = (),
    pixels: bool = False,
    rows: NDArray[Any] | None = None,
    loss: str | Callable[[Tensor, Tensor], Tensor] = "mse",
) -> Sequential:
    """Return the network for `settings`; `codes` are the features to embed.

    With `pixels`, features are uint8 from 0 to 255, which the first layer scales to [0, 1].
    `rows` are features of training rows, whose quantiles divide numbers into pieces; `loss` is
    the loss by which the members of an ensemble are trained.
    """
    many = settings.members > 1
    if many:
        _check_members(settings)
    layers: list[Layer] = [Scale(1 / 255)] if pixels else []
    if codes:
        embed = EmbedColumns(
            features, [(c.feature, c.categories, _embedding_size(c, settings)) for c in codes]
        )
        layers.append(embed)
        features = embed.outputs
    if settings.bins and rows is not None and not pixels:
        encode = _encoding(rows, codes, features, settings.bins)
        if any(encode.edges):
            layers.append(encode)
            features = encode.outputs
    if settings.noise:
        layers.append(GaussianNoise(settings.noise))
    for i, size in enumerate(settings.hidden):
        block = _block(features, size, settings, first=i == 0)
        layers += [Residual(block)] if settings.residual and size == features else block
        features = size
    if not many:
        return Sequential([*layers, Linear(features, outputs)])
    layers += [MemberLinear(settings.members, features, outputs)]
    return Sequential([*layers, AverageMembers(settings.members, _spread(loss))])


def _spread(loss: str | Callable[[Tensor, Tensor], Tensor]) -> str | None:
    """Return the loss whose spread over members is added; None for several targets."""
    if isinstance(loss, Several) or loss == "ordinal":
        return None
    return SPREAD_OF.get("cross_entropy" if isinstance(loss, CrossEntropy) else str(loss), "mse")


def _check_members(settings: Settings) -> None:
    """Raise OptionError for settings that members can't share."""
    reason = ""
    if not settings.hidden:
        reason = "hidden layers"
    elif settings.activation == "maxout":
        reason = "another activation than maxout"
    elif settings.density != 1:
        reason = "a density of 1"
    elif settings.norm not in (None, "batch"):
        reason = f"the norm batch or none, not {settings.norm}"
    if reason:
        raise OptionError(f"members: an ensemble of {settings.members} networks needs {reason}.")


def _encoding(
    rows: NDArray[Any], codes: Sequence[CategoryCodes], features: int, bins: int
) -> PiecewiseLinear:
    """Return the encoding of the numbers in `rows`; embedded vectors, which come last, are kept."""
    looked_up = {code.feature for code in codes}
    kept = [i for i in range(rows.shape[1]) if i not in looked_up]
    some = rows[:: max(1, len(rows) // ENOUGH_ROWS)]
    own = PiecewiseLinear.of(some[:, kept], bins).edges
    return PiecewiseLinear([*own, *[[]] * (features - len(kept))])


def _embedding_size(codes: CategoryCodes, settings: Settings) -> int:
    """Return the size that is set; by default half the number of categories, at most 50."""
    return settings.embedding or min(50, (codes.categories + 1) // 2)


def _block(features: int, size: int, settings: Settings, first: bool) -> list[Layer]:
    """Return one hidden layer: weights, normalization, activation, dropout.

    In the `first` layer of an ensemble each member has weights of its own.
    """
    units = size * settings.members
    if settings.members > 1 and not first:
        own = MemberLinear(
            settings.members, features, size, settings.init, bias_init=settings.bias_init
        )
        layers: list[Layer] = [own]
    else:
        layers = [_weights(features, units, settings)]
    if settings.norm is not None:
        if settings.norm not in NORMS:
            raise OptionError(
                f"unknown norm {settings.norm!r}. {did_you_mean(settings.norm, NORMS)}"
            )
        layers.append(NORMS[settings.norm](units))
    if settings.activation != "maxout":
        layers.append(activation_of(settings.activation))
    if settings.dropout:
        layers.append(Dropout(settings.dropout))
    if settings.activity:
        layers.append(ActivityPenalty(L1(settings.activity)))
    return layers


def _weights(features: int, size: int, settings: Settings) -> Layer:
    init = settings.init
    if init is not None:
        initializer(init)  # raises OptionError for an unknown name, before the layer is built
    if settings.activation == "maxout":
        if settings.density != 1:
            raise OptionError("density must be 1 for maxout; use another activation.")
        return Maxout(
            features, size, settings.pieces, weight_init=init, bias_init=settings.bias_init
        )
    if settings.density != 1:
        return SparseLinear.from_density(
            features, size, settings.density, settings.seed, weight_init=init,
            bias_init=settings.bias_init,
        )  # fmt: skip
    return Linear(features, size, weight_init=init, bias_init=settings.bias_init)


def build_loss(settings: Settings, task: str) -> str | Callable[[Tensor, Tensor], Tensor]:
    """Return the loss for `task`, "classification" or "regression"."""
    names = loss_names(task)
    loss = settings.loss or names[0]
    if loss not in names:
        raise OptionError(f"loss {loss!r} does not fit {task}. {did_you_mean(loss, names)}")
    if not settings.label_smoothing:
        return loss
    if loss != "cross_entropy":
        raise OptionError(f"label_smoothing needs the loss cross_entropy, not {loss}.")
    return CrossEntropy(settings.label_smoothing)


def build_penalty(settings: Settings) -> L1L2 | None:
    """Return the penalty on weights, or None."""
    penalty = L1L2(settings.l1, settings.l2)
    return penalty if settings.l1 or settings.l2 else None


def build_optimizer(settings: Settings) -> Optimizer:
    """Return the optimizer with its schedule, clipping, decay and averaging.

    If the setting `optimizer` is an Optimizer, it is returned unchanged.
    """
    if isinstance(settings.optimizer, Optimizer):
        return settings.optimizer
    plain = optimizer_of(settings.optimizer, settings.learning_rate)
    if isinstance(plain, FullBatch):
        _check_alone(settings)
        return plain
    rate = plain.learning_rate  # type: ignore[attr-defined]
    plain = optimizer_of(settings.optimizer, _planned(settings, rate))
    decay = settings.weight_decay
    decays_itself = hasattr(plain, "weight_decay")
    if decay is not None and decays_itself:
        plain = replace(plain, weight_decay=decay)  # type: ignore[call-arg]
    parts: list[Any] = []
    if settings.clip_value is not None:
        parts.append(ClipValue(settings.clip_value))
    if settings.clip_norm is not None:
        parts.append(ClipNorm(settings.clip_norm))
    parts.append(plain)
    if decay and not decays_itself:
        if decay * rate >= 1:
            raise OptionError(
                f"weight_decay {decay:g} times the learning rate {rate:g} must be below 1, or "
                "a step would change the sign of weights."
            )
        # As in AdamW, each step decays weights by the learning rate times weight_decay.
        parts.append(WeightDecay(_planned(settings, decay * rate)))
    if settings.max_norm is not None:
        parts.append(MaxNorm(settings.max_norm))
    method: Optimizer = chain(*parts) if len(parts) > 1 else plain
    if settings.accumulate != 1:
        method = Accumulate(settings.accumulate, method)
    if settings.average is not None:
        method = EMA(method, settings.average)
    return method


def _planned(settings: Settings, start: float) -> float | Schedule:
    """Return the schedule of a value that starts at, or peaks at, `start`."""
    warmup = in_epochs(settings.warmup) if settings.warmup else None
    return schedule_of(settings.schedule, start, warmup)


def _check_alone(settings: Settings) -> None:
    """Raise OptionError for settings that an optimizer with a line search does not use."""
    usual = {f.name: f.default for f in fields(Settings)}
    for name in (
        "schedule", "warmup", "weight_decay", "max_norm", "clip_norm", "clip_value",
        "accumulate", "average",
    ):  # fmt: skip
        if getattr(settings, name) != usual[name]:
            raise OptionError(
                f"{name} can't be used with {settings.optimizer}, which finds the length of each "
                "step itself; remove one of the two."
            )
