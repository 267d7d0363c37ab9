"""The record that defines one operation, and the registry of all of them.

One record holds everything chainrule knows about an operation: its type rule,
its meaning in NumPy, its gradient rule as graph nodes, its scalar rule for a
native compiler, its formula, slopes and chain rule in words, its ONNX name, and the
domain its tests draw from.  To add an operation is to add one record in one file of
:mod:`chainrule.ops`; tests, gradient checks and explanations come from the registry.

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
    """What a scalar rule may say: the neutral vocabulary that every backend implements.

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
    """An operation on inputs a, b, c: `formula`, the slope to each input, its rule in `words`.

    In a slope, `out` is the operation's value; a rule with `upstream`, the gradient of that, is
    what the input receives as a whole.  An empty slope is none, or none to be written.  `others`
    are the words for the second input where they differ.  Formulas are for reading alone; the
    tests hold each to the operation's own rules.
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
        How graphs print it and the registry finds it.
    infer
        ``infer(*specs, **params) -> Spec``: the type rule; raises ShapeError or DTypeError.
    meaning
        ``meaning(*arrays, **params) -> array``: what it computes, in NumPy.  The definition.
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
        For compilers: computing it again costs more than keeping it (an elementwise function).
    alias
        Its elements are its input's, in the same order or repeated: nothing is computed.
    move
        Each element of its result is one of its input's at another place, or zero.
    product
        It reads its inputs whole; the name of the kind of kernel that computes it.
    weighted
        A product of rows with weights, the sum that a layer makes of its input.
    note
        It says what training does otherwise or beside the update, see
        :mod:`chainrule.ops.training`; no engine ever computes it.
    keeps_rows
        Row i of its result depends on row i of its inputs alone, as long as rows are the first
        axis; for some operations a function of its `params` that returns whether that is so.
        (Elementwise operations always keep rows.)
    indexed
        Its last input numbers rows of the first, or of the result; the numbers may be out of range.
    linear
        A linear function of its inputs with constant factors: a gradient of zero stays zero on its
        way back, whatever the inputs are.
    increasing
        It rises with each of its inputs, so bounds of the inputs give bounds of the result.
    choice
        It takes each element from one of its inputs; the others receive no gradient.
    undefined
        ``undefined(*numbers) -> str`` says in words why it has no finite value for these numbers,
        for example "a division by zero"; empty where it has one or overflows.
    combine, identity
        For a reduction: ``combine(builder, x, y)`` joins two partial results,
        ``identity(dtype)`` is the number that changes none.
    leaf
        No inputs: a constant, parameter, or named input.
    domain
        What the generated tests feed it: a function of a NumPy generator returning
        ``(arrays, params)``.
    onnx
        The ONNX operator it exports to, where there is one.
    description
        Its formula, slopes and chain rule in words, see :class:`Description`.  An elementwise
        operation with one is also a function of the formulas that ``explain`` reads.
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


registry: dict[str, Primitive] = {}


def register(primitive: Primitive) -> Primitive:
    """Add `primitive` to the registry and return it; a name can be taken only once."""
    if primitive.name in registry:
        raise OptionError(f"a primitive named {primitive.name!r} is registered already.")
    registry[primitive.name] = primitive
    return primitive


def lookup(name: str) -> Primitive:
    """Return the primitive called `name`, or raise :class:`OptionError` naming the nearest."""
    if name not in registry:
        raise OptionError(f"no primitive is named {name!r}. {did_you_mean(name, registry)}")
    return registry[name]
