"""Pickle and deepcopy lose nothing, share nothing, and say what they can't take."""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.core.parameter import Parameter
from chainrule.core.tensor import Tensor
from chainrule.nn.layer import named_layers, row_shape
from chainrule.tabular import choose_settings, fit_table, predict_table, read_problem
from chainrule.transform.mode import for_predicting
from tests.nn.test_config import EXAMPLES

RNG = np.random.default_rng(8)
X = RNG.normal(size=(60, 4)).astype("f4")
CLASSES = X[:, :3].argmax(axis=1)
WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "deepcopy": copy.deepcopy,
    "cloudpickle": lambda thing: pickle.loads(cloudpickle.dumps(thing)),
}
WIDTHS = {nn.Residual: 2}
LAYERS = [e for e in EXAMPLES if nn.parameters(e) or hasattr(e, "suited_initializer")]


def squared(prediction: Tensor, target: Tensor) -> Tensor:
    return ((prediction - target) ** 2).sum(1)


def near(prediction: Tensor, target: Tensor) -> Tensor:
    return (abs(prediction - target) < 0.1).astype(np.float32).mean(1)


@dataclass(eq=False)
class Masked:
    """A layer of the user's, with a constant and a tensor recorded from its parameter."""

    weight: Parameter = field(default_factory=lambda: Parameter((4, 4), nn.HeNormal()))

    def __post_init__(self) -> None:
        self.mask = cr.tensor(np.tri(4, dtype="f4"))
        self.masked = self.weight * self.mask

    def __call__(self, x: Tensor) -> Tensor:
        return x @ self.masked


def network() -> nn.Sequential:
    tied = nn.Linear(4, 4)
    layers = [tied, nn.ReLU(), Masked(), nn.BatchNorm(4), nn.Dropout(0.1), tied, nn.Linear(4, 3)]
    model = nn.Sequential(layers)
    model[6].bias.trainable = False
    model[6].bias.value = [0.5, 0.0, -0.5]
    return model


def fit(model: Any, **options: Any) -> cr.Run:
    options = {"loss": "cross_entropy", "optimizer": optim.Adam(0.01), "epochs": 2} | options
    return cr.fit(model, (X, CLASSES), progress=False, **options)


@pytest.fixture(scope="module")
def run() -> cr.Run:
    return fit(network(), check=True)


def assert_alike(ours: Any, theirs: Any) -> None:
    """Check that two models have the same parameters, in memory of their own."""
    pairs = list(zip(nn.parameters(ours).items(), nn.parameters(theirs).items(), strict=True))
    for (name, p), (known_as, q) in pairs:
        assert name == known_as
        assert (p.value.tobytes(), p.dtype, p.shape) == (q.value.tobytes(), q.dtype, q.shape)
        for kept in ("name", "trainable", "assigned", "is_weight"):
            assert getattr(p, kept) == getattr(q, kept)
        assert p.node is not q.node
        assert not np.shares_memory(p.value, q.value)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda e: type(e).__name__)
def test_every_layer_is_copied_with_its_values(layer: Any, way: str) -> None:
    nn.initialize(layer, 7)
    for parameter in list(nn.parameters(layer).values())[:1]:
        parameter.trainable = False
    other = WAYS[way](layer)
    assert type(other) is type(layer)
    assert_alike(other, layer)
    has_size = any(hasattr(one, "inputs") for _, one in (("", layer), *named_layers(layer)))
    shape = row_shape(layer, None if has_size else WIDTHS.get(type(layer), 3))
    kind = "int64" if isinstance(layer, nn.Embedding) else "float32"
    rows = RNG.integers(0, 2, (5, *shape)).astype(kind)
    outputs = []
    for one in (layer, other):
        graph = for_predicting(cr.Graph({"y": one(cr.input("x", ("n", *shape), kind))}))
        outputs.append(cr.evaluate(graph, {"x": rows})["y"])
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("way", WAYS)
def test_a_copied_model_is_tied_as_before_and_trains_on_alike(way: str) -> None:
    model = network()
    fit(model)
    other = WAYS[way](model)
    assert other[0] is other[5]
    assert other[2].masked.node.inputs[0] is other[2].weight.node
    assert_alike(other, model)
    np.testing.assert_array_equal(other[6].bias.value, [0.5, 0.0, -0.5])
    before = model[0].weight.value.copy()
    runs = [fit(one, seed=3) for one in (model, other)]
    assert not np.array_equal(model[0].weight.value, before)
    assert_alike(other, model)
    assert runs[0].history["loss"] == runs[1].history["loss"]


