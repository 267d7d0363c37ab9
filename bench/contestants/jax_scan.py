"""JAX: a whole epoch in one jitted call; shuffle and gather are inside, steps are a `lax.scan`.

Read next: `bench/contestants/scikit_learn.py`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from workloads import Weights, Workload

from contestants.contestant import Contestant

ACTIVATIONS: dict[str, Any] = {
    "relu": jax.nn.relu, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid, "elu": jax.nn.elu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False), "silu": jax.nn.silu,
}  # fmt: skip


def loss_of(workload: Workload) -> Any:
    """Return the mean loss as a function of parameters, x and y."""
    activate = ACTIVATIONS[workload.activation]

    def mean_loss(parameters: Any, x: Any, y: Any) -> Any:
        for weight, bias in parameters[:-1]:
            x = activate(x @ weight + bias)
        weight, bias = parameters[-1]
        output = x @ weight + bias
        if workload.loss == "cross_entropy":
            chosen = jnp.take_along_axis(jax.nn.log_softmax(output), y[:, None], axis=1)
            return -chosen.mean()
        if workload.loss == "binary_cross_entropy":
            return (jax.nn.softplus(output) - y * output).mean()
        return ((output - y) ** 2).mean()

    return mean_loss


def update_of(workload: Workload) -> tuple[int, Any]:
    """Return how many slots a parameter has, and the update (t, p, g, *slots) -> (p, *slots)."""
    rate = workload.rate

    def sgd(t: Any, p: Any, g: Any) -> tuple[Any, ...]:
        return (p - rate * g,)

    def momentum(t: Any, p: Any, g: Any, v: Any) -> tuple[Any, ...]:
        v = 0.9 * v + g
        return p - rate * v, v

    def adam(t: Any, p: Any, g: Any, m: Any, v: Any) -> tuple[Any, ...]:
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        spread = jnp.sqrt(v / (1 - 0.999**t)) + 1e-8
        return p - rate / (1 - 0.9**t) * m / spread, m, v

    return {"sgd": (0, sgd), "momentum": (1, momentum), "adam": (2, adam)}[workload.optimizer]


def epoch_of(workload: Workload) -> Any:
    """Return the epoch (state, key, X, y, shuffle) -> (state, key, sum of losses), jitted."""
    loss_and_gradient = jax.value_and_grad(loss_of(workload))
    slots, update = update_of(workload)
    rows, batch = workload.rows, workload.batch
    whole = rows // batch * batch

    def step(state: Any, x: Any, y: Any) -> Any:
        t, parameters, *kept = state
        loss, gradients = loss_and_gradient(parameters, x, y)
        leaves, tree = jax.tree.flatten(parameters)
        columns = [leaves, tree.flatten_up_to(gradients), *map(tree.flatten_up_to, kept)]
        renewed = [update(t + 1, *values) for values in zip(*columns, strict=True)]
        parts = [tree.unflatten([row[i] for row in renewed]) for i in range(1 + slots)]
        return [t + 1, *parts], loss * len(y)

    def epoch(state: Any, key: Any, X: Any, y: Any, shuffle: Any) -> Any:
        key, now = jax.random.split(key)
        order = jnp.where(shuffle, jax.random.permutation(now, rows), jnp.arange(rows))
        state, losses = lax.scan(
            lambda state, chosen: step(state, X[chosen], y[chosen]),
            state, order[:whole].reshape(-1, batch),
        )  # fmt: skip
        total = losses.sum()
        if whole < rows:
            state, loss = step(state, X[order[whole:]], y[order[whole:]])
            total += loss
        return state, key, total

    return jax.jit(epoch, donate_argnums=0)


class Scan(Contestant):
    def __init__(self, workload: Workload, threads: int | None):
        self.workload = workload
        X, y = workload.data()
        self.X, self.y = jnp.asarray(X), jnp.asarray(y.astype(np.int32) if y.ndim == 1 else y)
        self.key = jax.random.key(0)
        self.call = epoch_of(workload)
        self.reset()

    def reset(self) -> None:
        weights = self.workload.weights()
        slots, _ = update_of(self.workload)
        fresh = [[(np.zeros_like(w), np.zeros_like(b)) for w, b in weights] for _ in range(slots)]
        # Copies, since memory that JAX shares with NumPy can't be donated.
        self.state = jax.tree.map(jnp.array, [np.float32(0), weights, *fresh])

    def epoch(self, shuffle: bool = True) -> float:
        self.state, self.key, total = self.call(self.state, self.key, self.X, self.y, shuffle)
        jax.block_until_ready(self.state)
        return float(total) / self.workload.rows

    def weights(self) -> Weights:
        return [(np.asarray(weight), np.asarray(bias)) for weight, bias in self.state[1]]
