"""Sparse layers train as PyTorch's dense ones whose weights are masked: 20 steps, float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainrule import nn, optim
from tests.run.agreement import training

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_steps_are_those_of_a_masked_network(engine: str) -> None:
    torch: Any = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    layers = [
        nn.SparseLinear.from_density(12, 9, 0.3, seed=5, dtype="float64"),
        nn.SparseLinear.local(9, 4, 3, dtype="float64"),
    ]
    model = nn.Sequential([layers[0], nn.Tanh(), layers[1]])
    nn.initialize(model, seed=2)
    X, y = rng.normal(size=(50, 12)), rng.integers(0, 4, 50)
    case = training(model, "cross_entropy", optim.SGD(0.1, momentum=0.9), X, y)
    weights, masks, biases = [], [], []
    for layer in layers:
        ends = (layer.wiring.sources, layer.wiring.targets)
        dense, mask = (np.zeros((layer.inputs, layer.outputs)) for _ in range(2))
        dense[ends], mask[ends] = layer.weight.value, 1.0
        assert layer.bias is not None
        weights.append(torch.tensor(dense, requires_grad=True))
        biases.append(torch.tensor(layer.bias.value, requires_grad=True))
        masks.append(torch.tensor(mask))
    method = torch.optim.SGD([*weights, *biases], 0.1, momentum=0.9)
    order = np.concatenate([rng.permutation(50) for _ in range(4)])
    for start in range(0, 200, 10):
        rows = torch.tensor(order[start : start + 10])
        h = torch.tanh(torch.tensor(X)[rows] @ (weights[0] * masks[0]) + biases[0])
        output = h @ (weights[1] * masks[1]) + biases[1]
        method.zero_grad()
        torch.nn.functional.cross_entropy(output, torch.tensor(y)[rows]).backward()
        method.step()
    program = case.native(10) if engine == "native" else case.reference()
    program.run(order, 10)
    for place, layer, weight, bias in zip((0, 2), layers, weights, biases, strict=True):
        ends = (layer.wiring.sources, layer.wiring.targets)
        ours = program.state[f"parameter/{place}.weight"]
        theirs = weight.detach().numpy()
        np.testing.assert_allclose(ours, theirs[ends], rtol=1e-10, atol=1e-12)
        ours = program.state[f"parameter/{place}.bias"]
        np.testing.assert_allclose(ours, bias.detach().numpy(), rtol=1e-10, atol=1e-12)
