"""Predict how training scales from 1 to 1,024 devices, and check the counts in compiled code.

Run `python bench/scaling.py`; it takes two minutes and needs JAX alone.  It prints what
`docs/scaling.md` shows: for three networks, the operations and the bytes sent between devices
that the model predicts, beside those in the step that XLA compiled for 1, 2, 4 and 8 virtual
devices of one processor; the collectives of one of these steps, where they are; and the predicted
speed.  No time is measured: virtual devices share the cores of one processor.

Read next: `chainrule/run/xla/placement.py`.
"""

from __future__ import annotations

import argparse
import math
import os
import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from workloads import MARKED, Workload

VIRTUAL = (1, 2, 4, 8)
DEVICES = (1, 2, 4, 8, 16, 64, 256, 1024)
NETWORKS = [replace(w, batch=4096, rows=4096) for w in MARKED[2:]]
SLOTS = {"sgd": 0, "momentum": 1, "adam": 2}
COLLECTIVE = re.compile(r" = (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|"
                        r"collective-permute)(?:-start)?\(")  # fmt: skip
SHAPE = re.compile(r"(f32|f64|s32|s64|pred)\[([\d,]*)\]")
SIZES = {"f32": 4, "f64": 8, "s32": 4, "s64": 8, "pred": 1}


@dataclass(frozen=True)
class Machine:
    """A device and its links: operations, bytes and bytes a second, and seconds of a message."""

    flops: float
    memory: float
    near: float
    far: float
    latency: float
    host: int = 8

    def seconds(self, sent: float, messages: float, devices: int) -> float:
        """Return the time for `sent` bytes that each device passes on, in so many collectives."""
        if devices == 1:
            return 0.0
        link = self.near if devices <= self.host else self.far
        return sent / link + messages * math.ceil(math.log2(devices)) * self.latency


def parameters(workload: Workload) -> int:
    """Return the number of weights and biases."""
    return sum((i + 1) * o for i, o in pairwise(workload.sizes))


def divides(shape: tuple[int, ...], devices: int) -> bool:
    """Return whether an array of the state is split, as `Placement.of_state` does."""
    return any(length % devices == 0 for length in shape)


def collectives(workload: Workload, devices: int, shard: bool) -> dict[str, float]:
    """Return the predicted bytes by kind: gradients summed; weights collected, twice but the first.

    The backward pass needs a weight again for the gradient of the layer's input.
    """
    if devices == 1:
        return {}
    found = {"all-reduce": 4.0 * parameters(workload)}
    if shard:
        layers = list(pairwise(workload.sizes))
        found["all-gather"] = 4.0 * sum(
            (i * o * (1 + (k > 0)) if divides((i, o), devices) else 0)
            + (o if divides((o,), devices) else 0)
            for k, (i, o) in enumerate(layers)
        )
    return found


def step_seconds(workload: Workload, machine: Machine, devices: int, shard: bool) -> float:
    """Return the predicted time of a step: computing or memory, whichever is longer, and links.

    Memory is read and written for the state and the gradient, by each device or divided, and for
    the rows: inputs three times, outputs of layers six times.  Nothing is sent while computing.
    """
    rows, count = workload.rows / devices, parameters(workload)
    state = 4.0 * count * (2 * (1 + SLOTS[workload.optimizer]) + 2) / (devices if shard else 1)
    moved = (
        state + 12.0 * count + 4.0 * rows * (3 * workload.sizes[0] + 6 * sum(workload.sizes[1:]))
    )
    own = max(workload.flops() / devices / machine.flops, moved / machine.memory)
    sent = collectives(workload, devices, shard)
    part = (devices - 1) / devices
    reduced, gathered = sent.get("all-reduce", 0.0), sent.get("all-gather", 0.0)
    messages = 1 + (2 * len(workload.sizes) - 3 if shard else 0)
    return own + machine.seconds(part * (2 * reduced + gathered), messages, devices)


def prepared(workload: Workload, devices: int, shard: bool) -> Any:
    """Return the step with its state and data on so many devices."""
    import numpy as np
    from contestants.ours import network, optimizer

    from chainrule.run.program import Engine, prepare
    from chainrule.step.objective import objective
    from chainrule.step.part import Part
    from chainrule.step.record import data_input, forward, record_step

    X, y = workload.data()
    aim, model = objective(workload.loss), network(workload)
    target = aim.target(y, forward(model, data_input("x", X)).shape, np.dtype(np.float32))
    step = record_step(model, aim, optimizer(workload), [], Part(X, target))
    engine = Engine("xla", devices=devices, shard="parameters" if shard else None)
    data = {"x": X, "y": target}
    return prepare(step.graph, step.state, data, workload.batch, engine)


def compiled(workload: Workload, devices: int, shard: bool) -> Any:
    """Return the step that XLA compiled for so many devices."""
    return prepared(workload, devices, shard).codes[workload.batch].run


