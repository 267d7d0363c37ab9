"""Uses of every operation, on shapes with and without rows of a batch, for tests of engines."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import chainrule as cr
from chainrule.core.primitive import Primitive, registry
from chainrule.core.spec import Dim, resolve
from chainrule.core.tensor import Tensor, record
from chainrule.ops.sparse import Wiring
from chainrule.run.llvm.caller import Caller
from chainrule.run.llvm.code import NativeCode
from chainrule.run.reference import Interpreter
from chainrule.transform.mode import for_predicting

Array = np.ndarray[Any, Any]
Shapes = tuple[tuple[Any, ...], ...]
N = Dim("n")
ROWS = 5
DTYPES = ("float64", "float32", "int32", "float64", "uint8", "float32", "int64", "bool")
SHAPES_EACH = 6  # of an elementwise operation, as all share one way through the compiler
WIRING = Wiring(4, 3, np.array([0, 2, 1, 0]), np.array([0, 0, 1, 1]))

# Shapes of the inputs of elementwise operations, by their number.
ALIKE: list[tuple[Any, ...]] = [
    (), (1,), (5,), (N,), (2, 3), (N, 3), (N, 1), (2, 3, 4), (N, 3, 4), (N, 1, 4), (N, 3, 1),
    (1, 3), (2, 1, 3), (2, 3, 4, 5), (N, 2, 3, 4), (N, 70), (3, 70), (N, 2, 70),
]  # fmt: skip
PAIRS: list[Shapes] = [
    *((s, s) for s in ALIKE),
    ((), (5,)), ((N,), ()), ((N, 3), (3,)), ((3,), (N, 3)), ((N, 3), (N, 1)), ((N, 3), ()),
    ((N, 1), (3,)), ((3, 1), (4,)), ((2, 3), (3,)), ((2, 3), (2, 1)), ((N, 3), (1, 3)),
    ((N, 3, 4), (4,)), ((N, 3, 4), (3, 1)), ((N, 3, 4), (3, 4)), ((N, 3, 4), (N, 1, 4)),
    ((N, 3, 4), (N, 3, 1)), ((N, 3, 4), (N, 1, 1)), ((N, 3, 1), (1, 4)), ((N, 1, 4), (3, 1)),
    ((N, 1, 1), (3, 4)), ((2, 3, 4), (4,)), ((2, 3, 4), (3, 1)), ((2, 3, 4), (2, 1, 4)),
    ((2, 1, 4), (3, 1)), ((2, 3, 4), (2, 1, 1)), ((2, 3, 4), (1, 3, 4)), ((2, 3, 4), ()),
    ((N, 2, 3, 4), (3, 4)), ((N, 2, 3, 4), (N, 2, 1, 4)), ((N, 2, 3, 4), (2, 1, 1)),
    ((2, 3, 4, 5), (3, 1, 5)), ((N, 1), (N,)[:0]), ((1, 1), (N, 3)), ((1, 3), (2, 1)),
]  # fmt: skip
TRIPLES: list[Shapes] = [
    *((s, s, s) for s in ALIKE),
    ((N, 1), (N, 3), (3,)), ((3,), (N, 3), ()), ((N, 3, 4), (N, 1, 4), (3, 1)),
    ((2, 1), (3,), ()), ((N, 1, 4), (N, 3, 1), (4,)), ((2, 3, 4), (4,), (3, 1)),
]  # fmt: skip
REDUCED: list[tuple[tuple[Any, ...], tuple[int, ...]]] = [
    (shape, axes)
    for shape in [
        (5,), (N,), (2, 3), (N, 3), (N, 1), (1, 3), (2, 1), (2, 3, 4), (N, 3, 4), (N, 1, 4),
        (N, 3, 1), (1, 3, 4), (2, 1, 4), (2, 3, 4, 5), (N, 2, 3, 4), (N, 70), (N, 2, 70), (3, 70),
    ]
    for axes in [
        (0,), (1,), (2,), (3,), (0, 1), (0, 2), (1, 2), (0, 1, 2), (1, 3), (0, 3), (0, 1, 2, 3),
        (2, 3), (1, 2, 3),
    ]
    if max(axes) < len(shape)
]  # fmt: skip
MATMULS: list[Shapes] = [
    ((2, 3), (3, 4)), ((N, 3), (3, 4)), ((1, 3), (3, 4)), ((3, 2), (2, 1)), ((N, 3), (3, 1)),
    ((N, 1), (1, 3)), ((N, 2, 3), (3, 4)), ((N, 1, 3), (3, 4)), ((N, 5, 3), (N, 3, 4)),
    ((N, 5, 3), (1, 3, 4)), ((2, 5, 3), (3, 4)), ((2, 5, 3), (2, 3, 4)), ((2, 5, 3), (1, 3, 4)),
    ((5, 3), (2, 3, 4)), ((5, 3), (N, 3, 4)), ((N, 2, 5, 3), (N, 2, 3, 4)), ((N, 2, 5, 3), (3, 4)),
    ((N, 2, 5, 3), (2, 3, 4)), ((N, 2, 5, 3), (N, 1, 3, 4)), ((N, 1, 5, 3), (2, 3, 4)),
    ((2, 3, 5, 3), (3, 3, 4)), ((2, 1, 5, 3), (3, 3, 4)), ((N, 1, 3), (N, 3, 1)),
    ((N, 3, 1), (N, 1, 4)), ((N, 5, 3), (N, 3, 1)), ((N, 5, 3), (3, 1)), ((N, 17, 9), (N, 9, 33)),
    ((N, 40, 35), (35, 40)), ((5, 3), (N, 1, 3, 4)), ((1, 5, 3), (N, 3, 4)),
]  # fmt: skip
RESHAPED: list[tuple[tuple[Any, ...], tuple[Any, ...]]] = [
    ((2, 6), (3, 4)), ((12,), (2, 6)), ((N, 6), (N, 2, 3)), ((N, 2, 3), (N, 6)), ((N,), (N, 1)),
    ((N, 1), (N,)), ((N, 2, 3), (N, 3, 2)), ((2, 3, 4), (4, 6)), ((2, 3, 4), (24,)), ((), (1, 1)),
    ((1,), ()), ((N, 4), (N, 2, 1, 2)), ((N, 4, 1, 3), (N, 12)), ((1, 1), (1,)),
]  # fmt: skip
TURNED: list[tuple[tuple[Any, ...], tuple[int, ...]]] = [
    ((2, 3), (1, 0)), ((2, 3, 4), (2, 0, 1)), ((2, 3, 4), (0, 2, 1)), ((N, 3, 4), (0, 2, 1)),
    ((N, 2, 3, 4), (0, 2, 1, 3)), ((N, 2, 3, 4), (0, 1, 3, 2)), ((1, 3), (1, 0)), ((5,), (0,)),
    ((2, 3, 4, 5), (1, 3, 0, 2)), ((2, 1, 4), (1, 2, 0)),
]  # fmt: skip
SPREAD: list[tuple[tuple[Any, ...], tuple[Any, ...]]] = [
    ((3, 1), (2, 3, 4)), ((), (5,)), ((4,), (3, 4)), ((1, 4), (N, 4)), ((N, 1), (N, 4)),
    ((N, 1, 4), (N, 3, 4)), ((3, 1), (N, 3, 4)), ((2, 1, 4), (2, 3, 4)), ((), (N,)), ((1,), (N, 2)),
    ((N, 3, 1), (N, 3, 4)), ((2, 1, 4, 1), (2, 3, 4, 5)), ((N, 1, 1, 4), (N, 2, 3, 4)),
]  # fmt: skip


@dataclass(frozen=True)
class Use:
    """An operation applied to inputs of some shapes, with its parameters."""

    name: str
    shapes: Shapes
    params: Mapping[str, Any]

    def __str__(self) -> str:
        """Return the operation and the shapes, for the name of a test."""
        known = ", ".join(f"{k}={v}" for k, v in self.params.items())
        return f"{self.name}{list(self.shapes)} {known}"


def _slices(length: Any, kind: int) -> tuple[int, Any, int]:
    if isinstance(length, Dim) or kind == 0:
        return 0, length, 1
    return (1, length, 1) if kind == 1 else (0, length, 2)


def uses(primitive: Primitive) -> Iterator[Use]:
    """Yield uses of `primitive`; none if its shapes are not known here."""
    name = primitive.name
    if primitive.elementwise:
        assert primitive.domain is not None
        count = len(primitive.domain(np.random.default_rng(0))[0])
        params = primitive.domain(np.random.default_rng(0))[1]
        singles: list[Shapes] = [(s,) for s in ALIKE]
        for shapes in {1: singles, 2: PAIRS, 3: TRIPLES}[count]:
            yield Use(name, shapes, params)
    elif name in ("sum", "max"):
        for shape, axes in REDUCED:
            for keepdims in (False, True):
                yield Use(name, (shape,), {"axes": axes, "keepdims": keepdims})
        yield Use(name, ((),), {"axes": (), "keepdims": False})
        yield Use(name, ((N, 3),), {"axes": (), "keepdims": False})
    elif name == "argmax":
        for shape in [(5,), (N,), (2, 3), (N, 3), (N, 1), (2, 3, 4), (N, 3, 4), (N, 2, 3, 4)]:
            for axis in range(len(shape)):
                yield Use(name, (shape,), {"axis": axis})
    elif name == "matmul":
        for shapes in MATMULS:
            yield Use(name, shapes, {})
    elif name == "row_products":
        for rows in [(N,), (N, 2), (5,), (2, 3), (N, 2, 3), (N, 1)]:
            yield Use(name, ((*rows, 4), (*rows, 3)), {})
    elif name == "sparse_matmul":
        for rows in (N, 5, 1):
            yield Use(name, ((rows, 4), (4,)), {"wiring": WIRING, "transposed": False})
            yield Use(name, ((rows, 3), (4,)), {"wiring": WIRING, "transposed": True})
    elif name == "edge_products":
        for rows in (N, 5, 1):
            yield Use(name, ((rows, 4), (rows, 3)), {"wiring": WIRING})
    elif name in ("reshape", "broadcast"):
        for shape, target in RESHAPED if name == "reshape" else SPREAD:
            yield Use(name, (shape,), {"shape": target})
    elif name == "transpose":
        for shape, axes in TURNED:
            yield Use(name, (shape,), {"axes": axes})
    elif name == "slice":
        for shape in [(7,), (N, 7), (5, 7), (N, 5, 7), (3, 5, 7), (N, 3, 5, 7), (N,)]:
            for kind in (0, 1, 2):
                starts, stops, steps = zip(*(_slices(d, kind) for d in shape), strict=True)
                yield Use(name, (shape,), {"starts": starts, "stops": stops, "steps": steps})
    elif name == "pad":
        for shape in [(7,), (N, 7), (5, 7), (N, 5, 7), (3, 5, 7), (N, 3, 5, 7)]:
            for low, high, gap in [(1, 0, 0), (0, 2, 1)]:
                at = [(0, 0, 0) if isinstance(d, Dim) else (low, high, gap) for d in shape]
                lows, highs, gaps = zip(*at, strict=True)
                yield Use(name, (shape,), {"low": lows, "high": highs, "interior": gaps})
    elif name == "concat":
        for one, other, axis in [
            ((3,), (4,), 0), ((N, 3), (N, 1), 1), ((2, 3), (2, 1), 1), ((2, 3), (1, 3), 0),
            ((N, 2, 3), (N, 2, 3), 1), ((N, 2, 3), (N, 2, 1), 2), ((2, 3, 4), (2, 2, 4), 1),
            ((N, 2, 3, 4), (N, 2, 1, 4), 2),
        ]:  # fmt: skip
            yield Use(name, (one, other), {"axis": axis})
    elif name == "gather":
        for table, ids in [
            ((4,), (5,)), ((4, 3), (5,)), ((4, 3), (N,)), ((4,), (N, 2)), ((4, 2, 3), (N,)),
            ((4, 3), (N, 2)), ((4, 3), ()), ((4, 2, 3), (2, 2)), ((4, 3), (N, 2, 2)),
            ((5, 3), (5,)), ((N, 3), (5,)), ((N, 3), (N,)), ((N,), (N, 2)), ((N, 2, 3), (N,)),
            ((N, 3), ()),
        ]:  # fmt: skip
            yield Use(name, (table, ids), {})
    elif name == "scatter_add":
        for updates, ids, rows in [
            ((5,), (5,), 4), ((5, 3), (5,), 4), ((N, 3), (N,), 4), ((N,), (N,), 4),
            ((N, 2, 3), (N, 2), 4), ((N, 2, 3), (N,), 4), ((5, 2, 3), (5,), 4), ((3,), (), 4),
            ((N, 3), (N,), N), ((5, 3), (5,), N), ((N, 2, 3), (N,), N), ((), (), 4),
        ]:  # fmt: skip
            yield Use(name, (updates, ids), {"rows": rows})
    elif name == "uniform":
        for shape in [(), (5,), (N,), (2, 3), (N, 3), (2, 3, 4), (N, 3, 4), (N, 2, 3, 4)]:
            for dtype in ("float32", "float64"):
                yield Use(name, ((),), {"shape": shape, "stream": 1, "dtype": dtype})
    elif name == "arange":
        for length in (5, 1, N):
            for dtype in ("int32", "int64", "float32", "float64"):
                yield Use(name, (), {"length": length, "dtype": dtype})
    elif name == "count":
        for lengths in [(3, 4), (N,), (N, 3), ()]:
            for dtype in ("int64", "float32", "float64"):
                yield Use(name, (), {"lengths": lengths, "dtype": dtype})
    elif name == "by_mode":
        for shape in ALIKE:
            yield Use(name, (shape, shape), {})
    elif name == "updating":
        yield Use(name, ((N, 3), (3,), (3,)), {})
    elif name == "penalizing":
        yield Use(name, ((N, 3), ()), {})
    elif name == "fresh_seed":
        yield Use(name, (), {"draw": 0})
    elif name == "stop_gradient":
        for shape in ALIKE:
            yield Use(name, (shape,), {})


def drawn_uses(name: str, most: int | None = None) -> Iterator[tuple[Use, str]]:
    """Yield uses of an operation, each with a dtype; of an elementwise one only some.

    Of others, about `most`, spread evenly.
    """
    found = list(uses(registry[name]))
    if registry[name].elementwise:
        at = sorted(registry).index(name)  # so that together they meet all shapes
        found = [found[(at * SHAPES_EACH + i) % len(found)] for i in range(SHAPES_EACH)]
    elif most is not None:
        found = found[:: -(-len(found) // most)]
    found = found * 2 if len(found) == 1 else found  # so that each is met in float64 and float32
    yield from zip(found, itertools.cycle(DTYPES), strict=False)


def values_of(use: Use, dtype: str) -> list[Array]:
    """Return inputs of `use`: numbers that the domain of the operation contains, as `dtype`."""
    primitive, rng = registry[use.name], np.random.default_rng(3)
    shapes = resolve(use.shapes, {N: ROWS})
    if use.name in ("gather", "scatter_add"):
        length = use.params["rows"] if use.name == "scatter_add" else use.shapes[0][0]
        rows = ROWS if length is N else 4
        numbers = rng.normal(size=shapes[0]).astype(dtype)
        return [numbers, np.asarray(rng.integers(-rows, rows, shapes[1]))]
    assert primitive.domain is not None
    drawn = primitive.domain(rng)[0]
    if use.name == "uniform":
        return [np.asarray(drawn[0])]
    found = []
    for i, shape in enumerate(shapes):
        pool = np.asarray(drawn[min(i, len(drawn) - 1)]).ravel()
        array = np.asarray(rng.choice(pool, shape))
        found.append(array if use.name == "where" and i == 0 else array.astype(dtype))
    return found


def graph_of(use: Use, dtype: str) -> tuple[cr.Graph, dict[str, Array]]:
    """Return `use` with the gradients of a function of its result, and values of its inputs."""
    primitive, arrays = registry[use.name], values_of(use, dtype)
    leaves = [
        cr.input(f"x{i}", shape, array.dtype)
        for i, (shape, array) in enumerate(zip(use.shapes, arrays, strict=True))
    ]
    given = dict(zip((f"x{i}" for i in range(len(leaves))), arrays, strict=True))
    fed: list[Tensor] = [cr.sin(x) * 1.5 if use.name == "matmul" else x for x in leaves]
    params = dict(use.params)
    out = record(primitive, *fed, **params)
    inputs = dict(zip(given, leaves, strict=True))
    outputs = {"out": out}
    if any(isinstance(d, Dim) for d in out.shape) and not any(N in s for s in use.shapes):
        inputs["rows"] = cr.input("rows", (N,), "float64")  # something that says how many
        given["rows"] = np.zeros(ROWS)
        outputs["also"] = inputs["rows"] * 2
    floats = [x for x in leaves if x.dtype.kind == "f"]
    if primitive.vjp is not None and floats and out.dtype.kind == "f":
        total = cr.sin(out).sum()
        slopes = cr.grad(total, floats, unused="zero")
        outputs |= {f"slope{i}": slope for i, slope in enumerate(slopes)}
    return for_predicting(cr.Graph(outputs, inputs)), given


def run_native(
    code: NativeCode, given: Mapping[str, Array], rows: int, threads: int = 1
) -> dict[str, Array]:
    """Return the outputs of `code` by name, as the interpreter gives them."""
    caller = Caller(code, threads)
    kept = {name: np.ascontiguousarray(array) for name, array in given.items()}
    for name, array in kept.items():
        caller.give(name, array)
    caller(caller.natural[:rows], rows)
    found: dict[str, Array] = {n: np.asarray(v) for n, v in caller.totals().items()}
    for name, node in code.slots.wholes.items():
        shape = [rows if isinstance(d, Dim) else d for d in code.graph.outputs[name].spec.shape]
        found[name] = caller.buffers[node].ravel()[: int(np.prod(shape))].reshape(shape)
    return found


def reference(graph: cr.Graph, given: Mapping[str, Array]) -> dict[str, Array]:
    """Return the outputs of `graph` by name, from the interpreter."""
    return Interpreter(graph)(given)
