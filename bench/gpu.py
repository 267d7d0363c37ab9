"""Compare the engine on XLA with PyTorch, eager and compiled, on one GPU.

Run `python bench/gpu.py [--limit SECONDS] [--device cpu] [--quick]` where JAX and PyTorch find the
GPU (`pip install 'chainrule[xla]' 'jax[cuda13]' torch`); it takes about 8 minutes.  Five networks
are trained with batches of 64 to 65,536 rows.  Each contestant has a process of its own, which
ends after `--limit` seconds with what it has measured.  A time is the median of epochs divided by
their steps, where an epoch has up to 100 steps, with everything in it: the order of rows, and for
chainrule the copies of the state to the device and back.  Data are on the device.  The products
are in float32, not TensorFloat32, or in bfloat16 where the name says so.  The losses after an
epoch in order must agree.  `--device cpu --quick` tries the script on a processor.

Read next: `bench/contestants/pytorch.py`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

from workloads import MARKED, Workload, mean_loss

BATCHES = (64, 512, 4_096, 16_384, 65_536)
KINDS = {
    "xla": "ours.OnXla", "xla bf16": "ours.OnXlaInBf16", "torch": "pytorch.Fused",
    "torch compiled": "pytorch.Compiled", "torch compiled bf16": "pytorch.Compiled",
}  # fmt: skip
AT_ONCE = 2**17  # rows of an epoch, unless 4 steps or 100 need more or fewer


def chosen(quick: bool) -> list[Workload]:
    """Return the workloads, from small batches to large ones."""
    sizes, most = ((64, 256), 512) if quick else (BATCHES, AT_ONCE)
    return [
        replace(w, batch=batch, rows=batch * max(4, min(100, most // batch)))
        for batch in sizes
        for w in (MARKED[:2] if quick else MARKED)
    ]


def device_name(kind: str, device: str) -> str:
    """Return what the contestant computes on; raise RuntimeError if it has no GPU."""
    if kind.startswith("torch"):
        import torch

        if device == "cpu":
            return "cpu"
        if not torch.cuda.is_available():
            raise RuntimeError("PyTorch finds no GPU")
        return str(torch.cuda.get_device_name())
    import jax

    found = jax.devices()[0]
    if device == "gpu" and found.platform != "gpu":
        raise RuntimeError(f"JAX finds no GPU, only {found.device_kind}")
    return str(found.device_kind)


def measure(kind: str, device: str, quick: bool) -> None:
    """Print a JSON line for the device, and for each workload; runs in a process of its own."""
    print(json.dumps({"device": device_name(kind, device)}), flush=True)
    module, name = KINDS[kind].split(".")
    make = getattr(importlib.import_module(f"contestants.{module}"), name)
    if module == "pytorch":
        make.device, make.bf16 = {"gpu": "cuda"}.get(device, device), "bf16" in kind
    for workload in chosen(quick):
        line: dict[str, Any] = {"workload": workload.name}
        try:
            began = time.perf_counter()
            one = make(workload, None)
            one.epoch(shuffle=False)
            line["first"] = time.perf_counter() - began
            X, y = workload.data()
            line["loss"] = mean_loss(workload, one.weights(), X[:1024], y[:1024])
            taken = one.turn(0.02 if quick else 0.5)
            line["seconds"] = statistics.median(taken) / workload.steps
        except Exception as error:  # too little memory: the other sizes may still run
            line["skip"] = f"{type(error).__name__}: {error}".splitlines()[0]
        print(json.dumps(line), flush=True)


def run(kind: str, device: str, quick: bool, limit: float) -> list[dict[str, Any]]:
    """Return what a contestant measured within `limit` seconds."""
    told = dict(os.environ, XLA_PYTHON_CLIENT_PREALLOCATE="false")
    if device == "cpu":
        told["JAX_PLATFORMS"] = "cpu"
    command = [sys.executable, __file__, "--worker", kind, "--device", device]
    with subprocess.Popen(
        [*command, *(["--quick"] if quick else [])], stdout=subprocess.PIPE, text=True, env=told
    ) as process:
        try:
            out, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
    lines = [json.loads(line) for line in out.splitlines() if line.endswith("}")]
    if not lines:
        print(f"{kind}: nothing was measured", file=sys.stderr)
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--limit", type=float, default=85, help="seconds for each contestant")
    parser.add_argument("--quick", action="store_true", help="two networks, small batches")
    parser.add_argument("--worker", choices=tuple(KINDS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        measure(options.worker, options.device, options.quick)
        return 0
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for kind in KINDS:
        lines = run(kind, options.device, options.quick, options.limit)
        if lines:
            print(f"{kind}: {lines[0]['device']}, {len(lines) - 1} measured", flush=True)
        found[kind] = {line["workload"]: line for line in lines[1:]}
    heads = [f"{kind} µs" for kind in KINDS] + ["first s, xla", "first s, torch compiled"]
    print(f"\n| workload | {' | '.join(heads)} |\n|{'---|' * (1 + len(heads))}")
    wrong = 0
    for name in (w.name for w in chosen(options.quick)):
        row = {kind: lines.get(name, {}) for kind, lines in found.items()}
        cells = [f"{1e6 * r['seconds']:,.1f}" if "seconds" in r else "-" for r in row.values()]
        cells += [f"{row[k]['first']:.1f}" if "first" in row[k] else "-"
                  for k in ("xla", "torch compiled")]  # fmt: skip
        print(f"| {name} | {' | '.join(cells)} |")
        for bound, apart in ((2e-3, True), (5e-2, False)):  # bfloat16 rounds more
            losses = [
                line["loss"] for kind, line in row.items()
                if "loss" in line and not (apart and "bf16" in kind)
            ]  # fmt: skip
            if losses and max(losses) - min(losses) > bound * max(losses):
                wrong += 1
                print(f"losses differ: {name}: {losses}", file=sys.stderr)
    for kind, lines in found.items():
        for line in lines.values():
            if "skip" in line:
                print(f"{kind}: {line['workload']}: {line['skip']}", file=sys.stderr)
    return int(wrong > 0 or not any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
