"""Trainings on XLA are those of the interpreter: layers, losses, optimizers, and all of `fit`."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.cli import main
from chainrule.core.errors import ChainruleError
from chainrule.core.graph import Graph
from chainrule.run import engines
from chainrule.run.program import Engine, evaluate, prepare, prepare_function
from chainrule.transform.mode import for_predicting
from tests.nn.test_config import LAYERS
from tests.run.agreement import Array, Case, distance, network, shuffled, training
from tests.run.test_native import COMBINATIONS, TURNS, _case
from tests.run.test_native_layers import KINDS
from tests.run.test_native_layers import case as layers_case
from tests.run.test_native_optimizers import OPTIMIZERS, SCHEDULES
from tests.run.test_native_optimizers import case as optimizer_case
from tests.train.test_resume import LABELS, assert_equal, interrupted_and_resumed, with_state
from tests.train.test_resume import X as ROWS

pytestmark = pytest.mark.xla
BOUND = {"float64": 1e-9, "float32": 2e-4}
STEPS = 100


@pytest.fixture(scope="module", autouse=True)
def jax() -> Any:
    return pytest.importorskip("jax", reason="JAX is not installed: make xla")


def assert_agree(case: Case, order: Array, batch: int, bound: float) -> None:
    """Run XLA and the interpreter over `order`; their sums and state may differ by `bound`."""
    program, reference = prepare(case.graph, case.state, case.data, batch, "xla"), case.reference()
    ours, theirs = program.run(order, batch), reference.run(order, batch)
    assert distance(ours, theirs) <= bound * max(1, len(order) // batch)
    assert distance(program.state, reference.state) <= bound


def whole_batches(batch: int = 7) -> Array:
    """Return an order for 100 steps on 23 rows in which every batch is whole."""
    return shuffled(23, 100)[: STEPS * batch]


EVERY = [*COMBINATIONS[:: len(COMBINATIONS) // 6], *TURNS]  # each loss, activation and optimizer


def test_every_loss_and_activation_is_among_the_cases() -> None:
    for part in (0, 1):
        assert {case[part] for case in EVERY} >= {case[part] for case in TURNS}


@pytest.mark.one_in(9)
@pytest.mark.parametrize(("activation", "loss", "optimizer"), EVERY)
def test_losses_and_activations_in_float64(activation: str, loss: str, optimizer: str) -> None:
    assert_agree(_case(activation, loss, optimizer, "float64"), whole_batches(), 7, 1e-9)


@pytest.mark.one_in(9)
@pytest.mark.parametrize(("activation", "loss"), [case[:2] for case in EVERY[::3]])
def test_losses_and_activations_in_float32(activation: str, loss: str) -> None:
    assert_agree(_case(activation, loss, "sgd", "float32"), whole_batches(), 7, BOUND["float32"])


@pytest.mark.one_in(9)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str) -> None:
    assert_agree(optimizer_case(OPTIMIZERS[name]), whole_batches(), 7, 1e-9)


@pytest.mark.one_in(9)
@pytest.mark.parametrize("name", list(OPTIMIZERS)[::3])
def test_optimizers_in_float32(name: str) -> None:
    """Ten steps: a gradient near zero, all rounding, moves a weight by a share of the rate."""
    assert_agree(optimizer_case(OPTIMIZERS[name], "float32"), whole_batches()[:70], 7, 1e-4)


@pytest.mark.one_in(9)
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name: str) -> None:
    made = optimizer_case(optim.SGD(SCHEDULES[name], momentum=optim.Polynomial(0.9, 0.5, steps=50)))
    assert_agree(made, whole_batches(), 7, 1e-9)


@pytest.mark.one_in(9)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_layers_do_in_training(kind: str, dtype: str) -> None:
    """Dropout masks, noise and running means: random numbers are the same on every engine."""
    bound = {"float64": 1e-9, "float32": 5e-3}[dtype]
    assert_agree(layers_case(kind, dtype), shuffled(50, 2), 10, bound)


@pytest.mark.parametrize(
    "more",
    [
        {"regularizer": {"*.weight": nn.L1(0.01), "0.bias": nn.L1L2(0.1, 0.2)}},
        {"weight": np.random.default_rng(0).random(50), "regularizer": nn.L2(0.1), "watch": True},
    ],
    ids=["penalty", "weighted and watched"],
)
def test_penalties_weights_and_what_is_watched(more: dict[str, Any]) -> None:
    # 36 steps: the state is watched in four of them, and the last batch of each epoch has 2 rows.
    assert_agree(layers_case("dropout", "float64", **more), shuffled(50, 3), 4, 1e-9)


def _inputs() -> Iterator[tuple[tuple[int, ...], str]]:
    for inner in [(), (3,), (2, 3)]:
        for last in [1, 2, 3, 4, 5, 6, 16, 32, None]:
            for dtype in ("float64", "float32", "int64"):
                yield (inner if last is None else (*inner, last)), dtype


def _training_of(layer: Any) -> Case:
    """Return a training of `layer` alone, on rows of the first shape that it takes."""
    rng = np.random.default_rng(0)
    for shape, dtype in _inputs():
        x = np.abs(rng.normal(size=(21, *shape))).astype(dtype)
        nn.initialize(layer, 0)
        try:
            graph = for_predicting(Graph({"y": layer(cr.input("x", ("n", *shape), dtype))}))
            y = evaluate(graph, {"x": x})["y"]
        except (ChainruleError, IndexError):
            continue
        kind = y.dtype if y.dtype.kind == "f" else np.dtype("float64")
        target = rng.normal(size=(21, int(np.prod(y.shape[1:])))).astype(kind)
        model = nn.Sequential([layer, nn.Flatten()])
        if not any(p.trainable for p in nn.parameters(model).values()) and x.dtype.kind == "f":
            model = nn.Sequential([nn.Scale(0.9), *model.layers, nn.Linear(target.shape[1], 2)])
            target = target[:, :1].repeat(2, 1)
        nn.initialize(model, 0)
        return training(model, "mse", optim.SGD(0.01, momentum=0.5), x, target, ())
    raise AssertionError(f"no shape fits {layer}")


@pytest.mark.one_in(9)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda e: type(e).__name__)
def test_layers(layer: Any) -> None:
    case = _training_of(copy.deepcopy(layer))
    dtype = next(v.dtype.name for n, v in case.state.items() if n.startswith("parameter/"))
    assert_agree(case, shuffled(21, 40)[: STEPS * 7], 7, BOUND[dtype])


def _fitted(engine: str | None, **more: Any) -> Any:
    """Return a run of a network with dropout, from the same weights on every engine."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(230, 6)).astype("float32")
    y = (X[:, :3].argmax(1)).astype("int64")
    model = nn.Sequential(
        [nn.Linear(6, 16), nn.BatchNorm(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3)]
    )
    settings: dict[str, Any] = {"epochs": 6, "batch_size": 20, "validation": 0.2, "seed": 3}
    return cr.fit(
        model, (X, y), loss="cross_entropy", metrics=["accuracy"], engine=engine, progress=False,
        **settings | more,
    ), X, y  # fmt: skip


