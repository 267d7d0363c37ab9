"""A table of the properties of each activation function.

The documentation, the doctor and ``chainrule activations`` use it; tests check every entry
against the functions themselves.

Read next: :mod:`chainrule.nn.losses`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.nn.activations import activation
from chainrule.nn.layer import Layer
from chainrule.nn.maxout import Maxout

__all__ = ["Activation", "ActivationTable", "activations"]

INF = math.inf


@dataclass(frozen=True)
class Activation:
    """One activation function, with default options.

    low, high
        The range of its outputs; a limit may be infinite, or only approached.
    mean
        The mean output for standard normal inputs; `zero_centered` means that it is 0.
    saturates
        Where its slope approaches 0: "left" (for x towards -inf), "both" or "no".
    dies
        Whether a unit can stop learning: its slope is exactly 0 on a half-line.
    uses_exp
        Whether it needs an exp, tanh, erf or log.
    parameter_factor
        The number of its weights, relative to a Linear with as many units.
    initializer
        The name of an initializer that preserves the variance of its signals.
    """

    name: str
    layer: str
    equation: str
    low: float
    high: float
    mean: float
    saturates: str
    dies: bool
    uses_exp: bool
    initializer: str
    advice: str
    parameter_factor: float = 1.0

    @property
    def zero_centered(self) -> bool:
        """Whether outputs for symmetric inputs have mean 0, so gradients can have any sign."""
        return abs(self.mean) < 0.005

    @property
    def range(self) -> str:
        """The range as an interval, closed at limits that are reached in floating point.

        >>> activations().named("relu").range
        '[0, inf)'
        """
        left = "(-inf" if self.low == -math.inf else f"[{self.low:.4g}"
        return f"{left}, inf)" if self.high == math.inf else f"{left}, {self.high:.4g}]"

    def example(self) -> Layer:
        """Return an example layer for inputs (n, 1); for maxout, one that computes |x|."""
        if self.name != "maxout":
            return activation(self.name)
        layer = Maxout(1, 1)
        layer.weight[0].value, layer.weight[1].value = [[1.0]], [[-1.0]]
        return layer

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON values; an infinite limit of the range is null."""
        ends = {
            k: v if math.isfinite(v) else None for k, v in (("low", self.low), ("high", self.high))
        }
        return {**asdict(self), **ends, "zero_centered": self.zero_centered}


class ActivationTable(tuple[Activation, ...]):
    """All records, in the order in which to try them; prints as a table."""

    __slots__ = ()

    def named(self, name: str) -> Activation:
        """Return the record of that name; raise OptionError for an unknown name."""
        found = {record.name: record for record in self}
        if name not in found:
            raise OptionError(f"unknown activation {name!r}. {did_you_mean(name, found)}")
        return found[name]

    def __str__(self) -> str:
        """Return a line for each function, then the advice on each."""
        head = ("name", "equation", "range", "mean", "saturates", "dies", "exp", "weights", "start")
        rows = [
            (r.name, r.equation, r.range, f"{r.mean:.2f}", r.saturates, "yes" if r.dies else "no",
             "yes" if r.uses_exp else "no", f"{r.parameter_factor:g} x", r.initializer)
            for r in self
        ]  # fmt: skip
        widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
        lines = [
            "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (head, *rows)
        ]
        return "\n".join([*lines, "", *(f"{r.name}: {r.advice}" for r in self)])

    __repr__ = __str__