@pytest.mark.parametrize("way", WAYS)
def test_a_copied_run_predicts_judges_and_tries_alike(run: cr.Run, way: str) -> None:
    other = WAYS[way](run)
    assert not other._functions
    assert_alike(other.model, run.model)
    np.testing.assert_array_equal(other.outputs(X), run.outputs(X))
    assert other.evaluate((X, CLASSES)) == run.evaluate((X, CLASSES))
    assert other.findings == run.findings
    for name in ("history", "settings", "engine", "objective", "metrics", "features"):
        assert getattr(other, name) == getattr(run, name)
    assert str(other.biography("0", 1)) == str(run.biography("0", 1))


def test_a_trial_is_copied() -> None:
    run = fit(network(), check=True, optimizer=optim.SGD(1e-8))
    trials = [one.trial(seeds=1) for one in (run, copy.deepcopy(run))]
    assert list(trials[0])
    assert WAYS["pickle"](run).remedies == trials[0] == trials[1]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("engine", ["native", "reference"])
def test_a_copied_predictor_keeps_its_weights(way: str, engine: str) -> None:
    run = fit(network(), engine=engine)
    predict = run.predictor()
    wanted, row = predict.outputs(X), predict.outputs(X[0])
    for parameter in nn.parameters(run.model).values():
        parameter.value = parameter.value + 1
    other = WAYS[way](predict)
    for parameter in nn.parameters(other._run.model).values():
        parameter.value = parameter.value + 1
    np.testing.assert_array_equal(other.outputs(X), wanted)
    np.testing.assert_array_equal(other.outputs(X[0]), row)


@pytest.mark.parametrize("loss", ["poisson", squared, nn.Huber(0.5)])
def test_losses_and_metrics_of_the_user_and_ours(loss: Any) -> None:
    run = cr.fit(
        nn.Linear(4, 1), (X, np.abs(X[:, :1])), loss=loss, epochs=1, progress=False,
        metrics=["rmse", "r2", near], regularizer=nn.L2(0.01),
    )  # fmt: skip
    other = WAYS["pickle"](run)
    assert other.evaluate((X, np.abs(X[:, :1]))) == run.evaluate((X, np.abs(X[:, :1])))
    assert other.objective == run.objective


def test_runs_of_tables_and_of_pixels(repository: Path) -> None:
    problem = read_problem(repository / "examples" / "houses.csv", "price")
    new = data.read_table(repository / "examples" / "new-houses.csv")
    settings = choose_settings(problem.rows["train"], task=problem.pipeline.task, epochs=2)
    problem, settings = WAYS["pickle"]((problem, settings))
    run = fit_table(problem, settings)
    other = WAYS["pickle"](run)
    told: list[str] = []
    first, second = (predict_table(one, new, tell=told.append) for one in (run, other))
    np.testing.assert_array_equal(first["prediction"], second["prediction"])
    assert other.scores == run.scores
    pixels = RNG.integers(0, 256, (60, 2, 2), dtype=np.uint8)
    model = nn.Sequential([nn.Flatten(), nn.Linear(4, 3)])
    run = cr.fit(model, (pixels, CLASSES), loss="cross_entropy", epochs=1, progress=False)
    np.testing.assert_array_equal(WAYS["pickle"](run).predict(pixels), run.predict(pixels))


OPTIMIZERS = [
    optim.SGD(optim.OneCycle(0.1), 0.9, nesterov=True),
    optim.Adam(optim.Warmup(optim.Cosine(0.01), optim.epochs(1))), optim.AdamW(0.01),
    optim.Lion(1e-3), optim.chain(optim.ClipNorm(1.0), optim.RMSProp(0.01), optim.MaxNorm(3.0)),
    optim.groups({"bias": optim.freeze}, optim.AdaGrad(0.1)), optim.EMA(optim.Nadam(0.01)),
    optim.Accumulate(2, optim.SGD(0.1)), optim.SGD(optim.ReduceOnPlateau(0.1, patience=1)),
    optim.LBFGS(),
]  # fmt: skip


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
def test_a_copied_optimizer_takes_the_same_steps(optimizer: Any) -> None:
    other = WAYS["pickle"](optimizer)
    assert other == optimizer
    models = [nn.Linear(4, 3), nn.Linear(4, 3)]
    for model, method in zip(models, (optimizer, other), strict=True):
        fit(model, optimizer=method, engine="reference")
    assert_alike(*models)


def test_a_copy_made_during_training_stays_as_it_was() -> None:
    kept: list[Any] = []

    def keep(run: cr.Run, record: Any) -> None:
        kept.append((copy.copy(run.model.weight), run.model.weight.value.tobytes()))
        kept.extend((way(run).model.weight, kept[0][1]) for way in WAYS.values() if len(kept) < 4)

    model = nn.Linear(4, 3)
    fit(model, on_epoch=keep, epochs=2)
    for parameter, bits in kept:
        assert parameter.value.tobytes() == bits
        parameter.value = parameter.value * 0  # and is no memory of the training
    assert model.weight.value.all()


