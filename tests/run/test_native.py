"""Native code trains as the reference interpreter does: every optimizer, loss, activation, width.

In float64 a hundred steps agree to 1e-9.  In float32 the engines round
differently (fused multiply-adds, the order of a sum, functions right to 2 ulp),
and each step carries the difference on: a bound is stated beside each test.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.core.graph import Graph, Node
from chainrule.core.primitive import registry
from chainrule.core.spec import Dim
from chainrule.nn.activations import activation_names
from chainrule.optim import Optimizer
from chainrule.run.llvm import caller, native
from chainrule.run.llvm.native import NativeFunction
from chainrule.run.reference import Interpreter
from chainrule.step.objective import BY_NAME
from tests.run.agreement import (
    VARIANTS,
    Array,
    Case,
    assert_agree,
    distance,
    network,
    shuffled,
    targets,
    training,
)

OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": optim.SGD(0.1),
    "momentum": optim.SGD(0.05, momentum=0.9),
    "nesterov": optim.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": optim.Adam(0.01),
    "clip_norm": optim.chain(optim.ClipNorm(0.3), optim.SGD(0.1, momentum=0.5)),
    "clip_value": optim.chain(optim.ClipValue(0.02), optim.Adam(0.01)),
}
LOSSES = ["cross_entropy", "one-hot", "binary_cross_entropy", "mse"]
USUAL = ["relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "tanh", "sigmoid"]
OTHERS = sorted({*activation_names(), "prelu, one a unit", "maxout"} - set(USUAL))
OTHER_LOSSES = sorted({*BY_NAME, *VARIANTS} - set(LOSSES))
# Each usual activation meets each usual loss, and the optimizers take turns so that each meets
# each of both.
COMBINATIONS = [
    (activation, loss, list(OPTIMIZERS)[(i + j) % 6])
    for (i, activation), (j, loss) in itertools.product(enumerate(USUAL), enumerate(LOSSES))
]
# Each other activation and each other loss meet one.
TURNS = [
    (OTHERS[i % len(OTHERS)], OTHER_LOSSES[i % len(OTHER_LOSSES)], list(OPTIMIZERS)[i % 6])
    for i in range(max(len(OTHERS), len(OTHER_LOSSES)))
]


def _case(
    activation: str, loss: str, optimizer: str, dtype: str, sizes: tuple[int, ...] = (5, 9, 3)
) -> Case:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(23, sizes[0])).astype(dtype)
    y = targets(loss, 23, sizes[-1], dtype, rng)
    return training(network(sizes, activation, dtype), loss, OPTIMIZERS[optimizer], x, y)


def test_the_combinations_hold_every_pair() -> None:
    activations, losses, optimizers = (len({c[p] for c in COMBINATIONS}) for p in range(3))
    assert len({c[:2] for c in COMBINATIONS}) == activations * losses
    assert len({c[1:] for c in COMBINATIONS}) == losses * optimizers
    # Six optimizers can't all meet an activation on four losses.
    assert len({c[::2] for c in COMBINATIONS}) == activations * losses


@pytest.mark.one_in(5)
@pytest.mark.parametrize(("activation", "loss", "optimizer"), COMBINATIONS + TURNS)
def test_a_hundred_steps_in_float64(activation: str, loss: str, optimizer: str) -> None:
    case = _case(activation, loss, optimizer, "float64")
    # 23 rows by 7: three whole batches and one of two rows, 25 times over.
    assert_agree(case, shuffled(23, 25), 7, 1e-9)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("optimizer", "loss"), list(zip(OPTIMIZERS, LOSSES * 2, strict=False)))
@pytest.mark.parametrize("steps", [1, 100])
def test_float32_within_bounds_that_grow_with_steps(optimizer: str, loss: str, steps: int) -> None:
    """A step may add 2e-6 relative to weights near 1: some 16 roundings of 1.2e-7.

    Adam divides by the root of a mean of squares, so that a gradient near zero,
    all rounding, still moves a weight by a share of the learning rate.
    """
    case = _case("tanh", loss, optimizer, "float32")
    order = shuffled(23, 25)[: 7 * steps]
    assert_agree(case, order, 7, 2e-6 * steps)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("activation", [*USUAL, "selu", "prelu", "softsign", "maxout"])
def test_float32_of_activations(activation: str) -> None:
    assert_agree(_case(activation, "mse", "sgd", "float32"), shuffled(23, 5), 7, 2e-5)


@pytest.mark.parametrize("loss", ["kl_divergence", "multiclass_hinge", "poisson"])
def test_float32_of_other_losses(loss: str) -> None:
    assert_agree(_case("tanh", loss, "sgd", "float32"), shuffled(23, 5), 7, 2e-5)


@pytest.fixture(scope="module")
def threaded() -> Case:
    return _case("relu", "cross_entropy", "clip_norm", "float64", (5, 33, 3))


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize("batch", [1, 2, 7, 23, 64])
def test_threads_and_batches(threaded: Case, threads: int, batch: int) -> None:
    """A batch of one row, one larger than the data, a partial last one; more threads than rows."""
    assert_agree(threaded, shuffled(23, 2), batch, 1e-10, threads, capacity=64)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["float32", "float64", "uint8", "image", "int64", "int32", "bool"])
def test_every_kind_of_data(kind: str, dtype: str) -> None:
    rng = np.random.default_rng(3)
    model: Any = network((12, 6, 4), "relu", dtype)
    if kind == "image":  # rows of 3 x 4 pixels
        x = rng.integers(0, 256, (19, 3, 4)).astype(np.uint8)
        model = nn.Sequential([nn.Flatten(), *model.layers])
    elif kind.startswith("float"):
        x = rng.normal(size=(19, 12)).astype(kind)
    else:
        x = rng.integers(0, 256 if kind == "uint8" else 2, (19, 12)).astype(kind)
    case = training(model, "cross_entropy", optim.SGD(0.1), x, rng.integers(0, 4, 19))
    assert_agree(case, shuffled(19, 4), 5, 1e-9 if dtype == "float64" else 2e-5)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_classes_of_every_integer_dtype(dtype: str) -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(17, 3)), rng.integers(0, 5, 17).astype(dtype)
    case = training(network((3, 5)), "cross_entropy", optim.SGD(0.1), x, y)
    assert_agree(case, shuffled(17, 3), 4, 1e-10)


@pytest.mark.parametrize(
    ("loss", "metrics"),
    [
        ("mse", ["mse", "rmse", "mae", "r2"]),
        ("binary_cross_entropy", ["accuracy", "label_accuracy"]),
        ("cross_entropy", ["accuracy"]),
        ("poisson", ["mae", "r2"]),
    ],
)
def test_metrics_are_summed_as_the_reference_sums_them(loss: str, metrics: list[str]) -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(29, 4))
    case = training(
        network((4, 7, 3)),
        loss,
        optim.SGD(0.05),
        x,
        targets(loss, 29, 3, "float64", rng),
        metrics,
    )
    native, reference = case.native(8), case.reference()
    ours, theirs = native.run(shuffled(29, 2), 8), reference.run(shuffled(29, 2), 8)
    assert set(ours) == {"loss", *metrics}
    assert distance(ours, theirs) < 1e-6  # metrics are float32
    if "accuracy" in ours:  # counts, whole numbers
        assert ours["accuracy"] == theirs["accuracy"]


# Around the widths of registers (4, 8, 16), of tiles (32, 64), and of a row kept in registers (64).
WIDTHS: list[tuple[int, ...]] = [
    (1, 1),
    (1, 1, 1, 1),
    (2, 1, 3),
    (3, 5, 1, 7, 2),
    (7, 8, 9, 1),
    (15, 16, 17, 4),
    (31, 33, 5, 3, 2, 4),
    (63, 64, 3),
    (65, 66, 2),
    (100, 1, 129),
    (4, 257),
    (257, 2, 100),
]


@pytest.mark.one_in(5)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("sizes", WIDTHS, ids=str)
def test_widths_around_the_edges_of_registers(sizes: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(13, sizes[0])).astype(dtype)
    y = rng.normal(size=(13, sizes[-1])).astype(dtype)
    case = training(network(sizes, "tanh", dtype), "mse", optim.SGD(0.05, momentum=0.9), x, y)
    bound = 1e-11 if dtype == "float64" else 1e-5
    assert_agree(case, shuffled(13, 3), 5, bound)
    assert_agree(case, shuffled(13, 3), 4, bound, threads=2, capacity=5)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("classes", [2, 63, 64, 65, 66, 100, 129, 1000])
def test_softmax_over_short_and_long_rows(classes: int) -> None:
    """Up to 64 columns a row stays in registers; a longer one is walked once a pass."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(11, 3))
    for y in (rng.integers(0, classes, 11), rng.dirichlet(np.ones(classes), 11)):
        case = training(network((3, classes)), "cross_entropy", optim.SGD(0.5), x, y)
        assert_agree(case, shuffled(11, 3), 4, 1e-11, threads=2)


