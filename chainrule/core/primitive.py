"""The record that defines one operation, and the registry of all of them.

One record holds everything chainrule knows about an operation: its type rule,
its NumPy implementation, its gradient rule as graph nodes, its scalar rule for a
native compiler, its formula, slopes and chain rule in words, its ONNX name, and the
domain its tests draw from.  To add an operation, add one record to a module of
:mod:`chainrule.ops`; tests, gradient checks and explanations use the registry.

Read next: :mod:`chainrule.core.tensor`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.core.spec import Spec

__all__ = ["Description", "Primitive", "ScalarBuilder", "lookup", "register", "registry"]


class ScalarBuilder(Protocol):
    """The operations that a scalar rule may use; every backend implements them.

    A scalar rule receives a builder and one opaque value per input and returns
    one value.  ``math`` names a function of one float (``exp``, ``log``, ``tanh`` ...);
    comparisons give booleans for ``select``.
    """

    def constant(self, value: float) -> Any: ...
    def add(self, x: Any, y: Any) -> Any: ...
    def sub(self, x: Any, y: Any) -> Any: ...
    def mul(self, x: Any, y: Any) -> Any: ...
    def div(self, x: Any, y: Any) -> Any: ...
    def pow(self, x: Any, y: Any) -> Any: ...
    def less(self, x: Any, y: Any) -> Any: ...
    def less_equal(self, x: Any, y: Any) -> Any: ...
    def equal(self, x: Any, y: Any) -> Any: ...
    def both(self, x: Any, y: Any) -> Any: ...
    def either(self, x: Any, y: Any) -> Any: ...
    def negate(self, x: Any) -> Any: ...
    def select(self, condition: Any, x: Any, y: Any) -> Any: ...
    def math(self, name: str, x: Any) -> Any: ...
    def convert(self, x: Any, dtype: str) -> Any: ...


@dataclass(frozen=True)
class Description:
    """The formula of an operation on inputs a, b, c, its slope to each input, and its chain rule.

    In a slope, `out` is the operation's value.  A slope with `upstream`, the gradient of `out`, is
    the whole gradient of the input.  An empty slope is 0, or has no short formula.  `words` state
    the chain rule, and `others` that of the inputs after the first where it differs.  Formulas
    are only for reading; the tests compare each with the operation's own rules.
    """

    formula: str
    slopes: tuple[str, ...]
    words: str
    others: str = ""

    def say(self, positions: Collection[int]) -> str:
        """Return the rule in words for the inputs at `positions`."""
        said = {(self.others or self.words) if k else self.words: None for k in sorted(positions)}
        return "; ".join(said)


@dataclass(frozen=True, eq=False)
class Primitive:
    """One operation.

    name
        Its name in printed graphs and in the registry.
    infer
        ``infer(*specs, **params) -> Spec``: the type rule; raises ShapeError or DTypeError.
    meaning
        ``meaning(*arrays, **params) -> array``: the NumPy implementation, which defines it.
    vjp
        ``vjp(g, out, *inputs, **params) -> tuple``: for each input the gradient tensor (or None)
        given the gradient `g` of the output, recorded as graph nodes.  None: not differentiable.
    scalar
        ``scalar(builder, *values, **params) -> value`` for elementwise operations, see
        :class:`ScalarBuilder`.
    elementwise
        Inputs broadcast against each other; gradients are summed back to each input's shape.
    promote
        The positions of inputs that are cast to their common dtype before recording.
    floating
        Integer inputs are cast to float before recording (as NumPy does for ``exp``).
    costly
        For compilers: computing it again costs more than storing it (an elementwise function).
    alias
        Its elements are those of its input, in the same order or repeated; nothing is computed.
    move
        Each element of its result is an element of an input at another position, or zero.
    product
        The kind of kernel that computes it, for operations that read their inputs as a whole.
    weighted
        A product of rows with weights, such as the weighted sum of a layer.
    note
        It marks what training does differently or in addition to the update, see
        :mod:`chainrule.ops.training`; engines never compute it.
    keeps_rows
        Row i of its result depends only on row i of its inputs, as long as rows are the first
        axis; for some operations a function of `params` that returns whether this holds.
        (Elementwise operations always keep rows.)
    indexed
        Its last input holds row indices of the first input or of the result, which may be out of
        range.
    linear
        A linear function of its inputs with constant factors: its gradient rule maps zero to
        zero, whatever the inputs are.
    increasing
        It increases with each of its inputs, so bounds of the inputs give bounds of the result.
    choice
        Each element is taken from one of its inputs; the others receive no gradient.
    undefined
        ``undefined(*numbers) -> str`` states why its value for these numbers is not finite, for
        example "a division by zero"; empty if it is finite or overflows.
    combine, identity
        For a reduction: ``combine(builder, x, y)`` joins two partial results, and
        ``identity(dtype)`` is the neutral element.
    leaf
        It has no inputs: a constant, parameter, or named input.
    domain
        The inputs of the generated tests: a function of a NumPy generator returning
        ``(arrays, params)``.
    onnx
        The ONNX operator it is exported to, if there is one.
    description
        Its formula, slopes and chain rule in words, see :class:`Description`.  An elementwise
        operation that has one can be used in the formulas of ``explain``.
    """

    name: str
    infer: Callable[..., Spec]
    meaning: Callable[..., Any]
    vjp: Callable[..., tuple[Any, ...]] | None = None
    scalar: Callable[..., Any] | None = None
    elementwise: bool = False
    promote: tuple[int, ...] = ()
    floating: bool = False
    costly: bool = False
    alias: bool = False
    move: bool = False
    product: str = ""
    weighted: bool = False
    note: bool = False
    keeps_rows: bool | Callable[..., bool] = False
    indexed: bool = False
    linear: bool = False
    increasing: bool = False
    choice: bool = False
    undefined: Callable[..., str] | None = None
    combine: Callable[[Any, Any, Any], Any] | None = None
    identity: Callable[[str], float] | None = None
    leaf: bool = False
    domain: Callable[[Any], tuple[list[Any], dict[str, Any]]] | None = None
    onnx: str | None = None
    description: Description | None = None

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        """Copy and pickle the operation by its name, as the registry holds the only one."""
        return lookup, (self.name,)


registry: dict[str, Primitive] = {}


def register(primitive: Primitive) -> Primitive:
    """Add `primitive` to the registry and return it; a name can be registered only once."""
    if primitive.name in registry:
        raise OptionError(f"a primitive named {primitive.name!r} is registered already.")
    registry[primitive.name] = primitive
    return primitive


def lookup(name: str) -> Primitive:
    """Return the primitive called `name`, or raise :class:`OptionError` with the closest name."""
    if name not in registry:
        raise OptionError(f"no primitive is named {name!r}. {did_you_mean(name, registry)}")
    return registry[name]
