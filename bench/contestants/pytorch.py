"""PyTorch: the usual loop on tensors in memory, eager, and with torch.compile.

Read next: `bench/contestants/jax_scan.py`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from workloads import Weights, Workload

from contestants.contestant import CannotRunError, Contestant

ACTIVATIONS = {
    "relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU,
    "elu": nn.ELU, "silu": nn.SiLU,
}  # fmt: skip
LOSSES = {
    "cross_entropy": functional.cross_entropy,
    "binary_cross_entropy": functional.binary_cross_entropy_with_logits,
    "mse": functional.mse_loss,
}


def network(workload: Workload) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(workload.sizes):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[workload.activation]()]
    return nn.Sequential(*layers[:-1])


class Eager(Contestant):
    """The loop that a user writes, without DataLoader, which would only slow it."""

    fused: bool | None = None
    device = "cpu"
    bf16 = False  # products in bfloat16, by autocast

    def network(self) -> nn.Sequential:
        return network(self.workload)

    def __init__(self, workload: Workload, threads: int | None):
        if threads is not None:
            torch.set_num_threads(threads)
        self.workload = workload
        X, y = workload.data()
        self.X, self.y = (torch.from_numpy(array).to(self.device) for array in (X, y))
        self.model, self.loss = self.network().to(self.device), LOSSES[workload.loss]
        parameters, rate = self.model.parameters(), workload.rate
        self.optimizer: torch.optim.Optimizer
        if workload.optimizer == "adam":
            self.optimizer = torch.optim.Adam(parameters, rate, fused=self.fused)
        else:
            momentum = 0.9 if workload.optimizer == "momentum" else 0.0
            self.optimizer = torch.optim.SGD(parameters, rate, momentum, fused=self.fused)
        self.forward: Any = self.mean_loss
        self.update: Any = self.optimizer.step
        self.reset()

    def mean_loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if not self.bf16:
            return self.loss(self.model(x), y)
        with torch.autocast(self.device, torch.bfloat16):
            output = self.model(x)
        return self.loss(output.float(), y)

    def assign(self) -> None:
        """Set the first weights."""
        linear = [layer for layer in self.model if isinstance(layer, nn.Linear)]
        for layer, (weight, bias) in zip(linear, self.workload.weights(), strict=True):
            layer.weight.copy_(torch.from_numpy(weight.T.copy()))
            layer.bias.copy_(torch.from_numpy(bias))

    def reset(self) -> None:
        with torch.no_grad():
            self.assign()
            for slots in self.optimizer.state.values():
                for slot in slots.values():
                    if slot is not None:
                        slot.zero_()

    def epoch(self, shuffle: bool = True) -> float:
        rows = self.workload.rows
        made = torch.randperm if shuffle else torch.arange
        order, total = made(rows, device=self.device), torch.zeros((), device=self.device)
        for chosen in order.split(self.workload.batch):
            loss = self.forward(self.X[chosen], self.y[chosen])
            self.optimizer.zero_grad()
            loss.backward()
            self.update()
            total += loss.detach() * len(chosen)
        return float(total) / rows

    def weights(self) -> Weights:
        return [
            (layer.weight.detach().cpu().numpy().T, layer.bias.detach().cpu().numpy())
            for layer in self.model
            if isinstance(layer, nn.Linear)
        ]


class Fused(Eager):
    """The same with the optimizer's fused kernel, which has to be asked for."""

    fused = True


class MaskedLinear(nn.Linear):
    """A dense layer whose absent edges are multiplied by 0."""

    def __init__(self, mask: Any):
        super().__init__(*mask.shape)
        self.register_buffer("mask", torch.from_numpy(mask.T.astype("float32")))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self.weight * self.mask, self.bias)


class Masked(Eager):
    """The usual way to a sparse layer: a dense one with a mask."""

    def network(self) -> nn.Sequential:
        layers: list[nn.Module] = []
        for mask in self.workload.masks():
            layers += [MaskedLinear(mask), ACTIVATIONS[self.workload.activation]()]
        return nn.Sequential(*layers[:-1])


class SparseLinear(nn.Module):
    """A layer whose weight is a sparse tensor made of a vector of values."""

    def __init__(self, mask: Any):
        super().__init__()
        self.mask = torch.from_numpy(mask.T.copy())
        self.places, self.size = self.mask.nonzero().T.contiguous(), tuple(self.mask.shape)
        self.weight = nn.Parameter(torch.zeros(self.places.shape[1]))
        self.bias = nn.Parameter(torch.zeros(self.size[0]))

    def matrix(self) -> torch.Tensor:
        return torch.sparse_coo_tensor(
            self.places, self.weight, self.size, is_coalesced=True, check_invariants=False
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sparse.mm(self.matrix(), x.T).T + self.bias


class Sparse(Eager):
    """The same with torch.sparse."""

    def network(self) -> nn.Sequential:
        layers: list[nn.Module] = []
        for mask in self.workload.masks():
            layers += [SparseLinear(mask), ACTIVATIONS[self.workload.activation]()]
        return nn.Sequential(*layers[:-1])

    def assign(self) -> None:
        linear = [layer for layer in self.model if isinstance(layer, SparseLinear)]
        for layer, (weight, bias) in zip(linear, self.workload.weights(), strict=True):
            layer.weight.copy_(torch.from_numpy(weight.T.copy())[layer.mask])
            layer.bias.copy_(torch.from_numpy(bias))

    def weights(self) -> Weights:
        linear = [layer for layer in self.model if isinstance(layer, SparseLinear)]
        return [
            (layer.matrix().detach().to_dense().numpy().T, layer.bias.detach().numpy())
            for layer in linear
        ]


class Compiled(Fused):
    """Forward, loss and backward compiled by torch.compile; the optimizer's kernel is fused."""

    def __init__(self, workload: Workload, threads: int | None):
        super().__init__(workload, threads)
        torch._dynamo.reset()
        # A last batch of another size gets code of its own, as fast as the rest.
        self.forward = torch.compile(self.forward, dynamic=False)
        try:
            self.forward(self.X[: workload.batch], self.y[: workload.batch])
        except Exception as error:
            line = next((line for line in str(error).splitlines() if line.strip()), "")
            kind = type(error).__name__
            raise CannotRunError(f"torch.compile failed with {kind}: {line}") from error