def test_another_process_can_add_to_a_graph_and_to_a_model(tmp_path: Path) -> None:
    # There, the serials of new nodes are lower than those of the nodes here.
    x = cr.input("x", ("n", 4))
    y = Masked()(x)
    pair = {"y": y, "graph": cr.Graph({"y": y, "z": y + y.mean(0)}), "model": network()}
    (tmp_path / "pair").write_bytes(pickle.dumps(pair))
    code = f"""
import pickle, numpy as np, chainrule as cr
pair = pickle.load(open({str(tmp_path / "pair")!r}, "rb"))
print((pair["y"] + 1).node.serial > pair["y"].node.serial)
ones = np.ones((2, 4), "f4")
print(cr.evaluate(cr.Graph({{"y": pair["y"] * 2}}), {{"x": ones}})["y"].tobytes().hex())
print(pair["model"](cr.input("x", ("n", 4))).shape)
print(str(pair["graph"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    newer, found, shape, *text = done.stdout.splitlines()
    ones = np.ones((2, 4), "f4")
    assert newer == "True"
    assert found == cr.evaluate(cr.Graph({"y": y * 2}), {"x": ones})["y"].tobytes().hex()
    assert shape == "(n, 3)"
    assert "\n".join(text) == str(pair["graph"])


def test_graphs_of_any_depth_keep_what_they_share() -> None:
    start = last = cr.tensor([1.0])
    for _ in range(1200):
        last = last + 1
    graph = cr.Graph({"a": last, "b": start * 2, "c": last})
    for way in WAYS.values():
        other = way(graph)
        assert str(other) == str(graph)
        assert other.outputs["a"] is other.outputs["c"]
        assert other.nodes[1].primitive is graph.nodes[1].primitive
        assert float(way(last)[0]) == 1201
        assert not other.nodes[0].params["value"].flags.writeable


def test_what_has_no_name_is_named() -> None:
    line = rf".*<lambda> \({re.escape(__file__)}:\d+\) has no name in its module"

    class Local:
        def __init__(self) -> None:
            self.inner = nn.Linear(4, 1)

        def __call__(self, x: Tensor) -> Tensor:
            return self.inner(x)

    flat = (X, X[:, :1])
    bad = {
        f"layer 1 of a Sequential can't be pickled: {line}": nn.Sequential(
            [nn.Linear(4, 1), lambda x: x]
        ),
        f"layer 'a' of a Network can't be pickled: {line}": nn.Network(
            {"a": lambda x: x}, {"x": "a"}
        ),
        f"the body of a Residual can't be pickled: {line}": nn.Residual(lambda x: x),
        f"the initializer of 'w' can't be pickled: {line}": Parameter(
            3, lambda shape, rng: np.ones(shape), name="w"
        ),
        "layer 0 of a Sequential can't be pickled: .*Local has no name": nn.Sequential([Local()]),
        f"the loss can't be pickled: {line}": cr.fit(
            nn.Linear(4, 1), flat, loss=lambda p, t: squared(p, t), epochs=1, progress=False
        ),
        f"the metric '<lambda>' can't be pickled: {line}": cr.fit(
            nn.Linear(4, 1), flat, loss="mse", metrics=[lambda p, t: squared(p, t)], epochs=1,
            progress=False,
        ),
        "the model can't be pickled: .*Local has no name": cr.fit(
            Local(), flat, loss="mse", epochs=1, progress=False
        ),
    }  # fmt: skip
    for message, thing in bad.items():
        with pytest.raises(cr.OptionError, match=message + r".* Define it at the top"):
            pickle.dumps(thing)
        for way in ("deepcopy", "cloudpickle"):  # these do without names
            assert type(WAYS[way](thing)) is type(thing)


def test_nothing_of_chainrule_reads_a_pickle(repository: Path) -> None:
    """But for messages between a search and its own processes, which are no files."""
    messages = {"chainrule/search/trials.py", "chainrule/search/worker.py"}
    imports = re.compile(
        r"^\s*(?:import|from)\s+(?:\w+,\s*)*(?:c?[pP]ickle|joblib|shelve|marshal|dill|cloudpickle)\b"
        r"|allow_pickle\s*=\s*True",
        re.MULTILINE,
    )
    for path in (repository / "chainrule").rglob("*.py"):
        found = imports.search(path.read_text("utf-8"))
        assert bool(found) == (str(path.relative_to(repository)) in messages), path
    assert imports.search("import os, pickle")