TIMES = ("seconds", "samples_per_second")


def assert_same_history(ours: Any, theirs: Any, bound: float = 1e-3) -> None:
    """Hold two histories together; Adam and batch normalization let float32's rounding grow."""
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert set(one) == set(other)
        names = [n for n in one if n not in TIMES and isinstance(one[n], float)]
        for name in names:
            assert one[name] == pytest.approx(other[name], rel=bound, abs=bound), name


def test_a_fit_with_all_around_it_is_that_of_the_reference() -> None:
    (ours, X, y), (theirs, *_) = (
        _fitted(e, early_stopping=4, watch=True) for e in ("xla", "reference")
    )
    assert ours.history[0].keys() == theirs.history[0].keys()
    assert_same_history(ours.history, theirs.history)
    assert ours.best_epoch == theirs.best_epoch
    assert len(ours.history[0]["layers"]) == len(theirs.history[0]["layers"]) > 0
    assert (ours.predict(X) == theirs.predict(X)).mean() > 0.97
    scores, expected = ours.evaluate((X, y)), theirs.evaluate((X, y))
    assert scores["loss"] == pytest.approx(expected["loss"], rel=1e-3)
    np.testing.assert_array_equal(ours.predictor()(X[:1]), ours.predict(X[:1]))
    assert pickle.loads(pickle.dumps(ours)).predict(X).shape == (230,)


