"""Every public layer computes the same in onnxruntime, and after it was read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.errors import ChainruleError
from chainrule.transform.mode import for_predicting
from tests.nn.test_config import LAYERS

pytestmark = pytest.mark.oracle

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def inputs_of(layer: Any) -> tuple[Any, Any]:
    """Return an input that `layer` takes, and a tensor of it."""
    rng = np.random.default_rng(0)
    for width in (*range(1, 40), 0):
        shape = (width,) if width else ()
        dtype = "float32" if width else "int64"
        x = cr.input("x", ("n", *shape), dtype)
        try:
            return (rng.normal(size=(6, *shape)) if width else np.arange(6) % 4), layer(x)
        except ChainruleError:
            continue
    raise AssertionError(f"{layer} takes no input that was tried")


@pytest.mark.parametrize("layer", LAYERS, ids=lambda e: type(e).__name__)
def test_a_layer_goes_out_and_comes_back(layer: Any, tmp_path: Path) -> None:
    nn.initialize(layer, 3)
    if type(layer) is nn.EmbedColumns:
        x = cr.input("x", ("n", 3))
        X, y = np.tile(np.arange(4.0)[:, None], (1, 3)), layer(x)
    else:
        X, y = inputs_of(layer)
    graph = cr.Graph({"y": y})
    assert cr.export(graph, tmp_path / "m.onnx", {"x": X}).difference <= 1e-5
    back = cr.from_onnx(tmp_path / "m.onnx")
    leaf = next(n for n in graph.inputs.values() if n.primitive.name == "input")
    x = cr.input("x", leaf.spec.shape, leaf.spec.dtype)
    again = cr.Graph({"y": back(x)}, {"x": x})
    wanted = cr.evaluate(for_predicting(graph), {"x": X})["y"]
    np.testing.assert_allclose(cr.evaluate(again, {"x": X})["y"], wanted, atol=1e-5)


def test_all_layers_are_tried() -> None:
    assert {type(layer) for layer in LAYERS} >= {nn.Linear, nn.SparseLinear, nn.Embedding}