@pytest.mark.parametrize(("classes", "dtype"), [(10, "float32"), (65, "float32")])
def test_softmax_of_huge_scores_stays_finite(classes: int, dtype: str) -> None:
    x = np.array([[1e4], [-1e4], [0.0]], dtype)
    y = np.array([0, 1, classes - 1])
    model = network((1, classes), dtype=dtype)
    case = training(model, "cross_entropy", optim.SGD(1e-6), x, y)
    assert_agree(case, np.arange(3), 3, 1e-5)


def test_a_weight_used_by_two_layers_learns_from_both() -> None:
    shared = nn.Linear(6, 6, dtype="float64")
    model = nn.Sequential([shared, nn.Tanh(), shared, nn.ReLU(), nn.Linear(6, 2, dtype="float64")])
    nn.initialize(model)
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(21, 6)), rng.normal(size=(21, 2))
    for optimizer in OPTIMIZERS.values():
        assert_agree(training(model, "mse", optimizer, x, y), shuffled(21, 10), 5, 1e-10, 2)


@dataclass
class Skip:
    """``x + relu(inner(x))``."""

    inner: nn.Linear

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        return x + cr.relu(self.inner(x))


def test_layers_without_bias_and_skips_around_layers() -> None:
    layers = [
        nn.Linear(5, 8, use_bias=False, dtype="float64"),
        Skip(nn.Linear(8, 8, dtype="float64")),
        Skip(nn.Linear(8, 8, use_bias=False, dtype="float64")),
        nn.Linear(8, 3, dtype="float64"),
    ]
    model = nn.Sequential(layers)
    nn.initialize(model)
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(15, 5)), rng.integers(0, 3, 15)
    assert_agree(
        training(model, "cross_entropy", optim.Adam(0.01), x, y), shuffled(15, 10), 4, 1e-10, 2
    )


