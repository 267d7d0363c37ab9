"""Activations, losses and a sample of operations equal PyTorch's, and so do their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

pytestmark = pytest.mark.oracle

RNG = np.random.default_rng(1)
Z = np.concatenate([RNG.normal(0, 2, (8, 5)), RNG.normal(0, 20, (4, 5)), np.zeros((1, 5))])
ROWS = len(Z)
CLASSES = RNG.integers(0, 5, ROWS)
SOFT = RNG.dirichlet(np.ones(5), ROWS)
LABELS = RNG.integers(0, 2, Z.shape).astype(float)
VALUES = RNG.normal(size=Z.shape)
# Errors of every size, 0 and the two edges of the Huber loss among them.
NEAR = Z - np.resize([0.0, 0.7, -0.7, 0.2, 3.0, -0.1, -5.0], Z.shape)
COUNTS = RNG.poisson(3.0, Z.shape).astype(float)
SPARSE = np.concatenate([SOFT[:9], np.eye(5)[CLASSES[9:]]])  # certain of some rows


def compare(torch: Any, ours: Callable[..., Any], theirs: Callable[..., Any], *arrays: Any) -> None:
    """Check value and gradients, weighted at random so that no error cancels another."""
    a = [cr.tensor(x) for x in arrays]
    b = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in arrays]
    y, z = ours(*a), theirs(*b)
    assert y.dtype == np.float64
    assert y.shape == tuple(z.shape)
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-12, atol=1e-12)
    w = RNG.normal(size=y.shape)
    mine = cr.grad((y * w).sum(), [x for x in a if x.dtype.kind == "f"])
    (z * torch.tensor(w)).sum().backward()
    for g, x in zip(mine, (x for x in b if x.requires_grad), strict=True):
        np.testing.assert_allclose(g.numpy(), x.grad.numpy(), rtol=1e-12, atol=1e-12)


ACTIVATIONS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "relu": (nn.ReLU(), lambda t: t.nn.functional.relu),
    "leaky_relu": (nn.LeakyReLU(0.2), lambda t: t.nn.LeakyReLU(0.2)),
    "elu": (nn.ELU(), lambda t: t.nn.ELU()),
    "elu, 0.5": (nn.ELU(0.5), lambda t: t.nn.ELU(0.5)),
    "sigmoid": (nn.Sigmoid(), lambda t: t.sigmoid),
    "tanh": (nn.Tanh(), lambda t: t.tanh),
    "gelu": (nn.GELU(), lambda t: t.nn.GELU()),
    "gelu, tanh": (nn.GELU(approximate=True), lambda t: t.nn.GELU(approximate="tanh")),
    "silu": (nn.SiLU(), lambda t: t.nn.SiLU()),
    # PyTorch switches to x above a threshold; 1e9 turns that approximation off.
    "softplus": (nn.Softplus(), lambda t: t.nn.Softplus(threshold=1e9)),
    "selu": (nn.SELU(), lambda t: t.nn.SELU()),
    "relu6": (nn.ReLU6(), lambda t: t.nn.ReLU6()),
    "mish": (nn.Mish(), lambda t: t.nn.Mish()),
    "softsign": (nn.Softsign(), lambda t: t.nn.Softsign()),
    # PyTorch's own hardsigmoid rounds the slope 1/6 to float32, in float64 too.
    "hard_sigmoid": (nn.HardSigmoid(), lambda t: lambda x: t.nn.functional.relu6(x + 3) / 6),
    "hard_tanh": (nn.HardTanh(), lambda t: t.nn.Hardtanh()),
    "hard_swish": (nn.HardSwish(), lambda t: t.nn.Hardswish()),
}
KINKS = np.array([[-6.0, -3.0, -1.0, 0.0, 1.0], [3.0, 6.0, -0.0, 6.5, -3.5]])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(torch: Any, name: str) -> None:
    ours, theirs = ACTIVATIONS[name]
    # leaky ReLU's slope at exactly 0 is a convention, and ours is PyTorch's too.
    compare(torch, ours, theirs(torch), np.concatenate([Z, KINKS]))


@pytest.mark.parametrize("units", [1, 5])
def test_prelu_and_the_slopes_it_learns(torch: Any, units: int) -> None:
    layer = nn.PReLU(units if units > 1 else None, dtype="float64")

    def ours(x: Any, slope: Any) -> Any:
        layer.slope = slope if units > 1 else slope.reshape(())
        return layer(x)

    compare(
        torch, ours, torch.nn.functional.prelu, np.concatenate([Z, KINKS]), RNG.normal(size=units)
    )


def test_maxout_is_the_largest_of_two_linear_layers(torch: Any) -> None:
    layer = nn.Maxout(5, 3, dtype="float64")

    def ours(x: Any, v: Any, w: Any, a: Any, b: Any) -> Any:
        layer.weight, layer.bias = [v, w], [a, b]
        return layer(x)

    def theirs(x: Any, v: Any, w: Any, a: Any, b: Any) -> Any:
        return torch.maximum(x @ v + a, x @ w + b)

    sizes = [(5, 3), (5, 3), (3,), (3,)]
    compare(torch, ours, theirs, Z, *(RNG.normal(size=size) for size in sizes))


LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def _pinball(f: Any, z: Any, y: Any, levels: Any) -> Any:
    return (levels * f.relu(y - z) + (1 - levels) * f.relu(z - y)).mean(1)


LOSSES: dict[str, tuple[Any, Callable[[Any], Any], Any]] = {
    "mse": (nn.mse, lambda f: lambda z, y: f.mse_loss(z, y, reduction="none").mean(1), VALUES),
    "cross_entropy, classes": (
        nn.cross_entropy, lambda f: lambda z, y: f.cross_entropy(z, y, reduction="none"), CLASSES,
    ),
    "cross_entropy, probabilities": (
        nn.cross_entropy, lambda f: lambda z, y: f.cross_entropy(z, y, reduction="none"), SOFT,
    ),
    "binary_cross_entropy": (
        nn.binary_cross_entropy,
        lambda f: lambda z, y: (
            f.binary_cross_entropy_with_logits(z, y, reduction="none").mean(1)
        ),
        LABELS,
    ),
    "mae": (nn.mae, lambda f: lambda z, y: f.l1_loss(z, y, reduction="none").mean(1), NEAR),
    "huber": (
        nn.Huber(0.7), lambda f: lambda z, y: f.huber_loss(z, y, "none", 0.7).mean(1), NEAR,
    ),
    "log_cosh": (nn.log_cosh, lambda f: lambda z, y: (z - y).cosh().log().mean(1), NEAR),
    "poisson": (
        nn.poisson,
        lambda f: lambda z, y: f.poisson_nll_loss(z, y, log_input=True, reduction="none").mean(1),
        COUNTS,
    ),
    "quantile": (
        nn.Quantile(LEVELS),
        lambda f: lambda z, y: _pinball(f, z, y[:, None], z.new_tensor(LEVELS)),
        VALUES[:, 0],
    ),
    # Whether a class lies above each of those that it is not below: masked yes-or-no answers.
    "ordinal": (
        nn.ordinal,
        lambda f: lambda z, y: f.binary_cross_entropy_with_logits(
            z, (y[:, None] > z.new_tensor(range(5))).double(), reduction="none",
            weight=(y[:, None] >= z.new_tensor(range(5))).double(),
        ).sum(1),
        CLASSES,
    ),
    "kl_divergence": (
        lambda z, y: nn.kl_divergence(z, cr.stop_gradient(y)),
        lambda f: lambda z, y: (
            f.kl_div(f.log_softmax(z, 1), y.detach(), reduction="none").sum(1) + 0 * y.sum(1)
        ),
        SPARSE,
    ),
    "cross_entropy, smoothed classes": (
        nn.CrossEntropy(0.2),
        lambda f: lambda z, y: f.cross_entropy(z, y, reduction="none", label_smoothing=0.2),
        CLASSES,
    ),
    "cross_entropy, smoothed probabilities": (
        nn.CrossEntropy(0.2),
        lambda f: lambda z, y: f.cross_entropy(z, y, reduction="none", label_smoothing=0.2),
        SOFT,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_loss(torch: Any, name: str) -> None:
    ours, theirs, y = LOSSES[name]
    compare(torch, ours, theirs(torch.nn.functional), Z, y)


P = RNG.uniform(0.5, 2.0, (3, 4))
Q = RNG.normal(size=(3, 4))
INDEX = np.array([2, 0, 2, 1])

OPERATIONS: dict[str, tuple[Any, Callable[[Any], Any], tuple[Any, ...]]] = {
    "matmul": (cr.matmul, lambda t: t.matmul, (RNG.normal(size=(3, 4)), RNG.normal(size=(4, 5)))),
    "matmul, batched": (
        cr.matmul, lambda t: t.matmul, (RNG.normal(size=(2, 3, 4)), RNG.normal(size=(2, 4, 5))),
    ),
    "matmul, broadcast batches": (
        cr.matmul, lambda t: t.matmul, (RNG.normal(size=(6, 1, 3, 4)), RNG.normal(size=(2, 4, 5))),
    ),
    "matmul, matrix and vector": (
        cr.matmul, lambda t: t.matmul, (RNG.normal(size=(2, 3, 4)), RNG.normal(size=4)),
    ),
    "softmax": (cr.softmax, lambda t: lambda x: t.softmax(x, -1), (Z,)),
    "softmax, axis 0": (lambda x: cr.softmax(x, 0), lambda t: lambda x: t.softmax(x, 0), (Z,)),
    "log_softmax": (cr.log_softmax, lambda t: lambda x: t.log_softmax(x, -1), (Z,)),
    "logsumexp": (cr.logsumexp, lambda t: lambda x: t.logsumexp(x, -1), (Z,)),
    "var": (lambda x: cr.var(x, 1), lambda t: lambda x: t.var(x, 1, correction=0), (Z,)),
    "std": (lambda x: cr.std(x, 0), lambda t: lambda x: t.std(x, 0, correction=0), (Q,)),
    "norm": (lambda x: cr.norm(x, 1), lambda t: lambda x: t.linalg.norm(x, dim=1), (Q,)),
    "max": (lambda x: cr.max(x, 1), lambda t: lambda x: t.amax(x, 1), (Q,)),
    "mean": (lambda x: cr.mean(x, (0, 1)), lambda t: lambda x: t.mean(x, (0, 1)), (Q,)),
    "broadcast and multiply": (
        lambda a, b: a * b, lambda t: lambda a, b: a * b, (Q, RNG.normal(size=(3, 1))),
    ),
    "divide": (cr.div, lambda t: t.div, (Q, P)),
    "power": (cr.pow, lambda t: t.pow, (P, Q)),
    "exp, log, sqrt, erf, sin": (
        lambda x: cr.exp(cr.sin(x)) + cr.log(x) * cr.sqrt(x) + cr.erf(x),
        lambda t: lambda x: t.exp(t.sin(x)) + t.log(x) * t.sqrt(x) + t.erf(x),
        (P,),
    ),
    "arctan": (cr.arctan, lambda t: t.arctan, (Q,)),
    "log2": (cr.log2, lambda t: t.log2, (P,)),
    "tan": (cr.tan, lambda t: t.tan, (Q,)),
    "gather rows": (cr.gather, lambda t: lambda x, i: x[i], (Q, INDEX)),
    "where": (
        lambda a, b: cr.where(a > b, a * b, a - b),
        lambda t: lambda a, b: t.where(a > b, a * b, a - b),
        (P, Q),
    ),
    "clip": (lambda x: cr.clip(x, -0.5, 0.7), lambda t: lambda x: t.clamp(x, -0.5, 0.7), (Q,)),
    "concatenate": (
        lambda a, b: cr.concat([a, b], 1), lambda t: lambda a, b: t.cat([a, b], 1), (P, Q),
    ),
    "transpose and reshape": (
        lambda x: x.T.reshape(2, 6), lambda t: lambda x: x.T.reshape(2, 6), (Q,),
    ),
    "slice with steps": (lambda x: x[1:, ::2], lambda t: lambda x: x[1:, ::2], (Q,)),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation(torch: Any, name: str) -> None:
    ours, theirs, arrays = OPERATIONS[name]
    compare(torch, ours, theirs(torch), *arrays)


def test_second_derivative(torch: Any) -> None:
    x = cr.tensor(P)
    inner = cr.grad((cr.tanh(x) * cr.exp(-x)).sum(), x)
    mine = cr.grad((inner * inner).sum(), x).numpy()
    z = torch.tensor(P, requires_grad=True)
    (slope,) = torch.autograd.grad((torch.tanh(z) * torch.exp(-z)).sum(), z, create_graph=True)
    (theirs,) = torch.autograd.grad((slope * slope).sum(), z)
    np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-12)
