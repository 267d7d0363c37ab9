"""Jacobians and Hessians equal PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr

pytestmark = pytest.mark.oracle

RNG = np.random.default_rng(2)
X = RNG.normal(size=(5, 3))
W = RNG.normal(size=(3, 4))
B = RNG.normal(size=4)


@pytest.mark.parametrize("rows", [1, 5])
def test_jacobian(torch: Any, rows: int) -> None:
    x, w, b = X[:rows], cr.tensor(W), cr.tensor(B)
    ours = cr.jacobian(cr.tanh(x @ w + b) * cr.softmax(b), [w, b])
    theirs = torch.autograd.functional.jacobian(
        lambda w, b: torch.tanh(torch.tensor(x) @ w + b) * b.softmax(-1),
        (torch.tensor(W), torch.tensor(B)),
    )
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.shape == tuple(other.shape)
        np.testing.assert_allclose(mine, other.numpy(), rtol=1e-12, atol=1e-14)


def test_hessian(torch: Any) -> None:
    w, b = cr.tensor(W), cr.tensor(B)
    ours = cr.hessian((cr.sigmoid(X @ w + b) ** 2).sum(), [w, b])
    theirs = torch.autograd.functional.hessian(
        lambda w, b: (torch.sigmoid(torch.tensor(X) @ w + b) ** 2).sum(),
        (torch.tensor(W), torch.tensor(B)),
    )
    for mine, other in zip(
        [t for row in ours for t in row], [t for row in theirs for t in row], strict=True
    ):
        assert mine.shape == tuple(other.shape)
        np.testing.assert_allclose(mine, other.numpy(), rtol=1e-11, atol=1e-14)