# --- every primitive, element by element ---------------------------------------------------------

SCALAR = sorted(name for name, p in registry.items() if p.scalar is not None and not p.leaf)
EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -2.5, 3.0, 1e-3, 30.0, -30.0, 88.0, 700.0, 1e30, -1e30]
SPECIAL = [*EDGES, np.nan, np.inf, -np.inf]
# C99 and NumPy leave these open, or the engines may differ in the last places of huge arguments.
MATH = {name for name in SCALAR if registry[name].costly} - {"div", "floor"}


def _arguments(name: str, dtype: str) -> list[Array]:
    """Return every pair (or triple) of edge values of `dtype` that the primitive may meet."""
    if dtype == "bool":
        values: Array = np.array([False, True])
    elif dtype.startswith("float"):
        values = np.array(SPECIAL, dtype)
    else:
        info = np.iinfo(dtype)
        values = np.array([0, 1, 2, 3, 7, 100, info.max, info.min, info.max - 1], dtype)
    if name == "where":
        return [np.tile([True, False], len(values)), np.repeat(values, 2), np.repeat(values, 2)]
    domain = registry[name].domain
    assert domain is not None
    if len(domain(np.random.default_rng(0))[0]) == 1:
        return [values]
    return [np.repeat(values, len(values)), np.tile(values, len(values))]


