"""chainrule: the step that `cr.fit` records and compiles, run by epochs; and `cr.fit` itself.

Read next: `chainrule/train/fit.py`.
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import numpy as np
from workloads import Weights, Workload

import chainrule as cr
from chainrule import nn, optim
from chainrule.nn.activations import activation
from chainrule.run.program import Engine, prepare
from chainrule.step.objective import objective
from chainrule.step.part import Part
from chainrule.step.record import data_input, forward, record_step
from contestants.contestant import CannotRunError, Contestant


def network(workload: Workload) -> nn.Sequential:
    layers: list[Any] = []
    for inputs, outputs in pairwise(workload.sizes):
        layers += [nn.Linear(inputs, outputs), activation(workload.activation)]
    model = nn.Sequential(layers[:-1])
    set_weights(model, workload.weights())
    return model


def set_weights(model: nn.Sequential, weights: Weights) -> None:
    for path, parameter in nn.parameters(model).items():
        place, kind = path.split(".")
        parameter.value = weights[int(place) // 2][kind == "bias"]


def optimizer(workload: Workload) -> Any:
    if workload.optimizer == "adam":
        return optim.Adam(workload.rate)
    return optim.SGD(workload.rate, momentum=0.9 if workload.optimizer == "momentum" else 0.0)


class Ours(Contestant):
    """The compiled step, an epoch a call."""

    engine = "native"
    precision: str | None = None

    def network(self) -> nn.Sequential:
        return network(self.workload)

    def __init__(self, workload: Workload, threads: int | None):
        self.workload = workload
        X, y = workload.data()
        aim, model = objective(workload.loss), self.network()
        output = forward(model, data_input("x", X)).shape
        target = aim.target(y, output, np.dtype(np.float32))
        step = record_step(model, aim, optimizer(workload), [], Part(X, target))
        self.program = prepare(
            step.graph,
            step.state,
            {"x": X, "y": target},
            workload.batch,
            Engine(self.engine, threads, precision=self.precision),
        )
        self.first = {name: np.array(value) for name, value in step.state.items()}
        self.draws = np.random.default_rng(0)

    def reset(self) -> None:
        for name, view in self.program.state.items():
            view[...] = self.first[name]

    def epoch(self, shuffle: bool = True) -> float:
        rows = self.workload.rows
        order = self.draws.permutation(rows) if shuffle else np.arange(rows)
        return self.program.run(order, self.workload.batch)["loss"] / rows

    def weights(self) -> Weights:
        state = self.program.state
        return [
            (state[f"parameter/{2 * i}.weight"], state[f"parameter/{2 * i}.bias"])
            for i in range(len(self.workload.sizes) - 1)
        ]


class OnXla(Ours):
    """The same step on XLA."""

    engine = "xla"


class OnXlaInBf16(OnXla):
    """The same with products in bfloat16."""

    precision = "bf16"


class Sparse(Ours):
    """The compiled step of sparse layers."""

    def network(self) -> nn.Sequential:
        self.linear = [nn.SparseLinear.from_mask(mask) for mask in self.workload.masks()]
        layers: list[Any] = []
        for layer, (weight, bias) in zip(self.linear, self.workload.weights(), strict=True):
            layer.weight.value = weight[layer.wiring.sources, layer.wiring.targets]
            assert layer.bias is not None
            layer.bias.value = bias
            layers += [layer, activation(self.workload.activation)]
        return nn.Sequential(layers[:-1])

    def weights(self) -> Weights:
        found = []
        for layer, (values, bias) in zip(self.linear, super().weights(), strict=True):
            dense = np.zeros((layer.inputs, layer.outputs), values.dtype)
            dense[layer.wiring.sources, layer.wiring.targets] = values
            found.append((dense, bias))
        return found


class Fit(Contestant):
    """`cr.fit` as users call it, with its metrics, history and best weights."""

    def __init__(self, workload: Workload, threads: int | None):
        self.workload, self.threads = workload, threads
        self.X, self.y = workload.data()
        self.epochs = 2

    def reset(self) -> None:
        self.model = network(self.workload)

    def epoch(self, shuffle: bool = True) -> float:
        if not shuffle:
            raise CannotRunError("cr.fit always shuffles")
        return self._train(1)[0]

    def _train(self, epochs: int) -> tuple[float, list[float]]:
        """Return the last loss and the seconds between the ends of epochs."""
        ends: list[float] = []
        run = cr.fit(
            self.model, (self.X, self.y), loss=self.workload.loss,
            optimizer=optimizer(self.workload), epochs=epochs, batch_size=self.workload.batch,
            threads=self.threads, engine="native", progress=False,
            on_epoch=lambda run, record: ends.append(time.perf_counter()),
        )  # fmt: skip
        return run.history[-1]["loss"], [b - a for a, b in pairwise(ends)]

    def turn(self, seconds: float) -> list[float]:
        """Return the seconds of epochs after the first, whose beginning can't be seen."""
        self.reset()
        _, taken = self._train(self.epochs)
        self.epochs = 1 + max(1, round(seconds / min(taken)))
        return taken

    def weights(self) -> Weights:
        found = [parameter.value for parameter in nn.parameters(self.model).values()]
        return list(zip(found[::2], found[1::2], strict=True))