def found_in(text: str) -> dict[str, float]:
    """Return the bytes of the collectives in compiled code by kind."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if match := COLLECTIVE.search(line):
            found[match[2]] = found.get(match[2], 0.0) + size(match[1])
    return found


def size(shapes: str) -> float:
    """Return the bytes of the shapes in XLA's notation."""
    return float(sum(
        SIZES[kind] * math.prod(int(n) for n in lengths.split(",") if n)
        for kind, lengths in SHAPE.findall(shapes)
    ))  # fmt: skip


@dataclass(frozen=True)
class Event:
    """A product or a collective of a compiled step: its result on a device, and what it is for."""

    kind: str
    shapes: str
    place: str
    megabytes: float

    def __str__(self) -> str:
        if self.kind == "product":
            return f"    product {self.shapes} of {self.place}"
        what = f" for {self.place}" if self.kind == "all-gather" else ""
        return f"<== {self.kind} {self.shapes}{what}: {self.megabytes:.3f} MB ==>"


def events(text: str) -> list[Event]:
    """Return the products and collectives of a compiled step in the order in which they run."""
    parts: dict[str, list[str]] = {}
    name = body = ""
    for line in text.splitlines():
        if head := re.match(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            name = head[1]
        parts.setdefault(name, []).append(line)
        if COLLECTIVE.search(line):
            body = name

    def told(part: str) -> list[Event]:
        found: list[Event] = []
        for line in parts[part]:
            if dot := re.search(r"= (f32\[[\d,]*\])\S* dot\(", line):
                found.append(Event("product", dot[1], place(line), size(dot[1]) / 1e6))
            elif match := COLLECTIVE.search(line):
                shapes = ", ".join(f"{kind}[{n}]" for kind, n in SHAPE.findall(match[1]))
                found.append(Event(match[2], shapes, place(line), size(match[1]) / 1e6))
            elif inner := re.search(r"calls=%?([\w.\-]+)", line):
                found += told(inner[1])
        return found

    return told(body)


def place(line: str) -> str:
    """Return the layer and operation that a line of compiled code comes from."""
    found = re.search(r'op_name="[^"]*body/(?:\w+/)*([\w.]*:\w+)', line)
    return found[1] if found else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flops", type=float, default=50e12, help="of products, a second")
    parser.add_argument("--memory", type=float, default=3e12, help="bytes a second")
    parser.add_argument("--near", type=float, default=300e9, help="bytes a second in a host")
    parser.add_argument("--far", type=float, default=25e9, help="bytes a second between hosts")
    parser.add_argument("--latency", type=float, default=5e-6, help="seconds of a message")
    machine = Machine(**vars(parser.parse_args()))
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"  # before JAX is imported
    os.environ["JAX_PLATFORMS"] = "cpu"
    print("| network | devices | parameters | Gflop, predicted | found | MB summed, predicted | "
          f"found | MB collected, predicted | found |\n|{'---|' * 9}")  # fmt: skip
    picture: list[Event] = []
    for workload in NETWORKS:
        for devices in VIRTUAL:
            for shard in (False, True)[: 1 + (devices > 1)]:
                code = compiled(workload, devices, shard)
                told, text = collectives(workload, devices, shard), code.as_text()
                found = found_in(text)
                flops = workload.flops() / devices, code.cost_analysis()["flops"]
                cells = [f"{1e-9 * n:.3f}" for n in flops]
                for kind in ("all-reduce", "all-gather"):
                    cells += [f"{1e-6 * some.get(kind, 0):.2f}" for some in (told, found)]
                others = {k: v for k, v in found.items() if k not in ("all-reduce", "all-gather")}
                name = f"{'-'.join(map(str, workload.sizes))} {workload.optimizer}"
                print(
                    f"| {name} | {devices} | {'split' if shard else 'whole'} | "
                    f"{' | '.join(cells)} |{f' {others}' if others else ''}",
                    flush=True,
                )
                if devices == 8 and shard and workload is NETWORKS[0]:
                    picture = events(text)
    print("\n" + "\n".join(map(str, picture)))
    for title, rows, each in (("65,536 rows a batch", 65_536, False),
                              ("4,096 rows a device", 4_096, True)):  # fmt: skip
        print(f"\n| {title} | parameters | {' | '.join(f'{n:,}' for n in DEVICES)} |")
        print("|---|---|" + "---|" * len(DEVICES))
        for workload in NETWORKS:
            for shard in (False, True):
                speeds = []
                for devices in DEVICES:
                    many = rows * (devices if each else 1)
                    seconds = step_seconds(replace(workload, rows=many), machine, devices, shard)
                    speeds.append(many / seconds)
                cells = [f"{speed / speeds[0]:,.1f}" for speed in speeds]
                print(f"| {'-'.join(map(str, workload.sizes))} {workload.optimizer} | "
                      f"{'split' if shard else 'whole'} | {' | '.join(cells)} |")  # fmt: skip


if __name__ == "__main__":
    main()
