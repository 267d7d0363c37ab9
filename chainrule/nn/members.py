"""Several networks trained as one: layers whose units belong to members, and the members' average.

An average of networks that differ is better than one of them, and more so the more they differ.
Members that share most of their weights cost little more than one network of their total width.

Read next: :mod:`chainrule.tabular.build`, which makes ensembles of these layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from chainrule.core.errors import OptionError, ShapeError, did_you_mean
from chainrule.core.options import check_whole, float_dtype
from chainrule.core.parameter import Parameter
from chainrule.core.tensor import Tensor
from chainrule.nn.initializers import Constant, GlorotUniform, Initializer, initializer
from chainrule.ops.composite import logsumexp, softplus, square
from chainrule.ops.elementary import exp
from chainrule.ops.training import penalizing

__all__ = ["AverageMembers", "MemberLinear"]

_weights: ContextVar[Tensor | None] = ContextVar("weights of members", default=None)


@contextmanager
def member_weights(weights: Tensor) -> Iterator[None]:
    """Let members that are averaged while a model is called count by `weights`, (n, members).

    The weights of a row sum to 1.
    """
    token = _weights.set(weights)
    try:
        yield
    finally:
        _weights.reset(token)


def _divided(owner: str, x: Tensor, members: int, width: int | None = None) -> Tensor:
    """Return the rows of `x`, (n, members * width), as (n, members, width)."""
    units = x.shape[1] if x.ndim == 2 else None
    if not isinstance(units, int) or units % members or width not in (None, units // members):
        need = f"{members} * {width}" if width else f"a multiple of {members}"
        raise ShapeError(f"{owner} needs rows of {need} features, but got shape {x.shape}.")
    return x.reshape((x.shape[0], members, units // members))


@dataclass(eq=False)
class MemberLinear:
    """A linear layer for each of several members, which share their weights up to factors.

    A row holds the units of each member one after the other: x = (x_1, ..., x_members), and
    ``y_j = (x_j * factor_j) @ weight + bias_j``.  x: (n, members * inputs), weight:
    (inputs, outputs), factor: (members, inputs), bias: (members, outputs), y: (n, members *
    outputs).  The factors start at 1 and biases, by default, at 0, so members differ only as far as
    their inputs do: put a :class:`~chainrule.nn.layer.Linear` of ``members * inputs`` outputs,
    which gives each its own weights, before the first of these layers.  The factors do not decay.

    Raises OptionError for sizes that are not positive integers, and ShapeError for an input of
    another width.  Source: Wen, Tran and Ba, "BatchEnsemble", 2020, and for tables Gorishniy,
    Kotelnikov and Babenko, "TabM", 2024.

    >>> import chainrule as cr
    >>> layer = MemberLinear(2, 1, 1)
    >>> layer.weight.value, layer.factor.value = [[3.0]], [[1.0], [10.0]]
    >>> layer(cr.tensor([[1.0, 2.0]]))
    Tensor([[ 3., 60.]], f32[1,2])
    """

    members: int
    inputs: int
    outputs: int
    weight_init: str | Initializer | None = None
    bias_init: str | float | Initializer = "zeros"
    dtype: str = "float32"
    weight: Parameter = field(init=False, repr=False)
    factor: Parameter = field(init=False, repr=False)
    bias: Parameter = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("members", "inputs", "outputs"):
            setattr(self, name, check_whole(f"MemberLinear: {name}", getattr(self, name)))
        self.dtype = float_dtype("MemberLinear: dtype", self.dtype)
        start = GlorotUniform() if self.weight_init is None else initializer(self.weight_init)
        self.weight = Parameter((self.inputs, self.outputs), start, self.dtype, "weight")
        self.factor = self._own(self.inputs, Constant(1.0), "factor")
        self.bias = self._own(self.outputs, initializer(self.bias_init), "bias")

    def _own(self, units: int, start: Initializer, name: str) -> Parameter:
        shape = (self.members, units)
        return Parameter(shape, start, self.dtype, name, is_weight=False)

    @property
    def row_width(self) -> int:
        """The number of features of a row: the inputs of all members."""
        return self.members * self.inputs

    def start(self, choice: Initializer) -> None:
        """Set the initializer of the weights."""
        self.weight.initializer = choice

    def __call__(self, x: Tensor) -> Tensor:
        parts = _divided("MemberLinear", x, self.members, self.inputs)
        y = (parts * self.factor) @ self.weight + self.bias
        return y.reshape((x.shape[0], self.members * self.outputs))


# For each loss ``c(z) - t z`` (plus what does not depend on z) of an output z and target t, the
# convex function c: how much it falls by averaging outputs does not depend on the target.
_CONVEX: dict[str, Callable[[Tensor], Tensor]] = {
    "mse": square,
    "cross_entropy": logsumexp,
    "binary_cross_entropy": softplus,
    "poisson": exp,
}


@dataclass(eq=False)
class AverageMembers:
    """Average the outputs of members; in training, each is trained as if it were alone.

    ``y = mean of x_j`` over the members, whose outputs a row holds one after the other.  x: (n,
    members * k), y: (n, k).  For classes this is the geometric mean of their probabilities.

    The mean loss of the members is the loss of their average plus how far they are spread, which
    does not depend on the target: ``mean of c(x_j) - c(y)``, with c(z) = z² for mse,
    log(sum(exp(z))) for cross_entropy, log(1 + exp(z)) for binary_cross_entropy and exp(z) for
    poisson.  Training adds this spread, the mean over rows, to its loss as a penalty: without it
    members need not predict well themselves, and learn less that is general.  `loss` names the
    loss; other losses of numbers take "mse", None adds nothing.  Weights of rows do not weigh it.

    Raises OptionError for an unknown loss, and ShapeError for rows that can't be divided.
    Source: Krogh and Vedelsby, "Neural network ensembles, cross validation, and active
    learning", 1995.

    >>> import chainrule as cr
    >>> AverageMembers(2, "mse")(cr.tensor([[1.0, 5.0]]))
    Tensor([[3.]], f32[1,1])
    """

    members: int
    loss: str | None = "mse"

    def __post_init__(self) -> None:
        self.members = check_whole("AverageMembers: members", self.members)
        if self.loss not in (None, *_CONVEX):
            hint = did_you_mean(str(self.loss), _CONVEX)
            raise OptionError(f"AverageMembers: unknown loss {self.loss!r}. {hint}")

    def __call__(self, x: Tensor) -> Tensor:
        parts, weights = _divided("AverageMembers", x, self.members), _weights.get()
        y = _averaged(parts, weights)
        if self.loss is None:
            return y
        convex = _CONVEX[self.loss]
        return penalizing(y, _averaged(convex(parts), weights).mean() - convex(y).mean())


def _averaged(parts: Tensor, weights: Tensor | None) -> Tensor:
    """Return the average over the members, axis 1 of `parts`, (n, members) or (n, members, k)."""
    if weights is None:
        return parts.mean(1)
    return ((weights if parts.ndim == 2 else weights[:, :, None]) * parts).sum(1)
