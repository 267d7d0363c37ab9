"""Write a graph as an ONNX model.

Most operations become the ONNX operator named in their record.  Those whose arguments differ,
and those that ONNX lacks, have a function in :data:`COMPOSED`.  A length that depends on the data,
such as the number of rows, stays one: it is a named length of the inputs, and the lengths that a
reshape or a broadcast needs are computed from the inputs.

Read next: :mod:`chainrule.interop.from_onnx`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError
from chainrule.core.graph import Graph, Node
from chainrule.core.spec import Dim, Shape, is_float
from chainrule.interop.onnx_library import onnx_library
from chainrule.ops.sparse import Wiring
from chainrule.transform.mode import for_predicting
from chainrule.transform.simplify import simplify

__all__ = ["OPSET", "Words", "onnx_model"]

Array = np.ndarray[Any, Any]
OPSET, OPSET_OF_TABLES = 18, 3  # understood by onnxruntime since 1.14, of February 2023
IR_VERSION = 8  # the form of the file that belongs to this opset
MOST_CONSTANTS = 1 << 28  # numbers of 64 bits, which fill the 2 GB of a protobuf message
MOST_DENSE = 1 << 26  # weights of a sparse layer, written as a matrix


@dataclass(frozen=True)
class Words:
    """An input of text, whose words become integers: `codes` by word, and `other` for the rest."""

    codes: Mapping[str, int]
    other: int


def onnx_model(
    graph: Graph,
    words: Mapping[str, Words] | None = None,
    metadata: Mapping[str, Any] = {},
) -> bytes:
    """Return `graph`, as it predicts, as an ONNX model.

    Parameters become constants of the model under their names.  An input named in `words` takes
    text.  `metadata` are kept as JSON, by key.  Raises OptionError for an operation that draws
    random numbers, which no other library would draw the same.
    """
    onnx = onnx_library()
    graph = simplify(for_predicting(graph))
    size = 0
    for node in graph.nodes:
        if node.primitive.name in ("parameter", "constant"):
            size += math.prod(d for d in node.spec.shape if isinstance(d, int))
    if size > MOST_CONSTANTS:
        raise OptionError(
            f"the model has {size:,} numbers; an ONNX file of one part can hold {MOST_CONSTANTS:,}."
        )
    writing = _Writing(onnx, graph, words or {})
    made = onnx.helper.make_model(
        writing.graph(),
        producer_name="chainrule",
        ir_version=IR_VERSION,
        opset_imports=[
            onnx.helper.make_opsetid("", OPSET),
            *([onnx.helper.make_opsetid("ai.onnx.ml", OPSET_OF_TABLES)] if words else []),
        ],
    )
    onnx.helper.set_model_props(
        made,
        {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()},
    )
    content: bytes = made.SerializeToString(deterministic=True)
    return content


class _Writing:
    """The nodes and constants of an ONNX graph, while they are collected."""

    def __init__(self, onnx: Any, graph: Graph, words: Mapping[str, Words]):
        self.onnx, self.source, self.words = onnx, graph, words
        self.nodes: list[Any] = []
        self.constants: dict[Any, Any] = {}  # by content, so that equal ones are written once
        self.names: dict[Node, str] = {}
        self.taken = {*graph.inputs, *graph.outputs}
        self.places: dict[Dim, tuple[str, int]] = {}  # an input and an axis that have this length

    def graph(self) -> Any:
        """Return the whole graph."""
        helper, given = self.onnx.helper, []
        for name, node in self.source.inputs.items():
            if node.primitive.name == "parameter":
                value = np.asarray(node.params["parameter"].value)
                self.constants[node] = self.onnx.numpy_helper.from_array(value, name)
                self.names[node] = name
                continue
            for axis, length in enumerate(node.spec.shape):
                if isinstance(length, Dim):
                    self.places.setdefault(length, (name, axis))
            given.append(self._input(name, node))
        for node in self.source.nodes:
            if node not in self.names:
                self.names[node] = self._written(node)
        results = []
        for name, node in self.source.outputs.items():
            self.nodes.append(helper.make_node("Identity", [self.names[node]], [name]))
            results.append(helper.make_tensor_value_info(name, *self._type(node)))
        self._tidy()
        used = {name for node in self.nodes for name in node.input}
        constants = [tensor for tensor in self.constants.values() if tensor.name in used]
        return helper.make_graph(self.nodes, "chainrule", given, results, constants)

    def _tidy(self) -> None:
        """Name results as the outputs that they are, and drop what no output needs."""
        made = {node.output[0] for node in self.nodes}
        called: dict[str, str] = {}
        for node in self.nodes[-len(self.source.outputs) :]:
            if node.input[0] in made:
                called.setdefault(node.input[0], node.output[0])
        needed, kept = set(self.source.outputs), []
        for node in reversed(self.nodes):
            node.input[:] = [called.get(name, name) for name in node.input]
            node.output[:] = [called.get(name, name) for name in node.output]
            if node.output[0] in needed and node.input[:] != node.output[:]:
                needed.update(node.input)
                kept.append(node)
        self.nodes = kept[::-1]

    def _input(self, name: str, node: Node) -> Any:
        kind, shape = self._type(node)
        self.names[node] = name
        if name in self.words:
            kind, words = self.onnx.TensorProto.STRING, self.words[name]
            self.names[node] = self.add(
                "LabelEncoder", name, domain="ai.onnx.ml", keys_strings=list(words.codes),
                values_int64s=list(words.codes.values()), default_int64=words.other,
            )  # fmt: skip
        return self.onnx.helper.make_tensor_value_info(name, kind, shape)

    def _type(self, node: Node) -> tuple[int, list[int | str]]:
        shape = [d.name if isinstance(d, Dim) else d for d in node.spec.shape]
        return self.kind(node.spec.dtype), shape

    def _written(self, node: Node) -> str:
        """Write `node`, and return the name of its value."""
        name, given = node.primitive.name, [self.names[i] for i in node.inputs]
        if name == "constant":
            return self.constant(node.params["value"])
        compose = COMPOSED.get(name)
        if compose is not None:
            return compose(self, node, *given)
        if node.primitive.onnx is None or not node.primitive.elementwise:
            raise OptionError(
                f"{name!r} has no form in ONNX, so this graph can't be exported; it was recorded "
                f"at {node.line}."
            )
        return self.add(node.primitive.onnx, *given)

    def fresh(self, base: str) -> str:
        """Return a name that is not used yet."""
        name, count = base, 1
        while name in self.taken:
            name, count = f"{base}_{count}", count + 1
        self.taken.add(name)
        return name

    def add(self, operator: str, *given: str, **attributes: Any) -> str:
        """Add an operator, and return the name of its result."""
        name = self.fresh(operator.lower())
        self.nodes.append(self.onnx.helper.make_node(operator, given, [name], **attributes))
        return name

    def constant(self, value: Any, name: str = "constant", dtype: Any = None) -> str:
        """Add a constant, and return its name; an equal one is used again."""
        array = np.asarray(value, dtype)
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self.constants:
            found = self.fresh(name)
            self.constants[key] = self.onnx.numpy_helper.from_array(array, found)
        held: str = self.constants[key].name
        return held

    def kind(self, dtype: Any) -> int:
        """Return the number that ONNX has for a dtype."""
        number: int = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return number

    def cast(self, name: str, dtype: Any) -> str:
        """Add a conversion."""
        return self.add("Cast", name, to=self.kind(dtype))

    def integers(self, *values: int) -> str:
        """Return the name of a vector of int64."""
        return self.constant(np.array(values, np.int64))

    def length(self, length: int | Dim) -> str:
        """Return the name of a vector of one length."""
        if not isinstance(length, Dim):
            return self.integers(int(length))
        if length not in self.places:
            raise OptionError(f"the length {length} is not that of an axis of an input.")
        name, axis = self.places[length]
        return self.add("Shape", name, start=axis, end=axis + 1)

    def lengths(self, shape: Shape) -> str:
        """Return the name of a vector of lengths."""
        if not any(isinstance(d, Dim) for d in shape):
            return self.integers(*(int(d) for d in shape))  # type: ignore[arg-type]
        return self.add("Concat", *(self.length(d) for d in shape), axis=0)

    def reshaped(self, name: str, shape: Shape) -> str:
        """Add a reshape; one length that depends on the data is left for the runtime to find."""
        unknown = [d for d in shape if isinstance(d, Dim)]
        if len(unknown) == 1 and 0 not in shape:
            vector = self.integers(*(-1 if isinstance(d, Dim) else d for d in shape))
        else:
            vector = self.lengths(shape)
        return self.add("Reshape", name, vector, allowzero=1)


def _cast(w: _Writing, node: Node, x: str) -> str:
    return w.cast(x, node.spec.dtype)


def _same(w: _Writing, node: Node, x: str) -> str:
    return x


def _reshape(w: _Writing, node: Node, x: str) -> str:
    return w.reshaped(x, node.spec.shape)


def _broadcast(w: _Writing, node: Node, x: str) -> str:
    return w.add("Expand", x, w.lengths(node.spec.shape))


def _transpose(w: _Writing, node: Node, x: str) -> str:
    return w.add("Transpose", x, perm=list(node.params["axes"]))


def _slice(w: _Writing, node: Node, x: str) -> str:
    rows = zip(*(node.params[k] for k in ("starts", "stops", "steps")), strict=True)
    cut = [(a, *row) for a, row in enumerate(rows) if not isinstance(row[1], Dim)]
    axes, starts, stops, steps = zip(*cut, strict=True) if cut else ((),) * 4
    return w.add("Slice", x, *(w.integers(*part) for part in (starts, stops, axes, steps)))


def _pad(w: _Writing, node: Node, x: str) -> str:
    low, high = list(node.params["low"]), list(node.params["high"])
    shape = list(node.inputs[0].spec.shape)
    for axis, gap in enumerate(node.params["interior"]):
        if gap and shape[axis]:
            # Zeros after each element, in an axis of their own; the last gap is cut off again.
            x = w.reshaped(x, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
            before = [0] * (2 * len(shape) + 2)
            before[len(shape) + 1 + axis + 1] = gap
            x = w.add("Pad", x, w.integers(*before))
            shape[axis] *= gap + 1
            x = w.reshaped(x, tuple(shape))
            high[axis] -= gap
    return w.add("Pad", x, w.integers(*low, *high))


def _concat(w: _Writing, node: Node, *parts: str) -> str:
    return w.add("Concat", *parts, axis=node.params["axis"])


def _arange(w: _Writing, node: Node) -> str:
    length, dtype = node.params["length"], node.params["dtype"]
    if not isinstance(length, Dim):
        return w.constant(np.arange(length, dtype=dtype))
    stop = w.add("Squeeze", w.length(length))
    return w.cast(w.add("Range", w.constant(np.int64(0)), stop, w.constant(np.int64(1))), dtype)


def _count(w: _Writing, node: Node) -> str:
    lengths = node.params["lengths"]
    if not any(isinstance(d, Dim) for d in lengths):
        return w.constant(np.array(math.prod(lengths), node.spec.dtype))
    product = w.add("ReduceProd", w.lengths(lengths), keepdims=0)
    return w.cast(product, node.spec.dtype)


def _sum(w: _Writing, node: Node, x: str) -> str:
    x = x if node.inputs[0].spec.dtype == node.spec.dtype else w.cast(x, node.spec.dtype)
    return _reduced(w, node, "ReduceSum", x)


def _max(w: _Writing, node: Node, x: str) -> str:
    dtype = node.spec.dtype
    if dtype.name in ("bool", "uint8", "uint32"):  # of which opset 18 has no maximum
        return w.cast(_reduced(w, node, "ReduceMax", w.cast(x, np.int64)), dtype)
    return _reduced(w, node, "ReduceMax", x)


def _reduced(w: _Writing, node: Node, operator: str, x: str) -> str:
    axes = w.integers(*node.params["axes"])
    kept = int(node.params["keepdims"])
    return w.add(operator, x, axes, keepdims=kept, noop_with_empty_axes=1)


def _argmax(w: _Writing, node: Node, x: str) -> str:
    if not is_float(node.inputs[0].spec.dtype):
        x = w.cast(x, np.float64)
    return w.add("ArgMax", x, axis=node.params["axis"], keepdims=0)


def _indices(w: _Writing, node: Node, name: str) -> str:
    return name if node.inputs[1].spec.dtype == np.int64 else w.cast(name, np.int64)


def _gather(w: _Writing, node: Node, x: str, rows: str) -> str:
    return w.add("Gather", x, _indices(w, node, rows), axis=0)


def _scatter(w: _Writing, node: Node, updates: str, rows: str) -> str:
    zero = w.constant(np.zeros((), node.spec.dtype))
    into = w.add("Expand", zero, w.lengths(node.spec.shape))
    places = w.add("Unsqueeze", _indices(w, node, rows), w.integers(-1))
    return w.add("ScatterND", into, places, updates, reduction="add")


def _div(w: _Writing, node: Node, x: str, y: str) -> str:
    power, total = node.inputs
    axes = total.params.get("axes", ())
    if (
        power.primitive.name == "exp"
        and total.primitive.name == "sum"
        and total.inputs[0] is power
        and len(axes) == 1
        and total.spec.ndim == node.spec.ndim
    ):
        # A softmax, of which hardware has an operator; it subtracts the maximum itself.
        scores = power.inputs[0]
        if scores.primitive.name == "sub" and _peak(scores.inputs[1]) == (scores.inputs[0], axes):
            scores = scores.inputs[0]
        return w.add("Softmax", w.names[scores], axis=axes[0])
    return w.add("Div", x, y)


def _peak(node: Node) -> tuple[Node | None, Any]:
    """Return what `node` is the maximum of, and along which axes."""
    node = node.inputs[0] if node.primitive.name == "stop_gradient" else node
    if node.primitive.name != "max" or not node.params["keepdims"]:
        return None, ()
    return node.inputs[0], node.params["axes"]


def _expm1(w: _Writing, node: Node, x: str) -> str:
    # (exp(x) + 1) tanh(x / 2), which keeps the digits that exp(x) - 1 loses near 0.
    one, half = (w.constant(v, dtype=node.spec.dtype) for v in (1, 0.5))
    return w.add("Mul", w.add("Add", w.add("Exp", x), one), w.add("Tanh", w.add("Mul", x, half)))


def _log1p(w: _Writing, node: Node, x: str) -> str:
    # W. Kahan's log(u) x / (u - 1) with u = 1 + x, which keeps the digits that log(u) loses.
    one = w.constant(1, dtype=node.spec.dtype)
    u = w.add("Add", x, one)
    log = w.add("Log", u)
    near = w.add("Mul", log, w.add("Div", x, w.add("Sub", u, one)))
    near = w.add("Where", w.add("Equal", u, one), x, near)
    return w.add("Where", w.add("Greater", x, one), log, near)


def _log2(w: _Writing, node: Node, x: str) -> str:
    return w.add("Div", w.add("Log", x), w.constant(math.log(2), dtype=node.spec.dtype))


def _tan(w: _Writing, node: Node, x: str) -> str:
    return w.add("Div", w.add("Sin", x), w.add("Cos", x))  # onnxruntime has Tan of float32 alone


def _single(w: _Writing, node: Node, x: str) -> str:
    """Write an operator that onnxruntime has for float32 alone."""
    operator, dtype = str(node.primitive.onnx), node.spec.dtype
    if dtype == np.float32:
        return w.add(operator, x)
    return w.cast(w.add(operator, w.cast(x, np.float32)), dtype)


def _row_products(w: _Writing, node: Node, a: str, b: str) -> str:
    left, right = (
        w.add("Reshape", name, w.integers(-1, int(width)))  # type: ignore[arg-type]
        for name, width in zip((a, b), node.spec.shape, strict=True)
    )
    return w.add("MatMul", w.add("Transpose", left, perm=[1, 0]), right)


def _sparse_matmul(w: _Writing, node: Node, x: str, weight: str) -> str:
    wiring: Wiring = node.params["wiring"]
    size = wiring.inputs * wiring.outputs
    if size > MOST_DENSE:
        raise OptionError(
            f"a sparse layer from {wiring.inputs:,} to {wiring.outputs:,} units is exported as a "
            f"matrix, and can't be larger than {MOST_DENSE:,} weights."
        )
    # ONNX has no sparse product: the runtime puts the weights into a matrix of zeros once.
    ends = wiring.sources, wiring.targets
    ends = ends[::-1] if node.params["transposed"] else ends
    shape = [wiring.inputs, wiring.outputs]
    shape = shape[::-1] if node.params["transposed"] else shape
    zeros = w.add("Expand", w.constant(np.zeros((), node.spec.dtype)), w.integers(*shape))
    places = w.constant(np.stack(ends, axis=1).astype(np.int64), "edges")
    return w.add("MatMul", x, w.add("ScatterND", zeros, places, weight))


def _edge_products(w: _Writing, node: Node, x: str, y: str) -> str:
    wiring: Wiring = node.params["wiring"]
    left, right = (
        w.add("Gather", name, w.constant(ends.astype(np.int64)), axis=1)
        for name, ends in ((x, wiring.sources), (y, wiring.targets))
    )
    return w.add("ReduceSum", w.add("Mul", left, right), w.integers(0), keepdims=0)


def _matmul(w: _Writing, node: Node, a: str, b: str) -> str:
    return w.add("MatMul", a, b)


COMPOSED: dict[str, Callable[..., str]] = {
    "arange": _arange,
    "arctan": _single,
    "argmax": _argmax,
    "broadcast": _broadcast,
    "cast": _cast,
    "concat": _concat,
    "count": _count,
    "div": _div,
    "edge_products": _edge_products,
    "erf": _single,
    "expm1": _expm1,
    "gather": _gather,
    "log1p": _log1p,
    "log2": _log2,
    "matmul": _matmul,
    "max": _max,
    "pad": _pad,
    "reshape": _reshape,
    "row_products": _row_products,
    "scatter_add": _scatter,
    "slice": _slice,
    "sparse_matmul": _sparse_matmul,
    "stop_gradient": _same,
    "sum": _sum,
    "tan": _tan,
    "transpose": _transpose,
}
