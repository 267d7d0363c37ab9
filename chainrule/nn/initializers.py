"""Initializers: functions of a shape and a generator that return a parameter's first value.

Weights are stored as (inputs, outputs), so ``fan_in, fan_out = shape``.  Too
large a variance saturates sigmoid and tanh, too small a variance lets signals
and gradients vanish from layer to layer; the LeCun, Glorot and He
initializers preserve it.

Sources: LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998; Glorot and
Bengio, "Understanding the difficulty of training deep feedforward neural
networks", 2010; He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015.

Read next: :mod:`chainrule.nn.layer`, and :mod:`chainrule.nn.lsuv`, which uses the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError, ShapeError, did_you_mean
from chainrule.core.options import check_whole, in_range, is_number

__all__ = [
    "Constant",
    "Eye",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "LeCunNormal",
    "LeCunUniform",
    "MaxoutNormal",
    "Orthogonal",
    "Sparse",
    "TruncatedNormal",
    "Zeros",
    "initializer",
]

Initializer = Callable[[tuple[int, ...], np.random.Generator], Any]


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) < 2:
        raise ShapeError(
            f"a parameter of shape {shape} has no fan-in and fan-out; use Zeros or Constant."
        )
    return math.prod(shape[:-1]), shape[-1]


def _uniform(variance: float, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
    limit = math.sqrt(3 * variance)
    return generator.uniform(-limit, limit, shape)


@dataclass(frozen=True)
class GlorotUniform:
    """Draw from U(-a, a) with ``a = sqrt(6 / (fan_in + fan_out))``, for tanh and sigmoid.

    >>> w = GlorotUniform()((100, 50), np.random.default_rng(0))
    >>> bool(abs(w).max() <= (6 / 150) ** 0.5)
    True
    """

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        return _uniform(2 / sum(_fans(shape)), shape, generator)


@dataclass(frozen=True)
class GlorotNormal:
    """Draw from N(0, s²) with ``s = sqrt(2 / (fan_in + fan_out))``, for tanh and sigmoid."""

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        return generator.normal(0.0, math.sqrt(2 / sum(_fans(shape))), shape)


@dataclass(frozen=True)
class HeUniform:
    """Draw from U(-a, a) with ``a = sqrt(6 / ((1 + slope²) fan_in))``, for ReLU and its variants.

    `slope` is that of a leaky ReLU for x < 0; it is 0 for ReLU.  Raises OptionError for a slope
    that is not a finite number.
    """

    slope: float = 0.0

    def __post_init__(self) -> None:
        in_range(self, "slope", -math.inf, math.inf, open_low=True)

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        return _uniform(2 / ((1 + self.slope**2) * _fans(shape)[0]), shape, generator)


@dataclass(frozen=True)
class HeNormal:
    """Draw from N(0, s²) with ``s = sqrt(2 / ((1 + slope²) fan_in))``, for ReLU and its variants.

    `slope` is that of a leaky ReLU for x < 0; it is 0 for ReLU.  Raises OptionError for a slope
    that is not a finite number.
    """

    slope: float = 0.0

    def __post_init__(self) -> None:
        in_range(self, "slope", -math.inf, math.inf, open_low=True)

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        spread = math.sqrt(2 / ((1 + self.slope**2) * _fans(shape)[0]))
        return generator.normal(0.0, spread, shape)


@dataclass(frozen=True)
class LeCunUniform:
    """Draw from U(-a, a) with ``a = sqrt(3 / fan_in)``: the variance of LeCunNormal."""

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        return _uniform(1 / _fans(shape)[0], shape, generator)


@dataclass(frozen=True)
class LeCunNormal:
    """Draw from N(0, s²) with ``s = sqrt(1 / fan_in)``, for SELU and for linear layers."""

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        return generator.normal(0.0, math.sqrt(1 / _fans(shape)[0]), shape)


@dataclass(frozen=True)
class MaxoutNormal:
    """Draw from N(0, s²) with ``s = sqrt(1 / (m fan_in))``, for :class:`~chainrule.nn.Maxout`.

    m is the mean square of the largest of `pieces` standard normal numbers, 1 for two pieces
    and 1.55 for four.  Source: Tseran and Montúfar, "Expected gradients of maxout networks and
    consequences to parameter initialization", 2023.  Raises OptionError for invalid `pieces`.
    """

    pieces: int = 2

    def __post_init__(self) -> None:
        check_whole("MaxoutNormal: pieces", self.pieces)

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        # The maximum of k numbers with density f and CDF F has the density k f(x) F(x)^(k - 1).
        x = np.linspace(-12.0, 12.0, 2401)
        below = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x])
        density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        mean_square = (x * x * self.pieces * density * below ** (self.pieces - 1)).sum() * 0.01
        return generator.normal(0.0, math.sqrt(1 / (mean_square * _fans(shape)[0])), shape)


@dataclass(frozen=True)
class TruncatedNormal:
    """Draw from N(0, s²) with s = `spread`, and redraw values beyond 2 s.

    Raises OptionError for a `spread` that is not above 0.
    """

    spread: float = 0.02

    def __post_init__(self) -> None:
        in_range(self, "spread", 0.0, math.inf, open_low=True)

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        drawn = generator.normal(size=shape)
        while (far := np.abs(drawn) > 2).any():
            drawn[far] = generator.normal(size=int(far.sum()))
        return self.spread * drawn


@dataclass(frozen=True)
class Orthogonal:
    """Draw a random matrix with orthonormal rows (or columns, if they are fewer), times `gain`.

    A square one preserves the norm of signals and gradients, through any number of layers.
    Raises OptionError for a `gain` that is not above 0.
    Source: Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning
    in deep linear neural networks", 2014.

    >>> w = Orthogonal()((3, 3), np.random.default_rng(0))
    >>> bool(np.allclose(w.T @ w, np.eye(3)))
    True
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        in_range(self, "gain", 0.0, math.inf, open_low=True)

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        rows, columns = _fans(shape)
        q, r = np.linalg.qr(generator.normal(size=(max(rows, columns), min(rows, columns))))
        q = q * np.sign(np.diagonal(r))  # makes every rotation equally likely
        return self.gain * (q if rows >= columns else q.T).reshape(shape)


