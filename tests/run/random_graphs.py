"""Random graphs of every operation as steps on random data, run by both engines.

:func:`trials` draws them with Hypothesis, so that a failing one is made smaller;
:func:`check` runs one on one, two and three threads. `tests/run/fuzz_graphs.py` does so for as
long as one likes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn, optim
from chainrule.core.errors import ChainruleError
from chainrule.core.graph import Graph
from chainrule.core.primitive import Primitive, registry
from chainrule.core.spec import Dim, resolve
from chainrule.core.tensor import Tensor, record
from chainrule.ops.sparse import Wiring
from chainrule.run.llvm.by_rows import ProgramByRows, native_program, results_of
from chainrule.run.plan.view import view_of
from chainrule.run.reference import Interpreter
from tests.run.agreement import Case, targets, training
from tests.run.rounding import assert_near, evaluate_noisily

Array = np.ndarray[Any, Any]
N = Dim("n")
LENGTHS = (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33, 70)
MOST = 6000  # elements of a value for each row
DTYPES = ("float64", "float32", "int32", "int64", "bool", "uint8", "uint32")
ELEMENTWISE = sorted(n for n, p in registry.items() if p.elementwise and not p.note and p.domain)
NOISES = 4  # runs with random rounding


@dataclass(frozen=True, repr=False)
class Trial:
    """A step, the rows of its batches in order, the batch size, and the size to compile for."""

    case: Case
    order: Array
    batch: int
    capacity: int

    def __repr__(self) -> str:
        """Return the graph as text, and what it is run on."""
        data = {n: a.shape for n, a in self.case.data.items()}
        return (
            f"{self.case.graph}\non {data}, batches of {self.batch} from {len(self.order)} rows "
            f"{self.order.tolist()}, compiled for {self.capacity}"
        )


@dataclass
class _Maker:
    """What draws a graph: the values so far, and the data that its inputs take."""

    draw: Any
    rng: np.random.Generator
    rows: int  # of the data
    fewest: int  # rows of a batch
    anywhere: bool = False  # whether rows may be on other axes than the first
    pool: list[Tensor] = field(default_factory=list)
    data: dict[str, Array] = field(default_factory=dict)
    state: dict[str, Array] = field(default_factory=dict)
    leaves: dict[str, Tensor] = field(default_factory=dict)

    def number(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def one(self, choices: Any) -> Any:
        """Return one of `choices`; raises IndexError if there are none."""
        if not len(choices):
            raise IndexError
        return choices[self.number(0, len(choices) - 1)]

    def chance(self, percent: int) -> bool:
        return self.number(0, 99) >= 100 - percent

    def leaf(self, shape: tuple[Any, ...], dtype: str, values: Array | None = None) -> Tensor:
        """Return a new input: data if its first axis is the rows, else state."""
        data = shape[:1] == (N,)
        full = (self.rows, *shape[1:]) if data else shape
        name = f"{'x' if data else 'w'}{len(self.leaves)}"
        if values is None:
            values = self.rng.normal(size=full) * 1.5
            if dtype == "bool":
                values = values > 0
            elif dtype.startswith("uint"):
                values = np.abs(values) * 3
            elif dtype.startswith("int") or self.chance(10):
                values = np.round(values * 2)  # so that some are equal
            elif self.chance(5):
                at = self.rng.random(full) < 0.1
                values = np.where(at, self.rng.choice(SPECIAL, full), values)
        (self.data if data else self.state)[name] = np.asarray(values, dtype)
        self.leaves[name] = cr.input(name, shape, dtype)
        return self.leaves[name]

    def shape(self, lengths: tuple[int, ...], rows: int) -> tuple[Any, ...]:
        inner = tuple(self.one(lengths) for _ in range(self.number(0, 3 - rows)))
        return (N, *inner) if rows else inner

    def like(self, *wanted: Callable[[Tensor], bool]) -> Tensor:
        """Return one of the values that are as `wanted`, often one of the latest."""
        return self.one([t for t in reversed(self.pool) if all(w(t) for w in wanted)])


SPECIAL = np.array([0.0, -0.0, 1.0, np.inf, -np.inf, np.nan, 1e30, 1e-30, -1e30])


def _is_float(t: Tensor) -> bool:
    return t.dtype.kind == "f"


def _matrix(t: Tensor) -> bool:
    return t.ndim >= 2


def _fixed(t: Tensor) -> bool:
    return not any(isinstance(d, Dim) for d in t.shape)


def _elementwise(m: _Maker) -> Tensor:
    primitive = registry[m.one(ELEMENTWISE)]
    assert primitive.domain is not None
    drawn, params = primitive.domain(np.random.default_rng(0))
    given = [_fed(m, primitive, m.like(), np.asarray(d), i) for i, d in enumerate(drawn)]
    if primitive.name == "cast":
        params = {"dtype": m.one(DTYPES)}
        if _is_float(given[0]):  # what a type can't hold has no defined value
            given[0] = cr.where(cr.abs(given[0]) < 100, given[0], 0.0)
            given[0] = cr.abs(given[0]) if params["dtype"][0] == "u" else given[0]
    return record(primitive, *given, **params)


def _fed(m: _Maker, primitive: Primitive, t: Tensor, drawn: Array, place: int) -> Tensor:
    """Return `t`, or a function of it with values in the range of `drawn`."""
    if drawn.dtype == bool and t.dtype != bool:
        return t > 0
    if primitive.floating and m.chance(80):
        low, high = float(drawn.min()), float(drawn.max())
        return cr.tanh(t) * ((high - low) / 2) + (high + low) / 2
    return t


def _reduction(m: _Maker) -> Tensor:
    t = m.like(lambda t: t.ndim > 0)
    axes = tuple(a for a in range(t.ndim) if m.chance(50)) or (m.number(0, t.ndim - 1),)
    if t.dtype == bool:
        t = t.astype("int64")
    return record(registry[m.one(("sum", "max"))], t, axes=axes, keepdims=m.chance(50))


def _argmax(m: _Maker) -> Tensor:
    t = m.like(lambda t: t.ndim > 0)
    return record(registry["argmax"], t, axis=m.number(0, t.ndim - 1))


def _matmul(m: _Maker) -> Tensor:
    a = m.like(_matrix, _is_float)
    last = a.shape[-1]
    if m.chance(50):
        b = m.leaf((last, m.one(LENGTHS)), a.dtype.name)
    else:
        b = m.like(_matrix, _is_float)
        b = cr.transpose(b, _swapped(b.ndim)) if b.shape[-1] == last and m.chance(60) else b
    return record(registry["matmul"], _small(a), b)


def _small(t: Tensor) -> Tensor:
    return cr.tanh(t) if _is_float(t) else t


def _swapped(ndim: int) -> tuple[int, ...]:
    return (*range(ndim - 2), ndim - 1, ndim - 2)


def _row_products(m: _Maker) -> Tensor:
    a = m.like(_matrix, _is_float)
    b = m.like(lambda t: t.shape[:-1] == a.shape[:-1] and t.ndim > 1, _is_float)
    return record(registry["row_products"], _small(a), b)


def _wiring(m: _Maker, inputs: int) -> Wiring:
    outputs = m.one(LENGTHS)
    edges = m.rng.choice(inputs * outputs, m.number(1, min(40, inputs * outputs)), replace=False)
    return Wiring(inputs, outputs, edges // outputs, edges % outputs)


def _sparse(m: _Maker) -> Tensor:
    a = m.like(lambda t: t.ndim == 2 and isinstance(t.shape[1], int), _is_float)
    wiring = _wiring(m, a.shape[1])
    if m.chance(50):
        weights = m.leaf((wiring.edges,), a.dtype.name)
        return record(
            registry["sparse_matmul"], _small(a), weights, wiring=wiring, transposed=False
        )
    b = m.leaf((a.shape[0], wiring.outputs), a.dtype.name)
    return record(registry["edge_products"], _small(a), b, wiring=wiring)


def _reshape(m: _Maker) -> Tensor:
    t = m.like()
    rows = t.shape[:1] if t.shape[:1] == (N,) else ()
    inner = [d for d in t.shape[len(rows) :] if isinstance(d, int)]
    size, new = int(np.prod(inner)), []
    for _ in range(m.number(0, 2)):
        new.append(m.one([d for d in range(1, size + 1) if size % d == 0]))
        size //= new[-1]
    return record(registry["reshape"], t, shape=(*rows, *new, size))


def _broadcast(m: _Maker) -> Tensor:
    t = m.like()
    target = [m.one(LENGTHS[:8]) if d == 1 and m.chance(60) else d for d in t.shape]
    if t.shape[:1] == (1,) and m.chance(30):
        target[0] = N
    elif _fixed(t) and t.ndim < 3 and m.chance(50):
        target = [m.one((N, 1, 2, 5)), *target]
    return record(registry["broadcast"], t, shape=tuple(target))


def _transpose(m: _Maker) -> Tensor:
    t = m.like(_matrix)
    first = 1 if t.shape[0] == N and not (m.anywhere and m.chance(70)) else 0
    axes = list(range(first, t.ndim))
    order = [axes.pop(m.number(0, len(axes) - 1)) for _ in range(len(axes))]
    return record(registry["transpose"], t, axes=(*range(first), *order))


def _slice(m: _Maker) -> Tensor:
    t = m.like(lambda t: t.ndim > 0)
    index = []
    for d in t.shape:
        low = 0 if isinstance(d, Dim) else m.number(0, d - 1)
        high = d if isinstance(d, Dim) else m.number(low + 1, d)
        index.append((low, high, 1 if isinstance(d, Dim) else m.number(1, 3)))
    starts, stops, steps = zip(*index, strict=True)
    return record(registry["slice"], t, starts=starts, stops=stops, steps=steps)


def _pad(m: _Maker) -> Tensor:
    t = m.like(lambda t: t.ndim > 0)
    at = [
        (0, 0, 0) if isinstance(d, Dim) else (m.number(0, 2), m.number(0, 2), m.number(0, 2))
        for d in t.shape
    ]
    low, high, interior = zip(*at, strict=True)
    return record(registry["pad"], t, low=low, high=high, interior=interior)


def _concat(m: _Maker) -> Tensor:
    a = m.like(lambda t: t.ndim > 0 and t.shape != (N,))
    axis = m.number(1 if a.shape[0] == N else 0, a.ndim - 1)
    rest = a.shape[:axis] + a.shape[axis + 1 :]
    others = [b for b in m.pool if b.ndim == a.ndim and b.dtype == a.dtype]
    joined = [b for b in others if b.shape[:axis] + b.shape[axis + 1 :] == rest]
    return cr.concat([m.one(joined) for _ in range(m.number(1, 3))] + [a], axis)


def _ids(m: _Maker, length: Any, shape: tuple[Any, ...]) -> Tensor:
    most = m.fewest if isinstance(length, Dim) else length
    full = (m.rows, *shape[1:]) if shape[:1] == (N,) else shape
    return m.leaf(shape, m.one(("int64", "int32")), m.rng.integers(-most, most, full))


def _gather(m: _Maker) -> Tensor:
    t = m.like(lambda t: t.ndim > 0)
    shape = m.one(((N,), (5,), (N, 2), (2, 3), ()))
    return record(registry["gather"], t, _ids(m, t.shape[0], shape))


def _scatter(m: _Maker) -> Tensor:
    t = m.like(_is_float)
    ids = t.shape[: m.number(0, t.ndim)]
    rows = m.one((4, 1, 9, N)) if t.ndim else 4
    return record(registry["scatter_add"], t, _ids(m, rows, ids), rows=rows)


def _made(m: _Maker) -> Tensor:
    """Return a value without inputs, or a random one."""
    length, dtype = m.one((N, 5, 1)), m.one(("int32", "int64", "float32", "float64"))
    kind = m.number(0, 2)
    if kind == 0:
        return record(registry["arange"], length=length, dtype=dtype)
    if kind == 1:
        lengths = m.one(((N,), (3, 4), (N, 3)))
        return record(registry["count"], lengths=lengths, dtype=m.one(("int64", "float64")))
    seed = m.leaf((), "int64", np.asarray(m.number(0, 9)))
    shape = m.shape(LENGTHS, m.number(0, 1))
    real = m.one(("float32", "float64"))
    return record(registry["uniform"], seed, shape=shape, stream=m.number(0, 3), dtype=real)


def _composite(m: _Maker) -> Tensor:
    t = m.like(_is_float)
    ways: list[Callable[[], Tensor]] = [
        lambda: cr.softmax(t), lambda: cr.log_softmax(t), lambda: cr.logsumexp(t, -1),
        lambda: cr.var(t, -1), lambda: cr.norm(cr.tanh(t)), lambda: cr.gelu(t),
        lambda: cr.mean(t, 0), lambda: cr.clip(t, -0.5, 0.5), lambda: cr.softplus(t),
        lambda: cr.elu(t), lambda: cr.stop_gradient(t), lambda: cr.square(_small(t)),
    ]  # fmt: skip
    return m.one(ways)()


# Ways to make a value from others, some of them often; with ELEMENTWISE these are all operations.
WAYS = (
    *(_elementwise,) * 6, *(_matmul,) * 3, *(_reduction,) * 3, _argmax, _row_products, _sparse,
    _reshape, _broadcast, _transpose, _slice, _pad, _concat, _gather, _scatter, _made,
    *(_composite,) * 2,
)  # fmt: skip


def _kept(m: _Maker, t: Tensor) -> bool:
    size = int(np.prod([d for d in t.shape if isinstance(d, int)]))
    if m.anywhere and view_of(t.shape) is None:
        return t.ndim <= 4 and size <= 100 and t.shape.count(N) <= 2
    return t.ndim <= 4 and 0 < size <= MOST and view_of(t.shape) is not None


@st.composite
def graphs(draw: st.DrawFn) -> Trial:
    """Draw a graph of up to 16 operations, with sums, whole results, gradients and new state."""
    order, batch, capacity, rows, rng = _batches(draw)
    m = _Maker(draw, rng, rows, len(order) % batch or batch)
    m.anywhere = m.chance(20)
    lengths = tuple(m.one(LENGTHS) for _ in range(3))
    real = m.one(("float64", "float32"))
    for k in range(m.number(2, 5)):
        dtype = real if m.chance(75) else m.one(DTYPES)
        m.pool.append(m.leaf(m.shape(lengths, 1 if k == 0 else m.number(0, 1)), dtype))
    for _ in range(m.number(1, 16)):
        try:
            made = m.one(WAYS)(m)
        except (ChainruleError, IndexError):
            continue
        if _kept(m, made):
            m.pool.append(made)
    outputs: dict[str, Tensor] = {}
    made = [t for t in m.pool if t.node.inputs] or m.pool
    for k in range(m.number(1, 3)):
        t = made[-1] if k == 0 else m.one(made)
        outputs[f"out{k}"] = t if t.shape else t * 1
    reals = [t for t in made if _is_float(t)]
    weights = {name: leaf for name, leaf in m.leaves.items() if _is_float(leaf)}
    if reals and weights and m.chance(70):
        t = m.one(reals[-3:])
        loss = outputs["loss"] = (cr.tanh(t) if m.chance(60) else t).mean()
        slopes = cr.grad(loss, list(weights.values()), unused="zero")
        for (name, leaf), slope in zip(weights.items(), slopes, strict=True):
            if name in m.state:
                outputs[name] = leaf - cr.cast(0.1 * slope, leaf.dtype)
            elif m.chance(40):
                outputs[f"slope {name}"] = slope
        if m.chance(20):
            again = cr.grad(cr.sin(slopes[0]).sum(), list(weights.values()), unused="zero")
            outputs["second slope"] = m.one(again)
    for name in m.state:
        outputs.setdefault(name, m.leaves[name])
    return Trial(Case(cr.Graph(outputs, m.leaves), m.state, m.data), order, batch, capacity)


def _batches(draw: st.DrawFn) -> tuple[Array, int, int, int, np.random.Generator]:
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    rows, batch = draw(st.integers(1, 140)), draw(st.integers(1, 70))
    order = rng.integers(0, rows, draw(st.integers(1, min(140, 4 * batch))))
    return order, batch, batch + draw(st.sampled_from((0, 0, 1, 30))), rows, rng


OPTIMIZERS: dict[str, Callable[[], optim.Optimizer]] = {
    "sgd": lambda: optim.SGD(0.1),
    "momentum": lambda: optim.SGD(0.1, 0.9),
    "adam": lambda: optim.Adam(0.01),
    "adamw": lambda: optim.AdamW(0.01, weight_decay=0.1),
    "rmsprop": lambda: optim.RMSProp(0.01, momentum=0.5, centered=True),
    "adagrad": lambda: optim.AdaGrad(0.05),
    "adadelta": lambda: optim.AdaDelta(),
    "nadam": lambda: optim.Nadam(0.01),
    "amsgrad": lambda: optim.AMSGrad(0.01),
    "radam": lambda: optim.RAdam(0.01),
    "lion": lambda: optim.Lion(0.002, weight_decay=0.1),
    "clipped": lambda: optim.chain(optim.ClipNorm(0.1), optim.Adam()),
    "max norm": lambda: optim.chain(optim.SGD(0.2), optim.MaxNorm(0.8)),
    "accumulate": lambda: optim.Accumulate(2, optim.Adam(0.01)),
    "averaged": lambda: optim.EMA(optim.SGD(0.1), 0.9),
    "scheduled": lambda: optim.SGD(optim.Warmup(optim.Cosine(0.3, steps=8), steps=3)),
}
LOSSES = (
    "cross_entropy", "mse", "mae", "huber", "hinge", "log_cosh", "poisson", "kl_divergence",
    "binary_cross_entropy", "multiclass_hinge", "squared_hinge", "smoothed one-hot",
)  # fmt: skip
ACTIVATIONS = ("tanh", "relu", "sigmoid", "gelu", "elu", "softplus", "silu", "leaky_relu", "selu")


@st.composite
def steps(draw: st.DrawFn) -> Trial:
    """Draw a training step of a network of layers with a loss and an optimizer."""
    order, batch, capacity, rows, rng = _batches(draw)
    m = _Maker(draw, rng, rows, 1)
    dtype, width = m.one(("float64", "float32")), m.one(LENGTHS)
    x = rng.normal(size=(rows, width)).astype(dtype)
    layers: list[Any] = []
    for _ in range(m.number(0, 3)):
        new = m.one(LENGTHS)
        layers += [_weighted(m, width, new, dtype), nn.activation(m.one(ACTIVATIONS))]
        width = new
        extra: list[Callable[[], Any]] = [
            lambda: nn.LayerNorm(width, dtype=dtype), lambda: nn.Dropout(0.3),  # noqa: B023
            lambda: nn.BatchNorm(width, dtype=dtype), lambda: nn.PReLU(dtype=dtype),  # noqa: B023
            lambda: nn.RMSNorm(width, dtype=dtype),  # noqa: B023
            lambda: nn.ActivityPenalty(nn.L1(0.01)), lambda: nn.GaussianNoise(0.2),
            lambda: nn.Residual([nn.Linear(width, width, dtype=dtype), nn.Tanh()]),  # noqa: B023
        ]  # fmt: skip
        if m.chance(40):
            layers.append(m.one(extra)())
    loss = m.one(LOSSES)
    last = m.one((2, 3, 9, 17)) if "entropy" in loss or "multi" in loss else m.one(LENGTHS[:9])
    model = nn.Sequential([*layers, nn.Linear(width, max(2, last), dtype=dtype)])
    nn.initialize(model, m.number(0, 99))
    y = targets(loss, rows, max(2, last), dtype, rng)
    case = training(model, loss, OPTIMIZERS[m.one(sorted(OPTIMIZERS))](), x, y)
    return Trial(case, order, batch, capacity)


def _weighted(m: _Maker, inputs: int, outputs: int, dtype: str) -> Any:
    if m.chance(15):
        return nn.SparseLinear(inputs, outputs, nn.Density(0.5, m.number(0, 9)), dtype=dtype)
    if m.chance(10):
        return nn.Maxout(inputs, outputs, pieces=2, dtype=dtype)
    return nn.Linear(inputs, outputs, use_bias=m.chance(80), dtype=dtype)


def trials() -> st.SearchStrategy[Trial]:
    """Return graphs of any operations, and training steps."""
    return st.one_of(graphs(), graphs(), graphs(), steps())


def _step_by_step(trial: Trial, run: Callable[[Mapping[str, Array]], Any]) -> dict[str, Array]:
    """Return the state after all steps, the sums over them, and the last other results."""
    state = dict(trial.case.state)
    found: dict[str, Array] = {}
    for start in range(0, len(trial.order), trial.batch):
        rows = trial.order[start : start + trial.batch]
        outputs = run({**state, **{n: a[rows] for n, a in trial.case.data.items()}})
        state = {name: np.array(outputs.pop(name)) for name in state}
        for name, value in outputs.items():
            single = view_of(trial.case.graph.outputs[name].spec.shape) == (1, 1)
            total = np.asarray(value, np.float64) if single else np.asarray(value)
            found[name] = found[name] + total if single and name in found else total
    return found | state


def check_values(trial: Trial, evaluate: Callable[[Graph, Mapping[str, Array]], Any]) -> None:
    """Hold steps whose values `evaluate` computes to the reference."""
    _check_results(trial, _step_by_step(trial, lambda v: evaluate(trial.case.graph, v)))


def _check_results(trial: Trial, found: Mapping[str, Array]) -> None:
    graph, rng = trial.case.graph, np.random.default_rng(0)
    expected = _step_by_step(trial, Interpreter(graph))
    noisy = [_step_by_step(trial, lambda v: evaluate_noisily(graph, v, rng)) for _ in range(NOISES)]
    assert_near(found, expected, noisy)


def _natively(trial: Trial, threads: int) -> dict[str, Array]:
    case, last = trial.case, len(trial.order) % trial.batch or trial.batch
    program = native_program(case.graph, case.state, case.data, trial.capacity, threads)
    left = program.code.left_to_reference()
    assert not left, f"the interpreter computes {left}"
    found = {n: np.asarray(v) for n, v in program.run(trial.order, trial.batch).items()}
    if isinstance(program, ProgramByRows):
        results = results_of(program.codes.caller(last))
        found |= {n: np.asarray(v) for n, v in results.items() if n not in found}
    else:
        for name, node in program.code.slots.wholes.items():
            shape = resolve(case.graph.outputs[name].spec.shape, {N: last})
            values = program.caller.buffers[node].ravel()[: int(np.prod(shape))]
            found[name] = values.reshape(shape).copy()
    return found | {name: view.copy() for name, view in program.state.items()}


def check(trial: Trial) -> None:
    """Hold native results to the reference, and on more threads to the same bits."""
    alone = _natively(trial, 1)
    _check_results(trial, alone)
    for threads in (2, 3):
        for name, value in _natively(trial, threads).items():
            np.testing.assert_array_equal(value, alone[name], f"{name}, {threads} threads")
