"""Networks drawn as graphs, of layers and of neurons, against the same written out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from tests.run.agreement import assert_agree, shuffled, training

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(0)


class DiGraph:
    """What is asked of networkx.DiGraph, and nothing more."""

    def __init__(self, edges: list[tuple[Any, Any]], directed: bool = True, **nodes: Any):
        self.edges, self.nodes, self._directed = edges, nodes, directed

    def is_directed(self) -> bool:
        return self._directed


def _linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, dtype="float64")


def _value(layer: Any, x: Array) -> Array:
    result: Array = layer(cr.tensor(x)).numpy()
    return result


def _affine(layer: Any, x: Array) -> Array:
    result: Array = x @ layer.weight.value + layer.bias.value
    return result


# --- of layers ----------------------------------------------------------------------------------


def test_a_residual_block_adds() -> None:
    f, g = _linear(4, 4), _linear(4, 3)
    edges = [("x", "f"), ("f", "tanh"), ("x", "sum"), ("tanh", "sum"), ("sum", "g")]
    net = nn.Network({"f": f, "tanh": nn.Tanh(), "g": g}, edges, join={"sum": "add"})
    nn.initialize(net, 1)
    x = RNG.normal(size=(5, 4))
    expected = _affine(g, x + np.tanh(_affine(f, x)))
    np.testing.assert_allclose(_value(net, x), expected, rtol=1e-13)
    assert list(nn.parameters(net)) == ["f.weight", "f.bias", "g.weight", "g.bias"]


def test_dense_connections_are_side_by_side_in_the_order_of_the_edges() -> None:
    a, b, c = _linear(4, 3), _linear(7, 2), _linear(9, 5)
    net = nn.Network({"a": a, "b": b, "c": c}, {"x": ["a", "b", "c"], "a": ["b", "c"], "b": "c"})
    nn.initialize(net, 1)
    x = RNG.normal(size=(5, 4))
    first = _affine(a, x)
    second = _affine(b, np.hstack([x, first]))
    expected = _affine(c, np.hstack([x, first, second]))
    np.testing.assert_allclose(_value(net, x), expected, rtol=1e-13)


def _dense_net(dtype: str = "float64") -> nn.Network:
    layers = {
        "a": nn.Linear(4, 6, dtype=dtype),
        "relu": nn.ReLU(),
        "b": nn.Linear(10, 4, dtype=dtype),
        "c": nn.SparseLinear.from_density(10, 3, 0.5, dtype=dtype),
    }
    edges = [
        ("x", "a"), ("a", "relu"), ("relu", "b"), ("x", "b"), ("b", "sum"), ("x", "sum"),
        ("relu", "c"), ("sum", "c"),
    ]  # fmt: skip
    return nn.Network(layers, edges, join={"sum": "add"})


def test_the_engines_agree_on_training_a_graph_of_layers() -> None:
    net = _dense_net()
    nn.initialize(net, 0)
    x, y = RNG.normal(size=(30, 4)), RNG.integers(0, 3, 30)
    case = training(net, "cross_entropy", optim.Adam(0.01), x, y)
    assert not case.native(8).code.left_to_reference()
    for threads in (1, 2):
        assert_agree(case, shuffled(30, 3), 8, 1e-9, threads)


def test_an_object_with_nodes_and_edges_is_enough() -> None:
    f, g = _linear(4, 4), _linear(4, 3)
    edges: list[tuple[Any, Any]] = [("x", "f"), ("f", "s"), ("x", "s"), ("s", "g")]
    graph = DiGraph(edges, x={}, f={"layer": f}, s={"join": "add"}, g={"layer": g})
    net = nn.Network(graph)
    x = RNG.normal(size=(5, 4))
    expected = _affine(g, x + _affine(f, x))
    np.testing.assert_allclose(_value(net, x), expected, rtol=1e-13)
    again = nn.Network({"f": f, "g": g}, edges, join={"s": "add"})
    assert repr(again) == repr(net)
    numbered = nn.Network({1: f, 2: g}, DiGraph([(0, 1), (1, 2)]))  # type: ignore[dict-item]
    assert list(numbered.named_layers()) == ["1", "2"]


def test_a_digraph_of_networkx() -> None:
    networkx = pytest.importorskip("networkx")
    graph = networkx.DiGraph([("x", "f"), ("f", "s"), ("x", "s")])
    graph.nodes["f"]["layer"] = _linear(4, 4)
    graph.nodes["s"]["join"] = "add"
    assert _value(nn.Network(graph), np.ones((2, 4))).shape == (2, 4)
    with pytest.raises(cr.OptionError, match="need a direction"):
        nn.Neurons(networkx.Graph([("a", "b")]))
    assert nn.Neurons(networkx.DiGraph([(0, 2), (1, 2)])).inputs == ["0", "1"]


LAYERS: dict[str, Any] = {"a": nn.Linear(4, 3), "b": nn.Linear(3, 2)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Network(LAYERS, [("x", "a"), ("a", "b"), ("b", "a")]),
         "the edges form a cycle: (a -> b -> a|b -> a -> b)"),
        (lambda: nn.Network(LAYERS, [("x", "a"), ("a", "a"), ("a", "b")]), "cycle: a -> a;"),
        (lambda: nn.Network(LAYERS, [("x", "a"), ("x", "a"), ("a", "b")]), "'a' is given twice"),
        (lambda: nn.Network(LAYERS, [("x", "a")]), "no edge leads to or from layer 'b'"),
        (lambda: nn.Network(LAYERS, [("x", "a"), ("x", "b")]), "no edge from it, the output; f"),
        (lambda: nn.Network(LAYERS, [("x", "a"), ("z", "b"), ("a", "b")]), "found: 'x', 'z'"),
        (lambda: nn.Network(LAYERS, [("a", "b")]), r"begin with an edge from the input.*\('x', 'a"),
        (lambda: nn.Network(LAYERS, [("x", "a"), ("a", "b")], "mul"), "'concat' or 'add', not 'mu"),
        (lambda: nn.Network(LAYERS, [("x", "a"), ("a", "b")], {"bb": "add"}), "join names 'bb'.*b"),
        (lambda: nn.Network({"a": nn.Linear}, [("x", "a")]), "'a' is the class Linear; call it"),
        (lambda: nn.Network(LAYERS, ["xa", "ab"]), r"a pair of names \(from, to\), not 'xa'"),
        (lambda: nn.Network(LAYERS, [("x", "a", 1)]), "an edge must be a pair of names"),
        (lambda: nn.Network(LAYERS, DiGraph([("x", "a")], directed=False)), "need a direction"),
    ],
)  # fmt: skip
def test_graphs_that_can_not_be(make: Any, message: str) -> None:
    with pytest.raises(cr.OptionError, match=message):
        make()


def test_what_does_not_fit_names_the_edge() -> None:
    x = cr.input("x", ("n", 4))
    layers = {"a": nn.Linear(4, 3), "b": nn.Linear(6, 2)}
    edges = [("x", "a"), ("x", "b"), ("a", "b")]
    with pytest.raises(cr.ShapeError, match=r"after 'x' -> 'b' \(n, 4\), 'a' -> 'b' \(n, 3\): Lin"):
        nn.Network(layers, edges)(x)
    with pytest.raises(
        cr.ShapeError, match=r"edge 'a' -> 'b' has shape \(n, 3\), but edge 'x' -> 'b' has"
    ):
        nn.Network(layers, edges, "add")(x)


def test_activations_have_their_say_on_first_weights() -> None:
    a, b = nn.Linear(4, 3), nn.Linear(3, 2)
    nn.Network({"a": a, "r": nn.ReLU(), "b": b}, [("x", "a"), ("a", "r"), ("r", "b")])
    assert a.weight.initializer == nn.ReLU().suited_initializer
    assert b.weight.initializer == nn.GlorotUniform()


def test_graphs_are_saved_and_summarized(tmp_path: Path) -> None:
    X, y = RNG.normal(size=(30, 4)).astype("float32"), RNG.integers(0, 3, 30)
    options: dict[str, Any] = {"epochs": 2, "progress": False, "engine": "native"}
    chain = [(f"i{i}", f"h{i}") for i in range(4)] + [(f"i{i}", f"o{i % 3}") for i in range(4)]
    chain += [("h0", "h1"), ("h1", "o0"), ("h2", "o1"), ("h3", "o2"), ("o0", "o1")]
    for i, model in enumerate(
        [_dense_net("float32"), nn.Neurons(chain, outputs=["o0", "o1", "o2"])]
    ):
        run = cr.fit(model, (X, y), loss="cross_entropy", **options)
        back = cr.load(run.save(tmp_path / str(i)))
        np.testing.assert_array_equal(back.outputs(X), run.outputs(X))
        assert repr(back.model) == repr(model)
    table = str(nn.summary(_dense_net(), 4))
    assert "SparseLinear(10, 3)" in table
    assert "30 " in table


# --- of neurons ---------------------------------------------------------------------------------


def _by_hand(net: nn.Neurons, edges: list[tuple[str, str]], X: Array, activations: Any) -> Array:
    """Compute each neuron from its edges, one row and one neuron at a time."""
    weights = net.edge_weights()
    biases = {
        name: net.biases[str(g)].value[i]
        for g, group in enumerate(net.groups, 1)
        for i, name in enumerate(group.names)
    }
    rows = []
    for x in X:
        known = dict(zip(net.inputs or (), x, strict=True))
        while len(known) < len(net.names or ()):
            for name in net.names or ():
                before = [s for s, t in edges if t == name]
                if name not in known and all(s in known for s in before):
                    total = sum(weights[s, name] * known[s] for s in before) + biases[name]
                    known[name] = activations(name)(total)
        rows.append([known[name] for name in net.outputs or ()])
    return np.array(rows)


def _random_graph(count: int, seed: int) -> list[tuple[str, str]]:
    rng = np.random.default_rng(seed)
    edges = [(f"n{i}", f"n{j}") for j in range(count) for i in range(j) if rng.random() < 0.3]
    return [edges[i] for i in rng.permutation(len(edges))]


@pytest.mark.parametrize("seed", range(4))
def test_neurons_are_computed_one_from_another(seed: int) -> None:
    edges = _random_graph(12, seed)
    names = {name for edge in edges for name in edge}
    special = sorted(names - {s for s, t in edges if s not in {t for _, t in edges}})[0]
    activations = {special: "sigmoid"} if special in {t for _, t in edges} else {}
    outputs = [max(names, key=lambda n: int(n[1:])), sorted({t for _, t in edges})[0]]
    outputs = list(dict.fromkeys(outputs))
    net = nn.Neurons(edges, outputs=outputs, activations=activations, dtype="float64")
    nn.initialize(net, seed)
    for bias in net.biases.values():
        bias.value = np.random.default_rng(seed).normal(size=bias.shape)

    def activation(name: str) -> Any:
        if name in activations:
            return lambda v: 1 / (1 + np.exp(-v))
        return (lambda v: v) if name in outputs else np.tanh

    X = RNG.normal(size=(4, len(net.inputs or ())))
    np.testing.assert_allclose(_value(net, X), _by_hand(net, edges, X, activation), rtol=1e-12)


@pytest.mark.thorough
def test_the_engines_agree_on_training_neurons() -> None:
    edges = _random_graph(14, 5)
    net = nn.Neurons(edges, outputs=["n13", "n11", "n12"], dtype="float64")
    nn.initialize(net, 0)
    assert len(net.groups) > 3
    x, y = RNG.normal(size=(30, len(net.inputs or ()))), RNG.integers(0, 3, 30)
    case = training(net, "cross_entropy", optim.SGD(0.1), x, y)
    assert not case.native(8).code.left_to_reference()
    for threads in (1, 2):
        assert_agree(case, shuffled(30, 3), 8, 1e-9, threads)


def test_layers_of_neurons_are_one_product_each() -> None:
    """A drawing of a plain network starts and computes as the plain network does."""
    edges = [(f"x{i}", f"h{j}") for i in range(5) for j in range(4)]
    edges += [(f"h{j}", f"y{k}") for j in range(4) for k in range(2)]
    net = nn.Neurons(edges)
    assert [len(group.names) for group in net.groups] == [4, 2]
    assert list(nn.parameters(net)) == ["weights.0-1", "weights.1-2", "biases.1", "biases.2"]
    graph = cr.Graph({"y": net(cr.input("x", ("n", 5)))})
    assert sum(node.primitive.name == "sparse_matmul" for node in graph.nodes) == 2
    limit = np.sqrt(6 / (5 + 4))
    assert 0.7 * limit < abs(net.weights["0-1"].value).max() <= limit


def test_first_weights_know_of_all_inputs_of_a_neuron() -> None:
    """h has 2 inputs, y has 300 of the first level and 1 of the second."""
    edges = [(f"x{i}", "y") for i in range(300)] + [("x0", "h"), ("x1", "h"), ("h", "y")]
    net = nn.Neurons(edges, weight_init="he_normal")
    nn.initialize(net, 0)
    assert abs(net.edge_weights()["h", "y"]) < 5 * np.sqrt(2 / 301)
    assert np.std(net.weights["0-2"].value) == pytest.approx(np.sqrt(2 / 301), rel=0.15)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Neurons([("a", "b"), ("b", "c"), ("c", "b")]), "cycle: [bc] -> [cb] ->"),
        (lambda: nn.Neurons([]), "there are no edges"),
        (lambda: nn.Neurons([("a", "b")], inputs=["a", "b"]), "'a' -> 'b' leads to an input"),
        (lambda: nn.Neurons([("a", "b"), ("c", "b")], inputs=["a"]), "no edge leads to 'c', and"),
        (lambda: nn.Neurons([("a", "b")], inputs=["aa"]), "inputs names 'aa', which no edge has"),
        (lambda: nn.Neurons([("a", "b")], outputs=["b", "b"]), "outputs names 'b' twice"),
        (lambda: nn.Neurons([("a", "b")], outputs=[]), "outputs is empty"),
        (lambda: nn.Neurons([("a", "b")], activation="tan"), "unknown activation 'tan'"),
        (lambda: nn.Neurons([("a", "b")], output_activation="tan"), "unknown activation 'tan'"),
        (lambda: nn.Neurons([("a", "b")], activations={"a": "tanh"}), "activations names 'a'"),
    ],
)  # fmt: skip
def test_neurons_that_can_not_be(make: Any, message: str) -> None:
    with pytest.raises(cr.OptionError, match=message):
        make()


def test_rows_of_other_columns() -> None:
    with pytest.raises(cr.ShapeError, match="a column for each of 2 inputs"):
        nn.Neurons([("a", "c"), ("b", "c")])(cr.input("x", ("n", 3)))


def test_a_large_drawing_is_saved_in_little() -> None:
    rng = np.random.default_rng(0)
    pairs = {(int(a), int(b)) for a, b in rng.integers(0, 1000, (20_000, 2)) if a < b}
    net = nn.Neurons(sorted(pairs), outputs=[999])
    text = json.dumps(nn.to_config(net))
    assert len(text) < 3 * len(pairs) + 30_000
    back = nn.from_config(json.loads(text))
    assert back.groups == net.groups
