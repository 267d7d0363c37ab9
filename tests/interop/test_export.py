"""Exported runs predict in onnxruntime what they predict here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, tabular
from chainrule.core.errors import DataError, OptionError, RunError
from chainrule.interop import export as exporting

pytestmark = pytest.mark.oracle

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)).astype("float32")


def fitted(loss: Any, y: Any, outputs: int, **options: Any) -> cr.Run:
    layers = [nn.Linear(3, 5), nn.BatchNorm(5), nn.ELU(), nn.Dropout(0.2), nn.Linear(5, outputs)]
    return cr.fit(nn.Sequential(layers), (X, y), loss=loss, epochs=2, progress=False, **options)


def answers(path: Path, given: dict[str, Any]) -> dict[str, Any]:
    session = runtime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))


@pytest.mark.parametrize(
    ("loss", "y", "outputs"),
    [
        ("cross_entropy", np.arange(40) % 4, 4),
        ("multiclass_hinge", np.arange(40) % 4, 4),
        ("binary_cross_entropy", np.arange(40) % 2, 1),
        ("binary_cross_entropy", np.eye(2)[np.arange(40) % 2], 2),
        ("hinge", np.arange(40) % 2, 1),
        ("mse", X.sum(1), 1),
        ("mse", X, 3),
        ("poisson", np.arange(40) % 5, 1),
    ],
)
def test_every_kind_of_prediction(loss: str, y: Any, outputs: int, tmp_path: Path) -> None:
    run = fitted(loss, y, outputs)
    made = run.export(tmp_path / "model.onnx", X)
    assert made.rows == 40
    assert made.difference <= 1e-5
    assert not made.drawn
    for rows in (X, X[:1], X[:7]):
        found = answers(made.path, {"x": rows})
        np.testing.assert_allclose(found["prediction"], run.predict(rows), rtol=1e-5, atol=1e-5)
        if "probabilities" in found:
            wanted = run.predict_proba(rows)
            np.testing.assert_allclose(found["probabilities"], wanted, atol=1e-5)
    assert run.export(tmp_path / "again.onnx").drawn


def test_a_classifier_is_a_few_operators_that_hardware_has(tmp_path: Path) -> None:
    model = nn.Sequential([nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)])
    run = cr.fit(model, (X, np.arange(40) % 2), loss="cross_entropy", epochs=1, progress=False)
    graph = onnx.load(run.export(tmp_path / "m.onnx", X).path).graph
    found = [node.op_type for node in graph.node]
    assert sorted(found) == ["Add", "Add", "ArgMax", "MatMul", "MatMul", "Relu", "Softmax"]
    assert sorted(tensor.name for tensor in graph.initializer) == [
        "0.bias", "0.weight", "2.bias", "2.weight",
    ]  # fmt: skip


def houses() -> dict[str, Any]:
    n = 300
    rng = np.random.default_rng(1)
    size = rng.normal(100, 20, n)
    price = size * 3 + rng.normal(size=n)
    size[::17], size[5] = np.nan, np.inf
    days = rng.integers(-30_000, 30_000, n) * 86_400_000_000
    when = (days + rng.integers(0, 86_400, n) * 1_000_000).astype("datetime64[us]")
    when[::19] = np.datetime64("NaT")
    columns = {
        "size": size,
        "when": when,
        "seen": when[::-1],
        "garden": rng.random(n) < 0.5,
        "color": rng.choice(np.array(["red", "green", "blue", ""], object), n),
        "street": rng.choice(np.array([f"street {i}" for i in range(60)], object), n),
        "grade": rng.choice(np.array(["low", "mid", "high"], object), n),
        "zip": rng.integers(10, 20, n).astype(float),
    }
    return {**columns, "price": price, "kind": np.where(price > 300, "dear", "cheap")}


ROLES = {"grade": ["low", "mid", "high"], "street": "embedded", "seen": "cyclic", "zip": "category"}


@pytest.mark.parametrize("target", ["price", "kind"])
@pytest.mark.parametrize("preprocess", ["standardize", "robust", "whiten", ["minmax", "zca"]])
def test_a_table_with_its_encoders(target: str, preprocess: Any, tmp_path: Path) -> None:
    table = houses()
    del table["kind" if target == "price" else "price"]
    problem = tabular.read_problem(table, target, roles=ROLES, preprocess=preprocess)
    settings = tabular.choose_settings(problem.rows["train"], task=problem.pipeline.task, epochs=2)
    run = tabular.fit_table(problem, settings, progress=False)
    made = run.export(tmp_path / "model.onnx", table)
    assert made.rows == 300
    assert made.difference <= 1e-5
    assert made.inputs["color"] == "string['n']"
    assert made.inputs["when"] == "int64['n']"
    drawn = run.export(tmp_path / "drawn.onnx")
    assert drawn.drawn
    assert drawn.difference <= 1e-5
    given = {name: np.asarray(column) for name, column in table.items() if name != target}
    given["when"], given["seen"] = given["when"].astype("int64"), given["seen"].astype("int64")
    given["garden"] = given["garden"].astype("float64")
    given["zip"] = np.array([str(int(z)) for z in given["zip"]], object)
    given["color"][3] = "a color that was not in training"
    found = answers(made.path, given)["prediction"]
    wanted = tabular.predict_table(run, {**table, "color": given["color"]}, tell=lambda _: None)
    if target == "price":
        np.testing.assert_allclose(found, wanted["prediction"], rtol=1e-5)
    else:
        about = {p.key: p.value for p in onnx.load(made.path).metadata_props}
        classes = json.loads(about["classes"])
        assert [classes[i] for i in found] == wanted["prediction"].tolist()
        assert about["target"] == "kind"
        assert classes == ["cheap", "dear"]


@pytest.mark.parametrize("preprocess", [None, "pca"])
def test_pixels(preprocess: str | None, tmp_path: Path) -> None:
    images = data.load("digits").X.astype("uint8").reshape(-1, 8, 8)[:200]
    source = tmp_path / "images"
    source.mkdir()
    labels = data.load("digits").y[:200].astype("uint8")
    for split in ("train", "t10k"):
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            shape = np.array(array.shape, ">i4").tobytes()
            head = bytes([0, 0, 8, array.ndim]) + shape
            (source / f"{split}-{name}-ubyte").write_bytes(head + array.tobytes())
    problem = tabular.read_problem(source, preprocess=preprocess)
    settings = tabular.choose_settings(problem.rows["train"], task="classification", epochs=1)
    run = tabular.fit_table(problem, settings, progress=False)
    pixels = images.reshape(200, 64)
    made = run.export(tmp_path / "model.onnx", pixels)
    assert made.inputs == {"x": "uint8['n', 64]"}
    assert (answers(made.path, {"x": pixels})["prediction"] == run.predict(pixels)).all()


def test_a_graph_with_two_inputs(tmp_path: Path) -> None:
    a, b = cr.input("a", ("n", 2)), cr.input("b", ("n",))
    graph = cr.Graph({"y": (a * b.reshape(-1, 1)).mean(0)})
    made = cr.export(graph, tmp_path / "g.onnx", {"a": X[:, :2], "b": X[:, 2]})
    assert set(made.inputs) == {"a", "b"}
    assert made.outputs == {"y": "float[2]"}


def test_a_difference_is_an_error_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fitted("mse", X.sum(1), 1)
    right = exporting.forward
    monkeypatch.setattr(exporting, "forward", lambda model, x: right(model, x) + 2e-5)
    with pytest.raises(RunError, match=r"prediction of row \d+ is .* instead of"):
        run.export(tmp_path / "model.onnx", X)
    assert not (tmp_path / "model.onnx").exists()


def test_an_existing_file_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("mine")
    with pytest.raises(DataError, match="rows of shape"):
        fitted("mse", X.sum(1), 1).export(path, X[:, :2])
    assert path.read_text() == "mine"


def test_what_is_neither_a_run_nor_a_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="takes a run or a graph, not Linear"):
        cr.export(nn.Linear(2, 1), tmp_path / "m.onnx")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="names of the graph's inputs"):
        cr.export(cr.Graph({"y": cr.input("x", (2,)) * 2}), tmp_path / "m.onnx")


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(OptionError, match="pip install onnx onnxruntime"):
        fitted("mse", X.sum(1), 1).export(tmp_path / "m.onnx")


def test_columns_of_numbers_are_one_input(tmp_path: Path) -> None:
    table = {name: X[:, i].astype(float) for i, name in enumerate("abc")}
    table["b"][3] = np.nan
    table["c"][7:9] = np.nan
    table["y"] = X.sum(1).astype(float)
    problem = tabular.read_problem(table, "y")
    settings = tabular.choose_settings(problem.rows["train"], task="regression", epochs=2)
    run = tabular.fit_table(problem, settings, progress=False)
    made = run.export(tmp_path / "model.onnx", table)
    assert made.inputs == {"x": "double['n', 3]"}
    rows = np.stack([table[name] for name in "abc"], axis=1)
    wanted = tabular.predict_table(run, table, tell=lambda _: None)["prediction"]
    found = answers(made.path, {"x": rows})["prediction"]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_calibrated_probabilities_and_a_threshold(tmp_path: Path) -> None:
    run = fitted("cross_entropy", np.arange(40) % 2, 2)
    run.temperature, run.threshold = 2.5, 0.45
    made = run.export(tmp_path / "m.onnx", X)
    found = answers(made.path, {"x": X})
    np.testing.assert_array_equal(found["prediction"], run.predict(X))
    np.testing.assert_allclose(found["probabilities"], run.predict_proba(X), atol=1e-6)


def test_several_targets_are_refused(tmp_path: Path) -> None:
    table = {"a": X[:, 0].astype(float), "b": X[:, 1].astype(float), "c": X[:, 2].astype(float)}
    problem = tabular.read_problem(table, ["b", "c"])
    settings = tabular.choose_settings(problem.rows["train"], task=problem.pipeline.task, epochs=1)
    run = tabular.fit_table(problem, settings, progress=False)
    with pytest.raises(OptionError, match="can't be exported yet"):
        run.export(tmp_path / "m.onnx")
