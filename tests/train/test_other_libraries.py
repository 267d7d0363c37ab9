"""fit, predict and evaluate on arrays and frames of other libraries equal those on NumPy's."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.run.program import prepare_function
from chainrule.tabular import fit_table, predict_table, read_problem
from chainrule.tabular.table_training import settings_for

pytestmark = pytest.mark.oracle

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 3)).astype(np.float32)
Y = (X @ [1, -2, 3] > 0).astype(np.int64)
COLUMNS = {name: np.ascontiguousarray(X[:, i]) for i, name in enumerate("abc")}
FRAMES = ("pandas", "polars", "pyarrow")


def library(name: str) -> Any:
    if name in FRAMES:
        pytest.importorskip("narwhals", reason="frames are read by narwhals")
    return pytest.importorskip(name, reason=f"reads the arrays or frames of {name}")


def train(X: Any, y: Any, **options: Any) -> cr.Run:
    model = nn.Sequential([nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)])
    return cr.fit(model, (X, y), loss="cross_entropy", epochs=3, progress=False, **options)


@cache
def expected() -> cr.Run:
    return train(X, Y, sample_weight=np.arange(120.0))


def given(name: str) -> tuple[Any, Any, Any]:
    """Return X, y and weights as the library holds them."""
    weights = np.arange(120.0)
    if name == "torch":
        torch = library("torch")
        return torch.tensor(X), torch.tensor(Y), torch.tensor(weights)
    if name == "jax":
        jax = library("jax.numpy")
        return jax.asarray(X), jax.asarray(Y), jax.asarray(weights)
    module = library(name)
    if name == "pyarrow":
        return module.table(COLUMNS), module.array(Y), module.chunked_array([weights])
    return module.DataFrame(COLUMNS), module.Series(Y), module.Series(weights)


@pytest.mark.parametrize("name", [*FRAMES, "jax", pytest.param("torch", marks=pytest.mark.oracle)])
def test_a_training_and_its_predictions_are_the_same(name: str) -> None:
    rows, y, weights = given(name)
    run = train(rows, y, sample_weight=weights, validation=(rows, y))
    assert run.feature_names == (tuple("abc") if name in FRAMES else None)
    assert run.history["loss"] == expected().history["loss"]
    assert run.evaluate((rows, y)) == expected().evaluate((X, Y))
    np.testing.assert_array_equal(run.predict(rows), expected().predict(X))
    np.testing.assert_array_equal(run.predict_proba(rows), expected().predict_proba(X))
    np.testing.assert_array_equal(run.predictor().outputs(rows), expected().outputs(X))
    many = cr.fit_many(run.model, (rows, y), 2, loss="cross_entropy", epochs=1, progress=False)
    assert many[0].feature_names == run.feature_names


@pytest.mark.parametrize("name", FRAMES)
def test_columns_are_matched_by_name(name: str, tmp_path: Path) -> None:
    module = library(name)
    make = module.table if name == "pyarrow" else module.DataFrame
    turned = make({"c": COLUMNS["c"], "more": COLUMNS["a"], "a": COLUMNS["a"], "b": COLUMNS["b"]})
    less = make({"c": COLUMNS["c"], "a": COLUMNS["a"]})
    run = train(make(COLUMNS), Y, sample_weight=np.arange(120.0), validation=(turned, Y))
    assert run.history["val_loss"][-1] == pytest.approx(run.evaluate((X, Y))["loss"])
    run.save(tmp_path / "run")
    for one in (run, cr.load(tmp_path / "run"), cr.fit_many(
        run.model, (make(COLUMNS), Y), 1, loss="cross_entropy", epochs=1, progress=False
    )[0]):  # fmt: skip
        np.testing.assert_array_equal(one.predict(turned), one.predict(X))
        np.testing.assert_array_equal(one.predictor()(turned), one.predict(X))
        assert one.evaluate((turned, Y)) == one.evaluate((X, Y))
        with pytest.raises(cr.DataError, match="X has no column 'b', which the network was"):
            one.predict(less)


def test_the_doctor_names_the_columns_of_a_frame() -> None:
    pandas = library("pandas")
    frame = pandas.DataFrame(COLUMNS | {"weight": COLUMNS["a"] * 1e6})
    model = nn.Sequential([nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)])
    found = cr.preflight(model, (frame, pandas.Series(Y)), loss="cross_entropy")
    assert "'weight'" in str(found)


def test_names_given_with_an_array_match_a_frame_too() -> None:
    pandas = library("pandas")
    run = train(X, Y, feature_names=["a", "b", "c"])
    frame = pandas.DataFrame(COLUMNS)[["c", "b", "a"]]
    np.testing.assert_array_equal(run.outputs(frame), run.outputs(X))


@pytest.mark.parametrize("name", FRAMES)
def test_the_table_functions_take_frames(name: str) -> None:
    module = library(name)
    make = module.table if name == "pyarrow" else module.DataFrame
    cells = {
        "size": [None if i % 17 == 0 else float(v) for i, v in enumerate(X[:, 0])],
        "city": [None if i % 13 == 0 else ("Rome", "Oslo")[i % 2] for i in range(120)],
        "day": [np.datetime64("2024-01-01") + i for i in range(120)],
        "won": np.where(Y == 1, "yes", "no").tolist(),
    }
    cells["day"] = [day.astype(object) for day in cells["day"]]
    problem, plain = read_problem(make(cells), "won"), read_problem(cells, "won")
    assert problem.pipeline == plain.pipeline
    run = fit_table(problem, settings_for(problem, epochs=2, hidden=(4,)), progress=False)
    frame = make({key: cells[key] for key in ("day", "size", "city")})
    answers, others = predict_table(run, frame), predict_table(run, cells)
    assert answers["prediction"].tolist() == others["prediction"].tolist()
    assert run.evaluate(make(cells)) == run.evaluate(cells)
    with pytest.raises(cr.DataError, match="does not have the column 'city'"):
        predict_table(run, make({"size": cells["size"], "day": cells["day"]}))


def test_a_tensor_gives_its_value_by_dlpack_and_array() -> None:
    x = cr.tensor([[1.0, 2.0]]) * 3
    assert np.from_dlpack(x).tolist() == [[3, 6]]
    assert np.asarray(x).tolist() == [[3, 6]]
    with pytest.raises(cr.GraphError, match="input 'x'"):
        np.from_dlpack(cr.input("x", (2,)))


@pytest.mark.parametrize("name", ["jax", pytest.param("torch", marks=pytest.mark.oracle)])
def test_tensors_and_compiled_functions_exchange_with_others(name: str) -> None:
    module = library("jax.numpy" if name == "jax" else name)
    assert module.from_dlpack(cr.tensor([1.0, 2.0])).tolist() == [1, 2]
    x = cr.input("x", ("n", 2))
    graph = cr.Graph({"y": (x * 2).node}, {"x": x})
    rows = module.ones((3, 2))
    assert cr.evaluate(graph, {"x": rows})["y"].tolist() == [[2, 2]] * 3
    for engine in ("native", "reference"):
        found = prepare_function(graph, ["x"], engine)({"x": rows})["y"]
        assert found.tolist() == [[2, 2]] * 3
        assert module.from_dlpack(found).tolist() == [[2, 2]] * 3