@dataclass(frozen=True)
class Eye:
    """Fill with the identity matrix, so that at first the layer returns its inputs.

    Rows or columns beyond the square are 0.
    Source: Le, Jaitly and Hinton, "A simple way to initialize recurrent networks of rectified
    linear units", 2015.
    """

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        return np.eye(*_fans(shape)).reshape(shape)


@dataclass(frozen=True)
class Sparse:
    """Give each unit `connections` weights from N(0, spread²), to random inputs, and else 0.

    Units then differ from the start, however many inputs there are.  Units of a layer with fewer
    inputs are connected to all of them.  Raises OptionError for options out of range.
    Source: Martens, "Deep learning via Hessian-free optimization", 2010.
    """

    connections: int = 15
    spread: float = 1.0

    def __post_init__(self) -> None:
        check_whole("Sparse: connections", self.connections)
        in_range(self, "spread", 0.0, math.inf, open_low=True)

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        inputs, units = _fans(shape)
        order = generator.random((inputs, units)).argsort(axis=0)
        kept = order < min(self.connections, inputs)
        return np.where(kept, generator.normal(0.0, self.spread, kept.shape), 0.0).reshape(shape)


@dataclass(frozen=True)
class Zeros:
    """Fill with 0, the usual initial value of biases."""

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        return np.zeros(shape)


@dataclass(frozen=True)
class Constant:
    """Fill with `value`; 0.01 for the biases of ReLU units makes fewer of them start dead.

    Raises OptionError for a value that is not a finite number.

    >>> Constant(0.01)((2,), np.random.default_rng(0))
    array([0.01, 0.01])
    """

    value: float

    def __post_init__(self) -> None:
        in_range(self, "value", -math.inf, math.inf, open_low=True)

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        return np.full(shape, self.value)


BY_NAME: dict[str, Initializer] = {
    "glorot_uniform": GlorotUniform(),
    "glorot_normal": GlorotNormal(),
    "he_uniform": HeUniform(),
    "he_normal": HeNormal(),
    "lecun_uniform": LeCunUniform(),
    "lecun_normal": LeCunNormal(),
    "maxout_normal": MaxoutNormal(),
    "truncated_normal": TruncatedNormal(),
    "orthogonal": Orthogonal(),
    "identity": Eye(),
    "sparse": Sparse(),
    "zeros": Zeros(),
}


def initializer(choice: str | float | Initializer) -> Initializer:
    """Return the initializer of that name, one that fills with a number, or `choice` itself.

    Raises OptionError for an unknown name, with the nearest one, and for any other type.

    >>> initializer(0.01)
    Constant(value=0.01)
    """
    if is_number(choice):
        return Constant(float(choice))  # type: ignore[arg-type]
    if callable(choice) and not isinstance(choice, type):
        return choice
    if not isinstance(choice, str):
        name = f"the class {choice.__name__}; call it" if isinstance(choice, type) else repr(choice)
        raise OptionError(
            f"an initializer must be a name, a number or a function (shape, generator), not {name}."
        )
    if choice not in BY_NAME:
        raise OptionError(f"unknown initializer {choice!r}. {did_you_mean(choice, BY_NAME)}")
    return BY_NAME[choice]
