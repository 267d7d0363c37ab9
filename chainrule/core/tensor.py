"""The Tensor class: a handle on a node of a graph.

Numbers and arrays become constants; an operator adds a node and returns a
handle on it.  Nothing is computed until a value is needed (``.numpy()``,
``float()``, printing), which runs the reference interpreter.  Dtypes follow
NumPy's rules, except that Python floats are float32.

Read next: :mod:`chainrule.core.parameter`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias
from weakref import ref

import numpy as np
from numpy.typing import DTypeLike

from chainrule.core.errors import DTypeError, GraphError, OptionError, ShapeError
from chainrule.core.graph import Node
from chainrule.core.handle import Handle
from chainrule.core.indexing import fill_in, normalize_axes, plan_index
from chainrule.core.primitive import Primitive, lookup, register, registry
from chainrule.core.recall import unknown
from chainrule.core.spec import Spec, as_dtype, is_float

__all__ = ["Tensor", "TensorLike", "as_tensor", "input", "record", "tensor"]

Array: TypeAlias = "np.ndarray[Any, Any]"
TensorLike: TypeAlias = "Tensor | Array | float | int | bool | Sequence[Any]"
Axis: TypeAlias = "int | Sequence[int] | None"


def _leaf_infer(**params: Any) -> Spec:
    spec: Spec = params["spec"]
    return spec


def _leaf_meaning(**params: Any) -> Array:
    raise GraphError(f"no value was given for {params['name']!r}.")


LARGE = 4096  # bytes: only for larger arrays is it worth looking for an earlier use
_constants: dict[int, tuple[Callable[[], Any], Callable[[], Any]]] = {}  # by the array's id
CONSTANT = register(
    Primitive(
        "constant",
        infer=lambda value: Spec(value.shape, value.dtype),
        meaning=lambda value: value,
        leaf=True,
    )
)
INPUT = register(Primitive("input", infer=_leaf_infer, meaning=_leaf_meaning, leaf=True))


class Tensor(Handle):
    """A handle on one value of a graph.  Make one with :func:`tensor` or :func:`input`.

    >>> import chainrule as cr
    >>> x = cr.tensor(2.0)
    >>> float(x * 3 + 1)
    7.0
    """

    __slots__ = ()

    @property
    def T(self) -> Tensor:
        """The tensor with its axes reversed."""
        return self.transpose()

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Tensor:
        """Record NumPy's elementwise functions that chainrule has; raise DTypeError for others."""
        name = ufunc.__name__
        out = options.pop("out", inputs[:1])
        if method == "__call__" and not options and out[0] is inputs[0]:
            primitive = registry.get(_OURS.get(name, name))
            if name == "matmul":
                return _matmul(*map(_operand, inputs))
            if name in ("greater", "greater_equal"):
                return record(lookup(name.replace("greater", "less")), *inputs[::-1])
            if name == "not_equal":
                return ~record(lookup("equal"), *inputs)
            if primitive is not None and primitive.elementwise:
                return record(primitive, *inputs)
        raise DTypeError(
            f"numpy.{name} can't be applied to a tensor; use chainrule's function "
            f"(chainrule.{_OURS.get(name, name)}, if there is one), or pass NumPy .numpy()."
        )

    # --- operators: each looks its primitive up by name ------------------------------------

    def __add__(self, other: TensorLike) -> Tensor:
        return record(lookup("add"), self, other)

    def __radd__(self, other: TensorLike) -> Tensor:
        return record(lookup("add"), other, self)

    def __sub__(self, other: TensorLike) -> Tensor:
        return record(lookup("sub"), self, other)

    def __rsub__(self, other: TensorLike) -> Tensor:
        return record(lookup("sub"), other, self)

    def __mul__(self, other: TensorLike) -> Tensor:
        return record(lookup("mul"), self, other)

    def __rmul__(self, other: TensorLike) -> Tensor:
        return record(lookup("mul"), other, self)

    def __truediv__(self, other: TensorLike) -> Tensor:
        return record(lookup("div"), self, other)

    def __rtruediv__(self, other: TensorLike) -> Tensor:
        return record(lookup("div"), other, self)

    def __pow__(self, other: TensorLike) -> Tensor:
        return record(lookup("pow"), self, other)

    def __rpow__(self, other: TensorLike) -> Tensor:
        return record(lookup("pow"), other, self)

    def __matmul__(self, other: TensorLike) -> Tensor:
        return _matmul(self, _operand(other, self))

    def __rmatmul__(self, other: TensorLike) -> Tensor:
        return _matmul(_operand(other, self), self)

    def __neg__(self) -> Tensor:
        return record(lookup("neg"), self)

    def __abs__(self) -> Tensor:
        return record(lookup("abs"), self)

    def __lt__(self, other: TensorLike) -> Tensor:
        return record(lookup("less"), self, other)

    def __le__(self, other: TensorLike) -> Tensor:
        return record(lookup("less_equal"), self, other)

    def __gt__(self, other: TensorLike) -> Tensor:
        return record(lookup("less"), other, self)

    def __ge__(self, other: TensorLike) -> Tensor:
        return record(lookup("less_equal"), other, self)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return record(lookup("equal"), self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return record(lookup("logical_not"), self == other)

    def __and__(self, other: TensorLike) -> Tensor:
        return record(lookup("logical_and"), self, other)

    def __rand__(self, other: TensorLike) -> Tensor:
        return record(lookup("logical_and"), other, self)

    def __or__(self, other: TensorLike) -> Tensor:
        return record(lookup("logical_or"), self, other)

    def __ror__(self, other: TensorLike) -> Tensor:
        return record(lookup("logical_or"), other, self)

    def __invert__(self) -> Tensor:
        return record(lookup("logical_not"), self)

    __hash__ = object.__hash__

    # --- methods ---------------------------------------------------------------------------

    def astype(self, dtype: DTypeLike) -> Tensor:
        """Return the tensor converted to `dtype`; itself when it has that dtype already."""
        target = as_dtype(dtype)
        return self if target == self.dtype else record(lookup("cast"), self, dtype=target.name)

    def reshape(self, *shape: Any) -> Tensor:
        """Return the elements in row-major order with another shape; one length may be -1."""
        entries = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        target = fill_in(self.shape, tuple(entries))
        return self if target == self.shape else record(lookup("reshape"), self, shape=target)

    def transpose(self, *axes: int) -> Tensor:
        """Return the tensor with its axes permuted; reversed when no axes are given."""
        order = axes or tuple(reversed(range(self.ndim)))
        return record(lookup("transpose"), self, axes=normalize_axes(order, self.ndim))

    # numpy.sum, numpy.max and numpy.mean call these methods with dtype=None and out=None.

    def sum(
        self, axis: Axis = None, keepdims: bool = False, dtype: None = None, out: None = None
    ) -> Tensor:
        """Return the sum over `axis` (all axes when None)."""
        _refuse_numpy("sum", dtype, out)
        axes = normalize_axes(axis, self.ndim)
        return record(lookup("sum"), self, axes=axes, keepdims=keepdims)

    def max(self, axis: Axis = None, keepdims: bool = False, out: None = None) -> Tensor:
        """Return the largest element over `axis` (all axes when None)."""
        _refuse_numpy("max", None, out)
        axes = normalize_axes(axis, self.ndim)
        return record(lookup("max"), self, axes=axes, keepdims=keepdims)

    def min(self, axis: Axis = None, keepdims: bool = False, out: None = None) -> Tensor:
        """Return the smallest element over `axis` (all axes when None)."""
        _refuse_numpy("min", None, out)
        return _reversed(_reversed(self).max(axis, keepdims))

    def any(self, axis: Axis = None, keepdims: bool = False, out: None = None) -> Tensor:
        """Return whether any element over `axis` is not 0 (all axes when None)."""
        _refuse_numpy("any", None, out)
        return self.astype(np.bool_).max(axis, keepdims)

    def all(self, axis: Axis = None, keepdims: bool = False, out: None = None) -> Tensor:
        """Return whether no element over `axis` is 0 (all axes when None)."""
        _refuse_numpy("all", None, out)
        return self.astype(np.bool_).min(axis, keepdims)

    def argmax(self, axis: int | None = None, out: None = None) -> Tensor:
        """Return the index of the (first) largest element along `axis`, or in the flat tensor."""
        _refuse_numpy("argmax", None, out)
        if axis is None:
            return record(lookup("argmax"), self.reshape(-1), axis=0)
        return record(lookup("argmax"), self, axis=normalize_axes(axis, self.ndim)[0])

    def argmin(self, axis: int | None = None, out: None = None) -> Tensor:
        """Return the index of the (first) smallest element along `axis`, or in the flat tensor."""
        _refuse_numpy("argmin", None, out)
        return _reversed(self).argmax(axis)

    def mean(
        self, axis: Axis = None, keepdims: bool = False, dtype: None = None, out: None = None
    ) -> Tensor:
        """Return the mean over `axis` (all axes when None): the sum divided by the count."""
        _refuse_numpy("mean", dtype, out)
        axes = normalize_axes(axis, self.ndim)
        total = self.sum(axes, keepdims)
        if not is_float(total.dtype):
            total = total.astype(np.float64)
        lengths = tuple(self.shape[a] for a in axes)
        return total / record(lookup("count"), lengths=lengths, dtype=total.dtype.name)

    def var(
        self, axis: Axis = None, keepdims: bool = False, dtype: None = None, out: None = None,
        ddof: int = 0,
    ) -> Tensor:  # fmt: skip
        """Return the variance over `axis`, as :func:`chainrule.var`."""
        _refuse_numpy("var", dtype, out)
        axes = normalize_axes(axis, self.ndim)
        away = self - self.mean(axes, keepdims=True)
        squares = away * away
        if ddof == 0:
            return squares.mean(axes, keepdims)
        lengths, kind = tuple(self.shape[a] for a in axes), squares.dtype.name
        count = record(lookup("count"), lengths=lengths, dtype=kind)
        return squares.sum(axes, keepdims) / (count - ddof)

    def std(
        self, axis: Axis = None, keepdims: bool = False, dtype: None = None, out: None = None,
        ddof: int = 0,
    ) -> Tensor:  # fmt: skip
        """Return the standard deviation over `axis`, as :func:`chainrule.std`."""
        _refuse_numpy("std", dtype, out)
        return root(self.var(axis, keepdims, ddof=ddof))

    def __setitem__(self, key: Any, value: Any) -> None:
        raise GraphError(
            "a tensor is immutable, so its elements can't be assigned; make a new one with "
            "chainrule.where(condition, new, old), chainrule.concat or chainrule.scatter_add."
        )

    def __getitem__(self, key: Any) -> Tensor:
        if isinstance(key, (Tensor, np.ndarray, list)):
            rows = as_tensor(key)
            return (
                self._masked(rows)
                if rows.dtype == np.bool_
                else record(lookup("gather"), self, rows)
            )
        starts, stops, steps, shape = plan_index(self.shape, key)
        whole = stops == self.shape and set(starts) <= {0} and set(steps) <= {1}
        taken = (
            self
            if whole
            else record(lookup("slice"), self, starts=starts, stops=stops, steps=steps)
        )
        return taken if shape == taken.shape else taken.reshape(shape)

    def _masked(self, mask: Tensor) -> Tensor:
        """Return the elements, or rows, where `mask` is True; its value must be known now."""
        leaves = (n for n in unknown(mask.node) if n.primitive.leaf)
        if any(n.primitive.name != "constant" for n in leaves):
            raise ShapeError(
                "x[mask] has one row for each True of the mask, and this mask depends on values "
                "that change. Keep the shape instead: chainrule.where(mask, x, 0), and for a "
                "mean chainrule.where(mask, x, 0).sum() / mask.sum()."
            )
        if mask.shape != self.shape[: mask.ndim] or not mask.shape:
            raise ShapeError(f"a mask of shape {mask.shape} does not fit shape {self.shape}.")
        rows = self.reshape(-1, *self.shape[mask.ndim :]) if mask.ndim > 1 else self
        return record(lookup("gather"), rows, np.flatnonzero(mask.numpy()))


# NumPy's names of operations that have another name in chainrule.
_OURS = {
    "absolute": "abs", "bitwise_and": "logical_and", "bitwise_or": "logical_or", "divide": "div",
    "invert": "logical_not", "multiply": "mul", "negative": "neg", "power": "pow",
    "subtract": "sub",
}  # fmt: skip


def _reversed(x: Tensor) -> Tensor:
    """Return `x` with the order of its values reversed; integers do not overflow."""
    kind = x.dtype.kind
    if kind == "f":
        return -x
    return ~x if kind == "b" else (np.iinfo(x.dtype).max if kind == "u" else -1) - x


def root(squares: Tensor) -> Tensor:
    """Return the square root of a sum of squares, with gradient 0 where all of them are 0.

    There the slope of the root is infinite and that of each square is 0; 0 is a subgradient.
    """
    nothing = squares == 0
    zero, one = as_tensor(0.0, squares), as_tensor(1.0, squares)
    positive = record(lookup("where"), nothing, one, squares)
    return record(lookup("where"), nothing, zero, record(lookup("sqrt"), positive))


def _refuse_numpy(name: str, dtype: Any, out: Any) -> None:
    if dtype is not None or out is not None:
        raise OptionError(
            f"{name} of a tensor does not accept dtype and out; convert the result with "
            ".astype(...)."
        )


def _matmul(a: Tensor, b: Tensor) -> Tensor:
    """Return NumPy's matrix product: a vector is a row on the left, a column on the right."""
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError("matmul: a scalar has no matrix product; use * instead of @.")
    left = a.reshape((1, *a.shape)) if a.ndim == 1 else a
    right = b.reshape((*b.shape, 1)) if b.ndim == 1 else b
    out = record(lookup("matmul"), left, right)
    kept = out.shape[:-2]
    if a.ndim > 1:
        kept += out.shape[-2:-1]
    if b.ndim > 1:
        kept += out.shape[-1:]
    return out if kept == out.shape else out.reshape(kept)


def tensor(value: TensorLike, dtype: DTypeLike | None = None) -> Tensor:
    """Return `value` as a constant tensor.

    NumPy arrays keep their dtype; Python floats become float32, ints int64.
    Raises :class:`DTypeError` for text, objects, or complex numbers.

    >>> import chainrule as cr
    >>> cr.tensor([[1, 2], [3, 4]], "float32") @ [1.0, 1.0]
    Tensor([3., 7.], f32[2])
    """
    if isinstance(value, Tensor):
        return value if dtype is None else value.astype(dtype)
    array = np.array(value, dtype=dtype)
    if dtype is None and array.dtype == np.float64 and not _has_dtype(value):
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        raise DTypeError(f"can't make a tensor of {array.dtype} values; give numbers.")
    array.setflags(write=False)
    node = Node(CONSTANT, (), {"value": array}, Spec(array.shape, array.dtype))
    return Tensor(node)


def _has_dtype(value: Any) -> bool:
    """Return whether `value`, or the first element in it, has a NumPy dtype."""
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return hasattr(value, "dtype")


def as_tensor(value: Any, like: Tensor | None = None) -> Tensor:
    """Return `value` as a tensor; a Python number takes the dtype of `like` as in NumPy."""
    if isinstance(value, Tensor):
        return value
    if like is not None and isinstance(value, (bool, int, float)) and not _has_dtype(value):
        return tensor(value, np.result_type(like.dtype, value))
    return tensor(value)


def _operand(value: Any, like: Tensor | None = None) -> Tensor:
    """Return `value` as :func:`as_tensor` does, with one constant for each large array.

    A hand-written training loop uses the same data in every step; without this, every step
    would add a copy to the graph.  An array that was modified gets a new constant.
    """
    if type(value) is not np.ndarray or value.nbytes < LARGE:
        return as_tensor(value, like)
    key, bits = id(value), f"u{value.itemsize}"
    array, node = (known() for known in _constants.get(key, (type(None), type(None))))
    if array is value and node is not None:
        held = node.params["value"]
        if held.dtype == value.dtype and np.array_equal(held.view(bits), value.view(bits)):
            return Tensor(node)
    made = as_tensor(value)
    _constants[key] = ref(value, lambda _: _constants.pop(key, None)), ref(made.node)
    return made


def input(name: str, shape: Any = (), dtype: DTypeLike = np.float32) -> Tensor:
    """Return a named input: a leaf whose value is given when the graph is run.

    A string in `shape` names a length that is known only from the data.

    >>> import chainrule as cr
    >>> cr.input("x", ("n", 2)).sum()
    Tensor(f32[], needs x)
    """
    if not isinstance(name, str) or not name:
        raise OptionError(f"an input needs a name, as in input('x', ('n', 2)); got {name!r}.")
    spec = Spec(shape, dtype)
    return Tensor(Node(INPUT, (), {"name": name, "spec": spec}, spec))


def record(primitive: Primitive, *inputs: Any, **params: Any) -> Tensor:
    """Apply `primitive` to `inputs`, adding a node to the graph, and return a handle on it.

    Inputs are converted to tensors and, if the primitive requires it, to a
    common dtype.  Raises ShapeError or DTypeError from the primitive's type rule.
    """
    like = next((x for x in inputs if isinstance(x, Tensor)), None)
    tensors = [x if isinstance(x, Tensor) else _operand(x, like) for x in inputs]
    if primitive.promote:
        dtypes = {tensors[i].dtype for i in primitive.promote}
        dtype = dtypes.pop() if len(dtypes) == 1 else np.result_type(*dtypes)
        if primitive.floating:
            dtype = _floating(dtype)
        for i in primitive.promote:
            if tensors[i].dtype != dtype:
                tensors[i] = tensors[i].astype(dtype)
    nodes = tuple(t.node for t in tensors)
    try:
        spec = primitive.infer(*(n.spec for n in nodes), **params)
    except (ShapeError, DTypeError) as error:
        raise type(error)(f"{primitive.name}: {error}") from None
    return Tensor(Node(primitive, nodes, params, spec))


def _floating(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the float dtype in which NumPy would compute with `dtype` (never float16)."""
    return dtype if is_float(dtype) else np.result_type(dtype, np.float32)