TABLE = ActivationTable(
    (
        Activation(
            "relu", "ReLU", "max(0, x)", 0, INF, 0.3989, "left", True, False, "he_uniform",
            "Use it first, and be careful with the learning rate: a unit that is 0 on all rows is "
            "dead. Biases of 0.01 make fewer start dead.",
        ),
        Activation(
            "leaky_relu", "LeakyReLU", "x if x > 0 else 0.01 x", -INF, INF, 0.3949, "no", False,
            False, "he_uniform", "Try it if ReLU units die; it costs no more.",
        ),
        Activation(
            "maxout", "Maxout", "max(x W1 + b1, x W2 + b2)", -INF, INF, 0.5642, "no", False, False,
            "maxout_normal",
            "Try it: ReLU and leaky ReLU are special cases, it does not saturate and does not die; "
            "it doubles the weights.",
            2.0,
        ),
        Activation(
            "elu", "ELU", "x if x > 0 else exp(x) - 1", -1, INF, 0.1605, "left", False, True,
            "he_uniform", "Try it: it does not die, and means are closer to zero; it costs an exp.",
        ),
        Activation(
            "prelu", "PReLU", "x if x > 0 else a x, a learned", -INF, INF, 0.2992, "no", False,
            False, "he_uniform", "Try it with many rows: a leaky ReLU with a learned slope.",
        ),
        Activation(
            "selu", "SELU", "1.0507 elu(x, 1.6733)", -1.758099, INF, 0.0, "left", False, True,
            "lecun_normal",
            "Try it in deep plain networks, with standardized inputs: it keeps means at 0 and "
            "variances at 1.",
        ),
        Activation(
            "gelu", "GELU", "x Phi(x)", -0.169971, INF, 0.2821, "left", False, True, "he_uniform",
            "A smooth ReLU, common in transformers; elsewhere rarely worth its cost.",
        ),
        Activation(
            "silu", "SiLU", "x sigmoid(x)", -0.278465, INF, 0.2066, "left", False, True,
            "he_uniform", "A smooth ReLU, common in deep networks for images.",
        ),
        Activation(
            "mish", "Mish", "x tanh(log(1 + exp(x)))", -0.308843, INF, 0.2404, "left", False, True,
            "he_uniform", "Similar to SiLU at a higher cost; try SiLU first.",
        ),
        Activation(
            "hard_swish", "HardSwish", "x clip(x + 3, 0, 6) / 6", -0.375, INF, 0.1662, "left", True,
            False, "he_uniform", "An approximation of SiLU for small processors; it can die.",
        ),
        Activation(
            "softplus", "Softplus", "log(1 + exp(x))", 0, INF, 0.8061, "left", False, True,
            "he_uniform",
            "Use it for outputs that must be positive; in hidden layers ReLU does as well.",
        ),
        Activation(
            "relu6", "ReLU6", "min(max(0, x), 6)", 0, 6, 0.3989, "both", True, False, "he_uniform",
            "A ReLU for low-precision arithmetic; otherwise use ReLU.",
        ),
        Activation(
            "tanh", "Tanh", "tanh(x)", -1, 1, 0.0, "both", False, True, "glorot_uniform",
            "Try it, but don't expect much: zero-centered, but gradients fade where it saturates.",
        ),
        Activation(
            "softsign", "Softsign", "x / (1 + |x|)", -1, 1, 0.0, "both", False, False,
            "glorot_uniform", "A tanh that saturates slowly and needs no exp.",
        ),
        Activation(
            "hard_tanh", "HardTanh", "clip(x, -1, 1)", -1, 1, 0.0, "both", True, False,
            "glorot_uniform", "A piecewise linear tanh; its gradient is 0 for |x| > 1.",
        ),
        Activation(
            "sigmoid", "Sigmoid", "1 / (1 + exp(-x))", 0, 1, 0.5, "both", False, True,
            "glorot_uniform",
            "Don't use it in hidden layers: it saturates, is not zero-centered and costs an exp. "
            "For outputs, use a loss that takes logits.",
        ),
        Activation(
            "hard_sigmoid", "HardSigmoid", "clip(x + 3, 0, 6) / 6", 0, 1, 0.5, "both", True, False,
            "glorot_uniform", "A gate without exp; not for hidden layers.",
        ),
        Activation(
            "identity", "Identity", "x", -INF, INF, 0.0, "no", False, False, "glorot_uniform",
            "No activation: layers separated by it form one linear layer, a baseline to compare "
            "with.",
        ),
    )
)  # fmt: skip


def activations() -> ActivationTable:
    """Return the properties of every activation function, in the order in which to try them.

    >>> table = activations()
    >>> [record.name for record in table if record.zero_centered and not record.uses_exp]
    ['softsign', 'hard_tanh', 'identity']
    >>> print(table.named("tanh").advice)
    Try it, but don't expect much: zero-centered, but gradients fade where it saturates.
    """
    return TABLE
