"""Normalization, residual blocks, penalties and weights train as PyTorch's: float64, to 1e-9."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim

pytestmark = pytest.mark.oracle

RNG = np.random.default_rng(5)
X, Y = RNG.normal(2.0, 3.0, size=(30, 6)), RNG.integers(0, 3, 30)
EPOCHS = 10


def linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, dtype="float64")


def theirs(torch: Any, layer: Any) -> Any:
    """PyTorch's layer with the same weights."""
    t = torch.nn
    if isinstance(layer, nn.Sequential):
        return t.Sequential(*[theirs(torch, inner) for inner in layer.layers])
    if isinstance(layer, nn.Linear):
        made = t.Linear(layer.inputs, layer.outputs, dtype=torch.float64)
        with torch.no_grad():
            made.weight.copy_(torch.tensor(layer.weight.value.T))
            made.bias.copy_(torch.tensor(layer.bias.value))  # type: ignore[union-attr]
        return made
    if isinstance(layer, nn.BatchNorm):
        return t.BatchNorm1d(layer.features, momentum=layer.momentum, dtype=torch.float64)
    if isinstance(layer, nn.LayerNorm):
        return t.LayerNorm(layer.features, dtype=torch.float64)
    if isinstance(layer, nn.RMSNorm):
        return t.RMSNorm(layer.features, layer.epsilon, dtype=torch.float64)
    if isinstance(layer, nn.Residual):
        inner = theirs(torch, layer.body)

        class Around(t.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.inner = inner

            def forward(self, x: Any) -> Any:
                return x + self.inner(x)

        return Around()
    return {nn.ReLU: t.ReLU, nn.Tanh: t.Tanh}[type(layer)]()


MODELS: dict[str, Callable[[], list[Any]]] = {
    "batch norm": lambda: [linear(6, 8), nn.BatchNorm(8, dtype="float64"), nn.ReLU()],
    "layer norm": lambda: [linear(6, 8), nn.LayerNorm(8, dtype="float64"), nn.Tanh()],
    "rms norm": lambda: [linear(6, 8), nn.RMSNorm(8, dtype="float64"), nn.Tanh()],
    "residual": lambda: [linear(6, 8), nn.Residual([linear(8, 8), nn.Tanh()])],
}


def ours_and_theirs(
    torch: Any, layers: list[Any], loss: Callable[[Any, Any, Any], Any], **more: Any
) -> None:
    model = nn.Sequential([*layers, linear(8, 3)])
    nn.initialize(model, 3)
    net = theirs(torch, model)
    method = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)
    features, target = torch.tensor(X), torch.tensor(Y)
    for _ in range(EPOCHS):
        method.zero_grad()
        loss(net, net(features), target).backward()
        method.step()
    run = cr.fit(
        model, (X, Y), loss="cross_entropy", optimizer=optim.SGD(0.05, 0.9), epochs=EPOCHS,
        batch_size=len(X), progress=False, **more,
    )  # fmt: skip
    net.eval()
    np.testing.assert_allclose(run.outputs(X), net(features).detach().numpy(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_layers(torch: Any, name: str) -> None:
    cross_entropy = torch.nn.functional.cross_entropy
    ours_and_theirs(torch, MODELS[name](), lambda net, z, y: cross_entropy(z, y))


def test_elastic_penalty(torch: Any) -> None:
    def loss(net: Any, z: Any, y: Any) -> Any:
        weights = [p for p in net.parameters() if p.ndim == 2]
        charge = sum(0.02 * w.abs().sum() + 0.03 * (w**2).sum() for w in weights)
        return torch.nn.functional.cross_entropy(z, y) + charge

    ours_and_theirs(torch, [linear(6, 8), nn.Tanh()], loss, regularizer=nn.L1L2(0.02, 0.03))


def test_class_weights(torch: Any) -> None:
    # PyTorch divides by the sum of the weights of the batch, here that of all rows.
    weights = torch.tensor([1.0, 5.0, 0.5], dtype=torch.float64)
    cross_entropy = torch.nn.functional.cross_entropy
    ours_and_theirs(
        torch, [linear(6, 8), nn.Tanh()], lambda net, z, y: cross_entropy(z, y, weight=weights),
        class_weight={1: 5.0, 2: 0.5},
    )  # fmt: skip
