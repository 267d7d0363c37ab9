"""Build layers, initializers and optimizers from Keras names, with Keras's defaults.

The input is a description of a Keras program as plain values.  Every unknown name or option
raises OptionError, with the nearest known one, so that no part of a program is silently ignored.

Read next: `bench/doctor_programs.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.core.errors import OptionError, did_you_mean
from chainrule.core.tensor import Tensor
from chainrule.nn.initializers import Initializer
from chainrule.ops.arithmetic import abs, maximum, minimum, where
from chainrule.ops.elementary import exp
from chainrule.optim.optimizer import Optimizer, Slots
from chainrule.optim.schedules import Schedule

__all__ = ["Built", "initializer_of", "layers_of", "optimizer_of"]

# Options that do not affect what a part computes.
IGNORED = {"type", "name", "note", "input_shape", "input_dim", "input", "lr_is_default"}


@nn.register_layer
@dataclass(frozen=True)
class Softmax:
    """``exp(x) / sum(exp(x))`` over the last axis, as a layer, as Keras's losses expect."""

    def __call__(self, x: Tensor) -> Tensor:
        return cr.softmax(x, -1)


@nn.register_layer
@dataclass(frozen=True)
class Exponential:
    """``exp(x)``."""

    def __call__(self, x: Tensor) -> Tensor:
        return exp(x)


@nn.register_layer
@dataclass(frozen=True)
class SteepHardSigmoid:
    """``clip(0.2 x + 0.5, 0, 1)``, the hard_sigmoid of Keras 2."""

    def __call__(self, x: Tensor) -> Tensor:
        return minimum(maximum(0.2 * x + 0.5, 0.0), 1.0)


@nn.register_layer
@dataclass(frozen=True)
class ThresholdedReLU:
    """``x`` above `theta`, else 0."""

    theta: float = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        return where(x > self.theta, x, 0.0)


@nn.register_layer
@dataclass(frozen=True)
class Normal:
    """Draw from N(mean, spread²)."""

    mean: float = 0.0
    spread: float = 0.05

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        return generator.normal(self.mean, self.spread, shape)


@nn.register_layer
@dataclass(frozen=True)
class Uniform:
    """Draw from U(low, high)."""

    low: float = -0.05
    high: float = 0.05

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        return generator.uniform(self.low, self.high, shape)


ACTIVATIONS: dict[str, Callable[[], Any] | None] = {
    "linear": None, "identity": None, "none": None, "relu": nn.ReLU, "relu6": nn.ReLU6,
    "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "softmax": Softmax, "softplus": nn.Softplus,
    "softsign": nn.Softsign, "elu": nn.ELU, "selu": nn.SELU, "swish": nn.SiLU, "silu": nn.SiLU,
    "gelu": nn.GELU, "mish": nn.Mish, "exponential": Exponential,
    "hard_sigmoid": SteepHardSigmoid, "leaky_relu": lambda: nn.LeakyReLU(0.3),
    "leakyrelu": lambda: nn.LeakyReLU(0.3),
}  # fmt: skip

INITIALIZERS: dict[str, Callable[..., Initializer]] = {
    "normal": Normal, "random_normal": Normal, "n": Normal, "gaussian": Normal,
    "uniform": Uniform, "random_uniform": Uniform, "u": Uniform,
    "truncated_normal": lambda mean=0.0, spread=0.05: nn.TruncatedNormal(spread),
    "zeros": nn.Zeros, "zero": nn.Zeros, "ones": lambda: nn.Constant(1.0),
    "one": lambda: nn.Constant(1.0), "constant": lambda value=0.0: nn.Constant(value),
    "identity": nn.Eye, "orthogonal": nn.Orthogonal, "glorot_uniform": nn.GlorotUniform,
    "glorot_normal": nn.GlorotNormal, "xavier_uniform": nn.GlorotUniform,
    "xavier_normal": nn.GlorotNormal, "he_uniform": nn.HeUniform, "he_normal": nn.HeNormal,
    "lecun_uniform": nn.LeCunUniform, "lecun_normal": nn.LeCunNormal,
    "variance_scaling": nn.LeCunNormal,
}  # fmt: skip
# Keras's names of an initializer's parameters, and their names here.
NUMBERS = {"stddev": "spread", "std": "spread", "minval": "low", "maxval": "high"}


def _known(what: str, name: str, table: Iterable[str]) -> str:
    """Return `name` normalized to a key of `table`; raise OptionError if it is unknown."""
    key = re.sub(r"[\s-]+", "_", str(name).strip()).lower()
    if key not in (names := list(table)):
        raise OptionError(f"unknown Keras {what} {name!r}. {did_you_mean(key, names)}")
    return key