def _elementwise(dtype: str) -> tuple[dict[str, Node], dict[str, Array]]:
    """Return one graph of all primitives that take `dtype`, each over its own arguments."""
    outputs, data = {}, {}
    for name in SCALAR:
        arrays = _arguments(name, dtype)
        if name == "where":
            arrays[2] = arrays[2][::-1]
        leaves = [cr.input(f"{name}{i}", ("n",), a.dtype) for i, a in enumerate(arrays)]
        dtypes = ["float32", "float64", "int32", "int64", "uint8", "uint32", "bool"]
        for target in dtypes if name == "cast" else [""]:
            params = {"dtype": target} if target else {}
            try:
                spec = registry[name].infer(*(leaf.node.spec for leaf in leaves), **params)
            except cr.ChainruleError:
                continue
            if registry[name].floating and not dtype.startswith("float"):
                continue
            nodes = tuple(leaf.node for leaf in leaves)
            outputs[name + target] = Node(registry[name], nodes, params, spec)
            data.update({f"{name}{i}": a for i, a in enumerate(arrays)})
    return outputs, data


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "int32", "int64", "uint8", "uint32", "bool"]
)
def test_every_scalar_rule_is_its_meaning(dtype: str) -> None:
    outputs, data = _elementwise(dtype)
    rows = max(len(a) for a in data.values())
    data = {name: np.resize(a, rows) for name, a in data.items()}
    graph = Graph(outputs)
    function = NativeFunction(graph, set(data), threads=1)
    assert not function.code.left_to_reference()
    ours, theirs = function(data), Interpreter(graph)(data)
    for name, expected in theirs.items():
        got = ours[name]
        assert got.dtype == expected.dtype, name
        defined = np.ones(rows, bool)
        if name.startswith("cast") and dtype.startswith("float") and expected.dtype.kind in "iu":
            # C leaves a float outside the integers' range undefined.
            low, high = np.iinfo(expected.dtype).min, np.iinfo(expected.dtype).max
            defined = (data["cast0"] > float(low) - 1) & (data["cast0"] < float(high))
        if name in MATH:
            ulps = {"float32": 4e-7, "float64": 1e-15}[dtype]
            np.testing.assert_allclose(got, expected, rtol=ulps, atol=1e-37, err_msg=name)
        else:
            np.testing.assert_array_equal(got[defined], expected[defined], err_msg=name)


@pytest.mark.parametrize("columns", [1, 7, 31, 32, 33, 67, 200])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_of_any_length_are_summed_whole(columns: int, dtype: str) -> None:
    x = cr.input("x", (Dim("n"), columns), dtype)
    graph = Graph({"sum": x.sum().node, "most": x.max().node})
    rows = np.random.default_rng(columns).integers(-50, 50, (5, columns)).astype(dtype)
    found = NativeFunction(graph, {"x"}, threads=1)({"x": rows})
    assert found == {"sum": rows.sum(), "most": rows.max()}


def _doubled() -> NativeFunction:
    x = cr.input("x", ("n", 3), "float64")
    return NativeFunction(Graph({"output": ((x - x.mean(axis=0)) * 2.0).node}), {"x"}, threads=1)


def test_an_interrupted_call_leaves_no_wrong_address(monkeypatch: pytest.MonkeyPatch) -> None:
    x = cr.input("x", ("n", 3000), "float64")
    function = NativeFunction(Graph({"output": (x * 2.0).node}), {"x"}, threads=1)
    first, second = np.ones((3, 3000)), np.full((3, 3000), 5.0)

    def interrupted(array: Any) -> int:
        raise KeyboardInterrupt

    function({"x": first})
    with monkeypatch.context() as patched:
        patched.setattr(caller, "address_of", interrupted)
        with pytest.raises(KeyboardInterrupt):
            function({"x": second})
    np.testing.assert_array_equal(function({"x": second})["output"], 10.0)


def test_no_memory_for_more_rows_leaves_the_function_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    function, rows = _doubled(), np.random.default_rng(0).normal(size=(5000, 3))

    def full(*given: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(native, "Caller", full)
        with pytest.raises(MemoryError):
            function({"x": rows})
    expected = 2.0 * (rows - rows.mean(axis=0))
    np.testing.assert_allclose(function({"x": rows})["output"], expected, atol=1e-12)


@pytest.mark.parametrize("returned", ["twice", "itself"])
def test_a_frozen_function_reads_rows_where_they_are(returned: str) -> None:
    x = cr.input("x", (Dim("n"), 3))
    graph = Graph({"output": (x + x if returned == "twice" else x).node})
    frozen = NativeFunction(graph, {"x"}, threads=1, frozen={})
    factor = 2 if returned == "twice" else 1
    for rows in (1, 63, 64, 65, 1023, 1025, 3000):
        given = np.arange(6.0 * rows, dtype="f4").reshape(2 * rows, 3)[::2]
        np.testing.assert_array_equal(frozen({"x": given})["output"], factor * given)
        brief = frozen.brief()
        assert brief is not None
        if rows <= brief[1]:
            np.testing.assert_array_equal(brief[0](given)[0], factor * given)