def test_the_environment_chooses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_ENGINE", "xla")
    case = _case("tanh", "mse", "sgd", "float64")
    program = prepare(case.graph, case.state, case.data, 7)
    assert program.engine == "xla"
    assert program.explain().startswith("XLA on 1 device (cpu); one step is")
    assert program.made_with()["JAX"]


def test_a_training_goes_on_from_a_checkpoint_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINRULE_ENGINE", "xla")
    resumed, whole = interrupted_and_resumed(
        with_state, tmp_path, monkeypatch, 2, watch=True, metrics=["accuracy"], epochs=6,
        validation=(ROWS[:20], LABELS[:20]), early_stopping=cr.EarlyStopping(4), batch_size=7,
    )  # fmt: skip
    assert_equal(resumed, whole)


@pytest.mark.parametrize("method", [optim.LBFGS(), optim.LevenbergMarquardt()], ids=repr)
def test_full_batch_methods(method: Any) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    y = np.sin(X.sum(1))
    losses = []
    for engine in ("xla", "reference"):
        model = nn.Sequential([nn.Linear(3, 5, dtype="float64"), nn.Tanh(),
                               nn.Linear(5, 1, dtype="float64")])  # fmt: skip
        run = cr.fit(model, (X, y), loss="mse", optimizer=method, epochs=8, engine=engine,
                     progress=False)  # fmt: skip
        losses.append([record["loss"] for record in run.history])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


@pytest.mark.parametrize("stays", [True, False], ids=["on the device", "sent"])
def test_data_are_sent_in_pieces_where_they_do_not_fit(
    stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    xla = engines.load("xla")
    monkeypatch.setattr(import_module(xla.XlaProgram.__module__), "PIECE_BYTES", 500)  # 2 batches
    case = _case("relu", "cross_entropy", "adam", "float64")
    program = xla.XlaProgram(case.graph, case.state, case.data, 4, stays=stays)
    reference = case.reference()
    sums: dict[str, float] | None = None
    expected: dict[str, float] | None = None
    for part in np.array_split(shuffled(23, 6), 4):
        sums, expected = program.run(part, 4, sums), reference.run(part, 4, expected)
    assert distance(sums, expected) < 1e-9
    assert distance(program.state, reference.state) < 1e-9
    assert ("stay there" in program.explain()) == stays


def test_data_on_disk_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, sent = engines.load("xla").XlaProgram, list[int]()
    usual = program._gathered

    def counted(self: Any, rows: Any) -> Any:
        sent.append(rows.size)
        return usual(self, rows)

    monkeypatch.setattr(program, "_gathered", counted)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(60, 4)).astype("float32"))
    X = np.load(tmp_path / "x.npy", mmap_mode="r")
    runs = [
        cr.fit(nn.Sequential([nn.Linear(4, 2)]), (X, np.arange(60) % 2), loss="cross_entropy",
               batch_size=8, epochs=2, engine=engine, progress=False)
        for engine in ("xla", "reference")
    ]  # fmt: skip
    assert_same_history(runs[0].history, runs[1].history)
    assert sum(sent) >= 2 * 60


