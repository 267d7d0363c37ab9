"""Models that come back from ONNX files compute what the files say, and bad files are refused."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.core.errors import ChainruleError, DamagedError, OptionError
from chainrule.interop.from_onnx import read_model
from chainrule.interop.onnx_writer import onnx_model
from chainrule.nn.layer import parameters
from tests.interop.onnx_suite import ELEMENTWISE, TRAINING, results_of

pytestmark = pytest.mark.oracle

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 6)).astype("float32")
FLOAT = 1  # TensorProto.FLOAT


def network() -> nn.Sequential:
    layers = [nn.Linear(6, 8), nn.BatchNorm(8), nn.GELU(), nn.Linear(8, 8), nn.Softplus()]
    model = nn.Sequential([*layers, nn.Residual(nn.Linear(8, 8)), nn.LayerNorm(8), nn.Linear(8, 2)])
    nn.initialize(model, seed=1)
    return model


def written(nodes: list[Any], arrays: dict[str, Any], shape: list[Any], version: int = 18) -> bytes:
    helper = onnx.helper
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()],
    )  # fmt: skip
    opset = [helper.make_opsetid("", version)]
    content: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return content


def test_an_exported_network_comes_back(tmp_path: Path) -> None:
    model = network()
    x = cr.input("x", ("n", 6))
    graph = cr.Graph({"y": model(x)}, {"x": x})
    cr.export(graph, tmp_path / "m.onnx", {"x": X})
    back = cr.from_onnx(tmp_path / "m.onnx")
    again = cr.Graph({"y": back(x)}, {"x": x})
    wanted = cr.evaluate(graph, {"x": X})["y"]
    for rows in (32, 5, 1):
        found = cr.evaluate(again, {"x": X[:rows]})["y"]
        np.testing.assert_allclose(found, wanted[:rows], atol=1e-5)


def test_a_run_of_classes_comes_back(tmp_path: Path) -> None:
    model = nn.Sequential([nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)])
    run = cr.fit(model, (X, np.arange(32) % 3), loss="cross_entropy", epochs=1, progress=False)
    back = cr.from_onnx(run.export(tmp_path / "m.onnx", X).path)
    assert back.outputs == ("prediction", "probabilities")
    prediction, probabilities = back(X)
    np.testing.assert_array_equal(prediction.numpy(), run.predict(X))
    np.testing.assert_allclose(probabilities.numpy(), run.predict_proba(X), atol=1e-6)


def mlp(version: int) -> bytes:
    node = onnx.helper.make_node
    nodes = [
        node("Flatten", ["x"], ["f"]),
        node("Gemm", ["f", "w", "b"], ["h"], transB=1),
        node("Relu", ["h"], ["r"]),
        node("Shape", ["r"], ["s"]),
        node("Gather", ["s", "zero"], ["rows"], axis=0),
        node("Unsqueeze", ["rows"], ["rows1"], axes=[0])
        if version < 13
        else node("Unsqueeze", ["rows", "zeros"], ["rows1"]),
        node("Concat", ["rows1", "rest"], ["target"], axis=0),
        node("Reshape", ["r", "target"], ["m"]),
        node("MatMul", ["m", "v"], ["o"]),
        node("Softmax", ["o"], ["p"], axis=2),
        node("ReduceMean", ["p"], ["y"], axes=[1], keepdims=0)
        if version < 18
        else node("ReduceMean", ["p", "one"], ["y"], keepdims=0),
    ]
    arrays = {
        "w": RNG.normal(size=(8, 6)).astype("float32"), "b": RNG.normal(size=8).astype("float32"),
        "v": RNG.normal(size=(4, 3)).astype("float32"), "zero": np.int64(0), "zeros": np.int64([0]),
        "rest": np.int64([2, 4]), "one": np.int64([1]),
    }  # fmt: skip
    return written(nodes, arrays, ["batch", 2, 3], version)


@pytest.mark.parametrize("version", [11, 13, 18])
def test_a_network_of_another_library(version: int) -> None:
    content = mlp(version)
    images = X.reshape(-1, 2, 3)
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    wanted = runtime.InferenceSession(content, options).run(None, {"x": images})[0]
    model = read_model(content)
    np.testing.assert_allclose(model(images).numpy(), wanted, atol=1e-6)
    x = cr.input("x", ("n", 2, 3))
    graph = cr.Graph({"y": model(x)}, {"x": x})
    np.testing.assert_allclose(cr.evaluate(graph, {"x": images})["y"], wanted, atol=1e-6)


def test_a_model_that_was_read_is_trained_further() -> None:
    x = cr.input("x", ("n", 6))
    small = nn.Sequential([nn.Linear(6, 4), nn.BatchNorm(4), nn.Tanh(), nn.Linear(4, 1)])
    nn.initialize(small)
    back = read_model(onnx_model(cr.Graph({"y": small(x)}, {"x": x})))
    assert len(parameters(back)) >= 4
    before = copy.deepcopy(back)
    run = cr.fit(
        back, (X, X[:, :1]), loss="mse", optimizer=optim.Adam(0.01), epochs=30, progress=False
    )
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    assert not np.allclose(before(X).numpy(), back(X).numpy())


def test_the_suite_of_onnx_passes() -> None:
    count, failed = results_of(TRAINING)
    assert failed == {}
    assert count > 200
    count, failed = results_of(ELEMENTWISE)
    strange = ("bfloat16", "string")  # dtypes that graphs do not have
    assert [name for name in failed if not any(word in name for word in strange)] == []
    assert count > 200


# --- files from strangers -----------------------------------------------------------------


def test_unsupported_operators_are_named() -> None:
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["c"]),
        onnx.helper.make_node("LSTM", ["c", "w", "w"], ["y"]),
    ]
    with pytest.raises(OptionError, match="uses Conv, LSTM: these ONNX operators are not"):
        read_model(written(nodes, {"w": np.zeros((1, 1, 1), "float32")}, [1, 1, 3]))


def test_a_branch_is_refused() -> None:
    inner = onnx.helper.make_graph([], "inner", [], [])
    node = onnx.helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    with pytest.raises(OptionError, match="branches and loops are not supported"):
        read_model(written([node], {}, [1]))


def hollow(change: Callable[[Any], Any]) -> bytes:
    proto = onnx.ModelProto.FromString(
        written(
            [onnx.helper.make_node("Add", ["x", "w"], ["y"])], {"w": np.ones(3, "float32")}, [3]
        )
    )
    change(proto)
    content: bytes = proto.SerializeToString()
    return content


def lengthened(proto: Any) -> None:
    proto.graph.initializer[0].dims[:] = [1 << 40]


def negative(proto: Any) -> None:
    proto.graph.initializer[0].dims[:] = [-3]


def elsewhere(proto: Any) -> None:
    entry = proto.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "../../secret"


def of_an_unknown_kind(proto: Any) -> None:
    proto.graph.initializer[0].data_type = 999


def without_its_input(proto: Any) -> None:
    proto.graph.node[0].input[1] = "nothing"


def renamed(proto: Any) -> None:
    proto.graph.node[0].op_type = "Gemm"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lengthened, r"'w' should have 1,099,511,627,776 elements, but its part of the file has"),
        (negative, "negative length"),
        (elsewhere, "keeps 'w' in the file '../../secret'; only files in the folder"),
        (of_an_unknown_kind, "unknown dtype, 999"),
        (without_its_input, "Add needs 'nothing', which nothing makes"),
        (renamed, "Gemm needs two matrices"),
    ],
)
def test_a_damaged_model_is_an_error(change: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(ChainruleError, match=message):
        read_model(hollow(change))(np.ones(3, "float32"))


@pytest.mark.parametrize("operator", ["Expand", "ConstantOfShape", "Range"])
def test_a_small_file_can_not_ask_for_all_memory(operator: str) -> None:
    node = onnx.helper.make_node
    given = {"Expand": ["x", "s"], "ConstantOfShape": ["s"], "Range": ["a", "b", "c"]}[operator]
    arrays = {"s": np.int64([1 << 20, 1 << 20]), "a": np.int64(0), "c": np.int64(1)}
    content = written([node(operator, given, ["y"])], {**arrays, "b": np.int64(1 << 50)}, [1])
    with pytest.raises(ChainruleError, match="elements, more than the 67,108,864 allowed"):
        read_model(content)(np.ones(1, "float32"))


def test_weights_in_a_second_file(tmp_path: Path) -> None:
    content = mlp(18)
    onnx.save(
        onnx.load_from_string(content), tmp_path / "m.onnx", save_as_external_data=True,
        location="m.data", size_threshold=0,
    )  # fmt: skip
    images = X.reshape(-1, 2, 3)
    wanted = read_model(content)(images).numpy()
    np.testing.assert_array_equal(cr.from_onnx(tmp_path / "m.onnx")(images).numpy(), wanted)
    whole = (tmp_path / "m.data").read_bytes()
    (tmp_path / "m.data").write_bytes(whole[:100])
    with pytest.raises(DamagedError, match="lies outside of the file"):
        cr.from_onnx(tmp_path / "m.onnx")
    (tmp_path / "m.data").rename(tmp_path / "other")
    (tmp_path / "m.data").symlink_to(tmp_path / "other")
    with pytest.raises(OptionError, match="is a link, which is not followed"):
        cr.from_onnx(tmp_path / "m.onnx")
    (tmp_path / "m.data").unlink()
    with pytest.raises(DamagedError, match=r"m\.data' is missing"):
        cr.from_onnx(tmp_path / "m.onnx")


def test_what_is_no_model_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    with pytest.raises(DamagedError, match="is missing"):
        cr.from_onnx(file)
    for content in (b"", b"not a model", b"\x00" * 50):
        file.write_bytes(content)
        with pytest.raises(DamagedError, match="is not an ONNX model"):
            cr.from_onnx(file)


def test_every_flipped_byte_is_read_or_refused() -> None:
    content = bytearray(mlp(18))
    for place in range(len(content)):
        content[place] ^= 0x41
        with contextlib.suppress(ChainruleError):
            read_model(bytes(content))(X.reshape(-1, 2, 3))
        content[place] ^= 0x41
