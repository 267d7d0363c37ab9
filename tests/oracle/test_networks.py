"""Whole networks train as PyTorch trains them: weights copied, 20 steps, float64, to 1e-9."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.optim.optimizer import Optimizer

pytestmark = pytest.mark.oracle

ROWS, BATCH, STEPS = 50, 10, 20  # four epochs of five steps, each epoch shuffled anew
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 6))
CLASSES = RNG.integers(0, 4, ROWS)
VALUES = RNG.normal(size=(ROWS, 2))
LABELS = RNG.integers(0, 2, (ROWS, 3)).astype(float)

ACTIVATIONS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "relu": (nn.ReLU(), lambda t: t.nn.ReLU()),
    "tanh": (nn.Tanh(), lambda t: t.nn.Tanh()),
    "sigmoid": (nn.Sigmoid(), lambda t: t.nn.Sigmoid()),
    "elu": (nn.ELU(0.7), lambda t: t.nn.ELU(0.7)),
    "leaky_relu": (nn.LeakyReLU(0.2), lambda t: t.nn.LeakyReLU(0.2)),
    "gelu": (nn.GELU(), lambda t: t.nn.GELU()),
    "gelu, tanh": (nn.GELU(approximate=True), lambda t: t.nn.GELU(approximate="tanh")),
    "silu": (nn.SiLU(), lambda t: t.nn.SiLU()),
    "softplus": (nn.Softplus(), lambda t: t.nn.Softplus()),
}
LOSSES: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "cross_entropy": (CLASSES, lambda t: t.nn.CrossEntropyLoss()),
    "mse": (VALUES, lambda t: t.nn.MSELoss()),
    "binary_cross_entropy": (LABELS, lambda t: t.nn.BCEWithLogitsLoss()),
}
OPTIMIZERS: dict[str, tuple[Optimizer, Callable[[Any, Any], Any]]] = {
    "sgd": (optim.SGD(0.1), lambda t, p: t.optim.SGD(p, 0.1)),
    "momentum": (optim.SGD(0.05, 0.9), lambda t, p: t.optim.SGD(p, 0.05, momentum=0.9)),
    "nesterov": (
        optim.SGD(0.05, 0.9, nesterov=True),
        lambda t, p: t.optim.SGD(p, 0.05, momentum=0.9, nesterov=True),
    ),
    "adam": (optim.Adam(0.01), lambda t, p: t.optim.Adam(p, 0.01)),
    "adamw": (
        optim.AdamW(0.01, weight_decay=0.1, everywhere=True),
        lambda t, p: t.optim.AdamW(p, 0.01, weight_decay=0.1),
    ),
    "adamw, weights alone": (
        optim.AdamW(0.01, weight_decay=0.1),
        lambda t, p: t.optim.AdamW(
            [{"params": [q], "weight_decay": 0.1 * (q.ndim > 1)} for q in p], 0.01
        ),
    ),
    "amsgrad": (
        optim.AMSGrad(0.01, beta2=0.9),
        lambda t, p: t.optim.Adam(p, 0.01, betas=(0.9, 0.9), amsgrad=True),
    ),
    "nadam": (optim.Nadam(0.01), lambda t, p: t.optim.NAdam(p, 0.01)),
    "radam": (optim.RAdam(0.01), lambda t, p: t.optim.RAdam(p, 0.01)),
    "radam, rectified soon": (
        optim.RAdam(0.01, beta2=0.9),
        lambda t, p: t.optim.RAdam(p, 0.01, betas=(0.9, 0.9)),
    ),
    "adagrad": (optim.AdaGrad(0.05), lambda t, p: t.optim.Adagrad(p, 0.05)),
    "rmsprop": (optim.RMSProp(0.005), lambda t, p: t.optim.RMSprop(p, 0.005)),
    "rmsprop, centered, momentum": (
        optim.RMSProp(0.002, 0.9, 1e-4, momentum=0.8, centered=True),
        lambda t, p: t.optim.RMSprop(p, 0.002, 0.9, 1e-4, momentum=0.8, centered=True),
    ),
    "adadelta": (
        optim.AdaDelta(1.0, 0.9, 1e-4),
        lambda t, p: t.optim.Adadelta(p, 1.0, 0.9, 1e-4),
    ),
    "adam, other constants": (
        optim.Adam(0.01, 0.8, 0.95, 1e-4),
        lambda t, p: t.optim.Adam(p, 0.01, betas=(0.8, 0.95), eps=1e-4),
    ),
}


def train_with_torch(
    torch: Any, model: nn.Sequential, activation: Any, y: Any, loss: Any, make: Any, clip: bool
) -> tuple[list[float], list[Any]]:
    """Return PyTorch's loss of each epoch and last weights, from `model`'s first ones."""
    layers: list[Any] = []
    for layer in model.layers:
        if not isinstance(layer, nn.Linear):
            layers.append(activation)
            continue
        theirs = torch.nn.Linear(layer.inputs, layer.outputs, dtype=torch.float64)
        assert layer.bias is not None
        with torch.no_grad():
            theirs.weight.copy_(torch.tensor(layer.weight.value.T))
            theirs.bias.copy_(torch.tensor(layer.bias.value))
        layers.append(theirs)
    net = torch.nn.Sequential(*layers)
    method = make(torch, net.parameters())
    features, target, losses = torch.tensor(X), torch.tensor(y), []
    for epoch in range(1, 1 + STEPS * BATCH // ROWS):
        order = np.random.Generator(np.random.Philox(key=[7, 2**32 + epoch])).permutation(ROWS)
        total = 0.0
        for start in range(0, ROWS, BATCH):
            rows = torch.tensor(order[start : start + BATCH])
            value = loss(net(features[rows]), target[rows])
            method.zero_grad()
            value.backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(net.parameters(), 0.1)
            method.step()
            total += value.item() * len(rows)
        losses.append(total / ROWS)
    return losses, [p.detach().numpy() for p in net.parameters()]


def compare(torch: Any, activation: str, loss: str, optimizer: str, clip: bool = False) -> None:
    ours_activation, theirs_activation = ACTIVATIONS[activation]
    y, theirs_loss = LOSSES[loss]
    method, make = OPTIMIZERS[optimizer]
    outputs = 4 if loss == "cross_entropy" else y.shape[1]
    model = nn.Sequential(
        [
            nn.Linear(6, 16, dtype="float64"), ours_activation,
            nn.Linear(16, 12, dtype="float64"), ours_activation,
            nn.Linear(12, outputs, dtype="float64"),
        ]
    )  # fmt: skip
    nn.initialize(model, 7)
    first = [p.value.copy() for p in nn.parameters(model).values()]
    losses, weights = train_with_torch(
        torch, model, theirs_activation(torch), y, theirs_loss(torch), make, clip
    )
    run = cr.fit(
        model, (X, y), loss=loss, epochs=len(losses), batch_size=BATCH, seed=7, progress=False,
        optimizer=optim.chain(optim.ClipNorm(0.1), method) if clip else method,
    )  # fmt: skip
    assert len(losses) == 4
    np.testing.assert_allclose([r["loss"] for r in run.history], losses, rtol=0, atol=1e-9)
    for ours, theirs, start in zip(nn.parameters(model).values(), weights, first, strict=True):
        np.testing.assert_allclose(ours.value, theirs.T, rtol=0, atol=1e-9)
        assert abs(ours.value - start).max() > 1e-3  # it did train


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam"])
@pytest.mark.parametrize(
    ("activation", "loss"),
    [("relu", "cross_entropy"), ("sigmoid", "binary_cross_entropy")],
)
def test_network(torch: Any, activation: str, loss: str, optimizer: str) -> None:
    compare(torch, activation, loss, optimizer)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizer(torch: Any, optimizer: str) -> None:
    compare(torch, "tanh", "mse", optimizer)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(
    "activation", ["elu", "leaky_relu", "gelu", "gelu, tanh", "silu", "softplus"]
)
def test_activation_in_a_network(torch: Any, activation: str, optimizer: str) -> None:
    compare(torch, activation, "cross_entropy", optimizer)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_clipping_of_the_norm(torch: Any, optimizer: str) -> None:
    # PyTorch divides by norm + 1e-6, so agreement ends there; a limit of 0.1 binds each step.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", exact_clip(torch))
        compare(torch, "tanh", "mse", optimizer, clip=True)


def exact_clip(torch: Any) -> Callable[[Any, float], None]:
    """Return clipping by PyTorch's own norm, without its 1e-6."""

    def clip(parameters: Any, limit: float) -> None:
        gradients = [p.grad for p in parameters]
        norm = torch.nn.utils.get_total_norm(gradients)
        for gradient in gradients:
            gradient.mul_(torch.clamp(limit / norm, max=1.0))

    return clip