def _check_options(what: str, options: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise OptionError for an option that is set but not in `known`."""
    names = list(known)
    for name, value in options.items():
        if name not in names and name not in IGNORED and value not in (None, False):
            raise OptionError(
                f"unknown option {name}={value!r} of Keras {what}. {did_you_mean(name, names)}"
            )


def initializer_of(text: str | float) -> Initializer:
    """Return the initializer that `text` describes, such as "he_normal" or "normal(0, 0.05)".

    The second number of N(...) is the standard deviation.  Raises OptionError for an unknown name
    or an argument that is not a number.

    >>> initializer_of("uniform(-0.1, 0.1)")
    Uniform(low=-0.1, high=0.1)
    """
    if isinstance(text, (int, float)):
        return nn.Constant(float(text))
    parts = re.fullmatch(r"\s*([\w -]+?)\s*(?:\((.*)\))?\s*", text)
    if parts is None:
        raise OptionError(f"{text!r} is not a Keras initializer; write it as in 'normal(0, 0.05)'.")
    make = INITIALIZERS[_known("initializer", parts[1], INITIALIZERS)]
    plain: list[float] = []
    named: dict[str, float] = {}
    try:
        for entry in filter(None, (part.strip() for part in (parts[2] or "").split(","))):
            name, _, number = entry.rpartition("=")
            if name := name.strip():
                named[NUMBERS.get(name, name)] = float(number)
            else:
                plain.append(float(number))
        return make(*plain, **named)
    except (TypeError, ValueError) as error:
        raise OptionError(f"{text!r} is not a Keras initializer: {error}") from None


def activation_of(name: str | None) -> Any:
    """Return the activation layer with Keras's `name`, or None for the identity."""
    if name is None:
        return None
    parts = re.fullmatch(r"\s*([\w -]+?)\s*(?:\((?:alpha=)?([^()=]*)\))?\s*", name)
    if parts is None:
        raise OptionError(f"unknown Keras activation {name!r}.")
    key = _known("activation", parts[1], ACTIVATIONS)
    if parts[2]:
        with_alpha: dict[str, Any] = {
            "leaky_relu": nn.LeakyReLU, "leakyrelu": nn.LeakyReLU, "elu": nn.ELU,
        }  # fmt: skip
        if key not in with_alpha:
            raise OptionError(f"unknown Keras activation {name!r}: {key} does not take a number.")
        return with_alpha[key](float(parts[2]))
    make = ACTIVATIONS[key]
    return None if make is None else make()


@dataclass
class Built:
    """Layers, and the options of Keras layers that are set elsewhere in chainrule."""

    layers: list[Any]
    frozen: list[str]
    regularizers: dict[str, Any]


DENSE = (
    "units", "activation", "init", "kernel_initializer", "bias_init", "bias_initializer",
    "use_bias", "trainable", "regularizer", "kernel_regularizer", "l1", "l2", "dropout",
)  # fmt: skip


def layers_of(entries: Sequence[Mapping[str, Any]], features: Sequence[int]) -> Built:
    """Return chainrule's layers for those of a Keras program, on rows of shape `features`.

    Raises OptionError, with the index of the entry, for an unknown name or option.

    >>> layers_of([{"type": "dense", "units": 3, "activation": "relu"}], (4,)).layers[1]
    ReLU()
    """
    built = Built([], [], {})
    shape = list(features)
    for number, entry in enumerate(entries):
        try:
            shape = _add(built, entry, shape)
        except OptionError as error:
            raise OptionError(f"layers[{number}]: {error}") from None
    return built


def _add(built: Built, entry: Mapping[str, Any], shape: list[int]) -> list[int]:
    """Append the layers of one `entry` for rows of `shape`, and return their output shape."""
    kind = _known("layer type", entry.get("type", ""), LAYERS)
    make, known = LAYERS[kind]
    if kind != "dense":
        _check_options(f"layer {kind}", entry, (*known, "trainable"))
        if entry.get("trainable") is False and kind == "batchnorm":
            built.frozen.append(f"{len(built.layers)}.*")
        layer = make(entry, shape)
        if layer is not None:
            built.layers.append(layer)
        return [math.prod(shape)] if kind == "flatten" else shape
    _check_options("layer dense", entry, DENSE)
    place, units = len(built.layers), entry.get("units")
    if not isinstance(units, int) or units < 1:
        raise OptionError(f"a dense layer needs a positive number of units, not {units!r}.")
    start = entry.get("init") or entry.get("kernel_initializer") or "glorot_uniform"
    bias = entry.get("bias_init") or entry.get("bias_initializer") or "zeros"
    built.layers.append(
        nn.Linear(
            shape[-1], units, entry.get("use_bias") is not False, initializer_of(start),
            initializer_of(bias),
        )
    )  # fmt: skip
    if entry.get("trainable") is False:
        built.frozen.append(f"{place}.*")
    if (penalty := _penalty(entry)) is not None:
        built.regularizers[f"{place}.weight"] = penalty
    if (activation := activation_of(entry.get("activation"))) is not None:
        built.layers.append(activation)
    if entry.get("dropout"):
        built.layers.append(nn.Dropout(entry["dropout"]))
    return [*shape[:-1], units]


def _penalty(entry: Mapping[str, Any]) -> Any:
    """Return the penalty on a layer's weights, which is written "l2(0.01)" or l2=0.01."""
    text = entry.get("regularizer") or entry.get("kernel_regularizer")
    l1, l2 = float(entry.get("l1") or 0.0), float(entry.get("l2") or 0.0)
    if text:
        parts = re.fullmatch(r"(l1|l2|l1_l2)(?:\((.*)\))?", str(text).strip().lower())
        try:
            given = [float(n.split("=")[-1]) for n in (parts[2] or "0.01").split(",")]  # type: ignore[index]
        except (TypeError, ValueError):
            raise OptionError(
                f"unknown Keras regularizer {text!r}; write it as in 'l2(0.01)'."
            ) from None
        assert parts is not None
        l1 = given[0] if parts[1] != "l2" else l1
        l2 = given[-1] if parts[1] != "l1" else l2
    return nn.L1L2(l1, l2) if l1 or l2 else None


Make = Callable[[Mapping[str, Any], Sequence[int]], Any]


def _set(entry: Mapping[str, Any], name: str, default: float) -> float:
    """Return the number `name` of an entry, or `default` if it is not given."""
    value = entry.get(name)
    return default if value is None else float(value)


def _batch_norm(entry: Mapping[str, Any], shape: Sequence[int]) -> Any:
    kept = _set(entry, "momentum", 0.99)
    return nn.BatchNorm(shape[-1], 1 - kept, _set(entry, "epsilon", 1e-3))


_BATCH_NORM = (_batch_norm, ("momentum", "epsilon"))
_DROPOUT = (lambda e, s: nn.Dropout(_set(e, "rate", 0.5)), ("rate",))
_NOISE = (lambda e, s: nn.GaussianNoise(_set(e, "stddev", 0.1)), ("stddev",))
_LEAKY = (lambda e, s: nn.LeakyReLU(_set(e, "alpha", 0.3)), ("alpha",))
_FLATTEN = (lambda e, s: nn.Flatten(), ())
_NOTHING = (lambda e, s: None, ("shape",))
# For each layer type, a function of the entry and the input shape, and the known options.
LAYERS: dict[str, tuple[Make, tuple[str, ...]]] = {
    "dense": (_NOTHING[0], DENSE),
    "dropout": _DROPOUT,
    "gaussiannoise": _NOISE,
    "gaussian_noise": _NOISE,
    "batchnorm": _BATCH_NORM,
    "batch_norm": _BATCH_NORM,
    "batchnormalization": _BATCH_NORM,
    "batch_normalization": _BATCH_NORM,
    "layernorm": (lambda e, s: nn.LayerNorm(s[-1], _set(e, "epsilon", 1e-3)), ("epsilon",)),
    "activation": (lambda e, s: activation_of(e.get("activation")), ("activation",)),
    "relu": (lambda e, s: nn.ReLU(), ()),
    "leaky_relu": _LEAKY,
    "leakyrelu": _LEAKY,
    "elu": (lambda e, s: nn.ELU(_set(e, "alpha", 1.0)), ("alpha",)),
    "prelu": (lambda e, s: nn.PReLU(s[-1], 0.0), ()),
    "thresholded_relu": (lambda e, s: ThresholdedReLU(_set(e, "theta", 1.0)), ("theta",)),
    "softmax": (lambda e, s: Softmax(), ()),
    "flatten": _FLATTEN,
    "input": _NOTHING,
    "inputlayer": _NOTHING,
}


@dataclass(frozen=True)
class InverseTime(Schedule):
    """``start / (1 + decay * s)``, the effect of `decay` on the learning rate in Keras 2."""

    start: float
    decay: float
    counts: ClassVar[tuple[str, ...]] = ()

    def levels(self) -> Iterable[float]:
        return (self.start,)

    def value(self, h: Mapping[str, Tensor], s: Tensor) -> Tensor:
        return h["start"] / (1.0 + h["decay"] * s)


@dataclass(frozen=True)
class Adamax(Optimizer):
    """Adam with the infinity norm: ``u = max(beta2 * u, |g|)`` replaces the square root of v.

    ``p = p - learning_rate * m / (1 - beta1^t) / (u + epsilon)``.  Source: Kingma and Ba, 2015.
    """

    learning_rate: float | Schedule = 2e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-7

    def slots(self) -> tuple[str, ...]:
        return ("m", "u")

    def update(
        self, g: Tensor, p: Tensor, slots: Slots, h: Mapping[str, Tensor], t: Tensor
    ) -> tuple[Tensor, Slots]:
        kept, new = h["beta1"].astype(g.dtype), (1 - h["beta1"]).astype(g.dtype)
        m = kept * slots["m"] + new * g
        u = maximum(h["beta2"].astype(g.dtype) * slots["u"], abs(g))
        rate = (h["learning_rate"] / (1 - h["beta1"] ** t)).astype(g.dtype)
        return -(rate * m / (u + h["epsilon"].astype(g.dtype))), {"m": m, "u": u}


_ADAM = {"beta_1": "beta1", "beta_2": "beta2", "beta1": "beta1", "beta2": "beta2"}
_EPSILON = {"epsilon": "epsilon"}
# The class of each optimizer, Keras's default rate and other defaults, and the option names.
OPTIMIZERS: dict[str, tuple[Callable[..., Optimizer], float, dict[str, Any], dict[str, str]]] = {
    "sgd": (optim.SGD, 0.01, {}, {"momentum": "momentum", "nesterov": "nesterov"}),
    "adam": (optim.Adam, 0.001, {"epsilon": 1e-7}, _ADAM | _EPSILON),
    "adamw": (
        optim.AdamW, 0.001, {"epsilon": 1e-7, "weight_decay": 0.004},
        _ADAM | _EPSILON | {"weight_decay": "weight_decay"},
    ),
    "adamax": (Adamax, 0.002, {}, _ADAM | _EPSILON),
    "nadam": (
        optim.Nadam, 0.002, {"epsilon": 1e-7},
        _ADAM | _EPSILON | {"schedule_decay": "momentum_decay"},
    ),
    "rmsprop": (
        optim.RMSProp, 0.001, {"rho": 0.9, "epsilon": 1e-7},
        _EPSILON | {"rho": "rho", "momentum": "momentum", "centered": "centered"},
    ),
    "adagrad": (optim.AdaGrad, 0.01, {"epsilon": 1e-7}, _EPSILON),
    "adadelta": (optim.AdaDelta, 1.0, {"epsilon": 1e-7}, _EPSILON | {"rho": "rho"}),
}  # fmt: skip
CLIPS = {
    "clipnorm": optim.ClipNorm,
    "global_clipnorm": optim.ClipNorm,
    "clipvalue": optim.ClipValue,
}


def optimizer_of(options: Mapping[str, Any], frozen: Sequence[str] = ()) -> Optimizer:
    """Return the optimizer for Keras's `options`: name, lr and its other options.

    Options that are None have the defaults of Keras 2, and clipnorm limits the norm of all
    gradients together, as in Keras up to 2.2.  Parameters that match a pattern of `frozen` are not
    trained.  Raises OptionError for an unknown name or option.

    >>> optimizer_of({"name": "sgd", "lr": 0.1, "clipnorm": 1})
    Chain(members=(ClipNorm(max_norm=1.0), SGD(learning_rate=0.1, ...)))
    """
    name = _known("optimizer", options.get("name", ""), OPTIMIZERS)
    kind, usual_rate, defaults, names = OPTIMIZERS[name]
    extra = ("name", "lr", "learning_rate", "decay", "amsgrad", *CLIPS)
    _check_options(f"optimizer {name}", options, (*extra, *names))
    given = next((options[key] for key in ("lr", "learning_rate") if options.get(key)), usual_rate)
    rate: float | Schedule = float(given)
    if options.get("decay"):
        rate = InverseTime(float(given), float(options["decay"]))
    chosen = {names[key]: v for key, v in options.items() if key in names and v is not None}
    if name == "sgd" and not chosen.get("momentum"):
        chosen.pop("nesterov", None)  # without momentum it has no effect
    if options.get("amsgrad"):
        if name != "adam":
            raise OptionError(f"Keras optimizer {name} does not have the option amsgrad.")
        kind = optim.AMSGrad
    method = kind(learning_rate=rate, **{**defaults, **chosen})
    clips = [CLIPS[key](float(options[key])) for key in CLIPS if options.get(key)]
    if frozen:
        method = optim.groups(dict.fromkeys(frozen, optim.freeze), default=method)
    return optim.chain(*clips, method) if clips else method