def test_a_step_that_fails_leaves_the_state_as_it_was() -> None:
    x, i = cr.input("x", ("n",), "float64"), cr.input("i", ("n",), "int64")
    w = cr.input("w", (3,), "float64")
    total = (cr.gather(w, i) * x).sum()
    graph = Graph({"loss": total, "w": w - 0.1 * cr.grad(total, w)}, {"x": x, "i": i, "w": w})
    data = {"x": np.ones(6), "i": np.array([0, 1, 2, -3, 3, 0])}
    program = prepare(graph, {"w": np.ones(3)}, data, 2, "xla")
    with pytest.raises(cr.ShapeError, match=r"gather: index 3 at \(0,\) is out of range for 3"):
        program.run(np.arange(6), 2)
    np.testing.assert_array_equal(program.state["w"], np.ones(3))
    program.run(np.arange(4), 2)
    assert program.state["w"].sum() == pytest.approx(3 - 0.4)


def test_row_numbers_and_batches_are_checked() -> None:
    case = _case("tanh", "mse", "sgd", "float64")
    program = prepare(case.graph, case.state, case.data, 7, "xla")
    for order in ([0, 23], [-1]):
        with pytest.raises(cr.RunError, match=r"0\.\.22"):
            program.run(np.array(order), 7)
    with pytest.raises(cr.OptionError, match="batch_size must be positive"):
        program.run(np.arange(3), 0)
    assert program.run(np.array([], int), 7)["loss"] == 0.0


@pytest.mark.parametrize("rows", [1, 3, 4096, 5000])
def test_functions_of_any_number_of_rows(rows: int) -> None:
    x = cr.input("x", ("n", 3), "float64")
    usual = Graph({"y": cr.tanh(x), "total": cr.square(x).sum()}, {"x": x})
    centered = Graph({"y": x - x.mean(0)}, {"x": x})
    given = {"x": np.random.default_rng(0).normal(size=(rows, 3))}
    for graph in (usual, centered, Graph({"y": cr.exp(x)}, {"x": x})):
        ours, theirs = (prepare_function(graph, ["x"], engine) for engine in ("xla", "reference"))
        assert ours.whole == theirs.whole
        assert distance(ours(given), theirs(given)) < 1e-12
        nothing = {"x": np.zeros((0, 3))}
        if graph is not centered:
            assert distance(ours(nothing), theirs(nothing)) == 0


def test_a_frozen_function_keeps_its_parameters() -> None:
    model = network((3, 2))
    x = cr.input("x", ("n", 3), "float64")
    graph = Graph({"y": model(x)}, {"x": x})
    frozen = prepare_function(graph, ["x"], "xla", frozen=True)
    live = prepare_function(graph, ["x"], "xla")
    given = {"x": np.ones((2, 3))}
    before = frozen(given)["y"]
    for parameter in nn.parameters(model).values():
        parameter.value = parameter.value + 1
    np.testing.assert_array_equal(frozen(given)["y"], before)
    assert not np.allclose(live(given)["y"], before)
    assert (pickle.loads(pickle.dumps(frozen))(given)["y"] == before).all()


def test_devices_are_those_of_xla() -> None:
    case = _case("tanh", "mse", "sgd", "float64")
    for devices, message in [("some", "'all' or a number"), (0, "'all'"), (99, "JAX finds")]:
        with pytest.raises(cr.OptionError, match=message):
            prepare(case.graph, case.state, case.data, 7, Engine("xla", devices=devices))
    with pytest.raises(cr.OptionError, match="devices=2 needs engine='xla', not 'auto'"):
        prepare(case.graph, case.state, case.data, 7, Engine(devices=2))


def test_the_command_trains_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def run(words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["chainrule", *words.split()])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return capsys.readouterr().out

    printed = run("train iris --hidden 4 --epochs 3 --engine xla --devices all --out run")
    assert "accuracy" in printed
    told = (tmp_path / "run" / "config.toml").read_text()
    assert 'engine = "xla"' in told
    assert 'devices = "all"' in told
    monkeypatch.setenv("CHAINRULE_ENGINE", "xla")
    assert json.loads(run("env --json"))["engine"]["computes on"].startswith("cpu 0, cpu 1")
    monkeypatch.delenv("CHAINRULE_ENGINE")
    assert json.loads(run("env --json"))["engine"]["also there"].startswith("xla")
