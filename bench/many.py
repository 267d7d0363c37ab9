"""Compare a thousand small trainings by `fit_many` with JAX's vmap and with torch.func.

Run `python bench/many.py [--trainings N] [--turns N] [--python NAME=PATH ...]`.  All train 4-16-3
with tanh on iris, with Adam and batches of 16, each training from a seed and a learning rate of
its own.  JAX runs all of them in one jitted call, a `lax.scan` over epochs and batches of a
vmapped step; PyTorch steps all of them at once by `torch.func`.  Each contestant has a process of
its own, in which it takes turns with the others; `--python jax=PATH` names the interpreter of an
environment in which JAX is installed.  Prints medians over turns, of wall-clock and of processor
time, since a busy machine changes the first most.

Read next: `bench/speed.py`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PINS = ("OPENBLAS_", "OMP_", "GOMP_", "KMP_", "MKL_", "XLA_", "JAX_", "CHAINRULE_", "TORCH")
NAMES = {
    "chainrule": "chainrule, `fit_many`",
    "fit": "chainrule, `fit` one by one",
    "jax": "JAX, vmap and scan",
    "torch": "PyTorch, torch.func",
}
BATCH, HIDDEN, CLASSES = 16, 16, 3
SHARE_OF_FIT = 50  # `fit` trains one of so many, and its time is multiplied
Turn = Callable[[], float]  # trains all, and returns the mean of their last losses


def rates(trainings: int) -> Any:
    return 0.001 * (1 + np.arange(trainings) % 7)


def ours(X: Any, y: Any, trainings: int, epochs: int) -> Turn:
    import chainrule as cr
    from chainrule import nn

    layers = [nn.Linear(X.shape[1], HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, CLASSES)]
    variations = [
        {"seed": i, "learning_rate": float(rate)} for i, rate in enumerate(rates(trainings))
    ]

    def turn() -> float:
        runs = cr.fit_many(
            nn.Sequential(layers), (X, y), variations, loss="cross_entropy", epochs=epochs,
            batch_size=BATCH, progress=False,
        )  # fmt: skip
        return float(runs.losses[:, -1].mean())

    return turn


def one_by_one(X: Any, y: Any, trainings: int, epochs: int) -> Turn:
    import chainrule as cr
    from chainrule import nn, optim

    def turn() -> float:
        last = []
        for i, rate in enumerate(rates(trainings // SHARE_OF_FIT)):
            layers = [nn.Linear(X.shape[1], HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, CLASSES)]
            run = cr.fit(
                nn.Sequential(layers), (X, y), loss="cross_entropy", epochs=epochs,
                batch_size=BATCH, optimizer=optim.Adam(float(rate)), seed=i, progress=False,
            )  # fmt: skip
            last.append(run.history[-1]["loss"])
        return float(np.mean(last))

    return turn


def with_jax(X: Any, y: Any, trainings: int, epochs: int) -> Turn:
    import jax
    import jax.numpy as jnp
    from jax import lax

    X, y, rows = jnp.asarray(X), jnp.asarray(y), len(X)
    full = rows // BATCH

    def loss_of(p: Any, x: Any, y: Any) -> Any:
        scores = jax.nn.log_softmax(jnp.tanh(x @ p["w"] + p["b"]) @ p["v"] + p["c"])
        return -jnp.take_along_axis(scores, y[:, None], 1).mean()

    def step(state: Any, chosen: Any, rate: Any) -> Any:
        p, m, v, t = state
        loss, g = jax.value_and_grad(loss_of)(p, X[chosen], y[chosen])
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        p = jax.tree.map(
            lambda p, m, v: (
                p - rate * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8)
            ),
            p, m, v,
        )  # fmt: skip
        return (p, m, v, t), loss * len(chosen)

    def train(key: Any, rate: Any) -> Any:
        first, second, order = jax.random.split(key, 3)
        inputs = X.shape[1]
        edges = [(6 / (inputs + HIDDEN)) ** 0.5, (6 / (HIDDEN + CLASSES)) ** 0.5]
        p = {
            "w": jax.random.uniform(first, (inputs, HIDDEN), minval=-edges[0], maxval=edges[0]),
            "b": jnp.zeros(HIDDEN),
            "v": jax.random.uniform(second, (HIDDEN, CLASSES), minval=-edges[1], maxval=edges[1]),
            "c": jnp.zeros(CLASSES),
        }
        none = jax.tree.map(jnp.zeros_like, p)

        def epoch(state: Any, key: Any) -> Any:
            order = jax.random.permutation(key, rows)
            batches = order[: full * BATCH].reshape(full, BATCH)
            state, losses = lax.scan(lambda s, c: step(s, c, rate), state, batches)
            total = losses.sum()
            if rows % BATCH:
                state, loss = step(state, order[full * BATCH :], rate)
                total += loss
            return state, total / rows

        state, losses = lax.scan(epoch, (p, none, none, 0.0), jax.random.split(order, epochs))
        return state[0], losses

    all_of_them = jax.jit(jax.vmap(train))
    keys = jax.random.split(jax.random.key(0), trainings)
    given = jnp.asarray(rates(trainings), jnp.float32)
    return lambda: float(jax.block_until_ready(all_of_them(keys, given))[1][:, -1].mean())


def with_torch(X: Any, y: Any, trainings: int, epochs: int) -> Turn:
    import torch
    from torch.func import grad_and_value, vmap

    features, target, rows = torch.tensor(X), torch.tensor(y, dtype=torch.int64), len(X)
    rate = torch.tensor(rates(trainings), dtype=torch.float32)

    def loss_of(p: Any, x: Any, y: Any) -> Any:
        w, b, v, c = p
        return torch.nn.functional.cross_entropy(torch.tanh(x @ w + b) @ v + c, y)

    slopes = vmap(grad_and_value(loss_of))

    def uniform(inputs: int, outputs: int) -> Any:
        edge = (6 / (inputs + outputs)) ** 0.5
        return (2 * torch.rand(trainings, inputs, outputs) - 1) * edge

    @torch.no_grad()
    def turn() -> float:
        torch.manual_seed(0)
        p = [uniform(X.shape[1], HIDDEN), torch.zeros(trainings, HIDDEN),
             uniform(HIDDEN, CLASSES), torch.zeros(trainings, CLASSES)]  # fmt: skip
        m, v = [torch.zeros_like(w) for w in p], [torch.zeros_like(w) for w in p]
        steps = [rate.view(-1, *[1] * (w.ndim - 1)) for w in p]
        t, last = 0, 0.0
        for _ in range(epochs):
            order, last = torch.rand(trainings, rows).argsort(1), 0.0
            for start in range(0, rows, BATCH):
                chosen = order[:, start : start + BATCH]
                gradients, losses = slopes(tuple(p), features[chosen], target[chosen])
                t += 1
                torch._foreach_mul_(m, 0.9)
                torch._foreach_add_(m, gradients, alpha=0.1)
                torch._foreach_mul_(v, 0.999)
                torch._foreach_addcmul_(v, gradients, gradients, value=0.001)
                spread = torch._foreach_div(v, 1 - 0.999**t)
                torch._foreach_sqrt_(spread)
                torch._foreach_add_(spread, 1e-8)
                change = torch._foreach_div(m, spread)
                torch._foreach_mul_(change, steps)
                torch._foreach_sub_(p, change, alpha=1 / (1 - 0.9**t))
                last += float(losses.mean()) * chosen.shape[1] / rows
        return last

    return turn


CONTESTANTS = {"chainrule": ours, "fit": one_by_one, "jax": with_jax, "torch": with_torch}


def work(name: str, given: dict[str, Any]) -> None:
    """Answer each line of standard input with a turn, as JSON; what libraries print goes aside."""
    answers, sys.stdout = sys.stdout, sys.stderr
    with np.load(given["data"]) as file:
        X, y = file["X"], file["y"]
    try:
        turn = CONTESTANTS[name](X, y, given["trainings"], given["epochs"])
        for _ in sys.stdin:
            times = os.times()
            loss = turn()
            after = os.times()
            spent = {
                "wall": after.elapsed - times.elapsed,
                "cpu": after.user - times.user + after.system - times.system,
                "loss": loss,
            }
            print(json.dumps(spent), file=answers, flush=True)
    except ImportError as error:
        print(json.dumps({"skip": f"not installed: {error}"}), file=answers, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare many small trainings.")
    parser.add_argument("--trainings", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--without", default="", metavar="NAMES", help="jax, torch, fit")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        name, _, about = given.worker.partition(" ")
        work(name, json.loads(about))
        return
    load = importlib.import_module("chainrule.data").load
    pythons = dict(entry.split("=", 1) for entry in given.python)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(PINS)}
    taken: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        iris, file = load("iris"), str(Path(folder) / "iris.npz")
        X = ((iris.X - iris.X.mean(0)) / iris.X.std(0)).astype(np.float32)
        np.savez(file, X=X, y=iris.y)
        about = json.dumps({"data": file, "trainings": given.trainings, "epochs": given.epochs})
        workers = {}
        for name in CONTESTANTS:
            if name not in given.without.split(","):
                command = [pythons.get(name, sys.executable), __file__, "--worker"]
                workers[name] = subprocess.Popen(
                    [*command, f"{name} {about}"], env=environment, text=True,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                )  # fmt: skip
        for _ in range(given.turns + 1):
            for name, worker in list(workers.items()):
                assert worker.stdin is not None
                assert worker.stdout is not None
                worker.stdin.write("\n")
                worker.stdin.flush()
                answer = json.loads(worker.stdout.readline())
                if "skip" in answer:
                    print(f"{NAMES[name]}: {answer['skip']}\n")
                    del workers[name]
                else:
                    taken.setdefault(name, []).append(answer)
                time.sleep(0.2)
        for worker in workers.values():
            worker.communicate()
    cores = len(os.sched_getaffinity(0))
    loads = os.getloadavg()[0]
    print(
        f"{given.trainings:,} trainings of {given.epochs} epochs, {cores} cores, load {loads:.1f}\n"
    )
    print("| | seconds | processor seconds | first call | mean loss | turns |")
    print("|---|---|---|---|---|---|")
    for name, turns in taken.items():
        factor = SHARE_OF_FIT if name == "fit" else 1
        wall, cpu = (factor * statistics.median(t[k] for t in turns[1:]) for k in ("wall", "cpu"))
        first, loss = factor * turns[0]["wall"], turns[-1]["loss"]
        cells = f"{wall:.2f} | {cpu:.2f} | {first:.1f} | {loss:.4f} | {len(turns) - 1}"
        print(f"| {NAMES[name]} | {cells} |")


if __name__ == "__main__":
    main()
