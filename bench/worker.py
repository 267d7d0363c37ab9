"""A worker process that runs one contestant and answers requests, each a line of JSON.

Started as `python bench/worker.py CONTESTANT [THREADS]`.  It reads requests from standard input
and writes answers to standard output: prepare (a workload), turn (some seconds of epochs),
memory.  It must not use a core while another contestant is timed.  It therefore answers only when
its threads are idle, as they may spin for a while after their work.

Read next: `bench/contestants/contestant.py`.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from contestants.contestant import CannotRunError, Contestant
from workloads import EVERY, mean_loss, shortened

CONTESTANTS = {
    "peak": "fma_peak.Peak",
    "chainrule": "ours.Ours",
    "fit": "ours.Fit",
    "sparse": "ours.Sparse",
    "pytorch": "pytorch.Eager",
    "fused": "pytorch.Fused",
    "masked": "pytorch.Masked",
    "torch_sparse": "pytorch.Sparse",
    "compile": "pytorch.Compiled",
    "jax": "jax_scan.Scan",
    "sklearn": "scikit_learn.Perceptron",
}
CHECKED = 1024  # rows on which losses are compared
PATIENCE = 1.0  # seconds to wait for threads to become idle
# Seconds in which idle threads are seen: the kernel adds the time of a running thread of another
# core only at its ticks, of which there may be one in 10 ms.
WINDOW = 0.03


def peak_memory() -> float:
    """Return the peak memory of this process in MB.

    Linux's ru_maxrss includes the memory of the parent at the fork, so VmHWM is used there,
    which is the peak of this program only.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def settle() -> bool:
    """Wait until all threads of this process are idle; return whether they are."""
    until = time.perf_counter() + PATIENCE
    while time.perf_counter() < until:
        before = time.process_time()
        time.sleep(WINDOW)
        if time.process_time() - before < 0.1 * WINDOW:
            return True
    return False


class Worker:
    def __init__(self, kind: str, threads: int | None):
        self.kind, self.threads = kind, threads
        self.contestant: Contestant | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        action = getattr(self, f"do_{request.pop('do')}")
        try:
            reply: dict[str, Any] = action(**request)
        except CannotRunError as reason:
            reply = {"skip": str(reason)}
        except ImportError as error:
            reply = {"skip": f"not installed: {error}"}
        except Exception as error:
            traceback.print_exc()
            reply = {"skip": f"{type(error).__name__}: {error}"}
        reply["rested"] = settle()
        return reply

    def do_prepare(self, workload: str, steps: int) -> dict[str, Any]:
        """Build the contestant, and run an epoch in order to warm up and to check the loss."""
        began = time.perf_counter()
        self.contestant = None  # free its memory before the next one is built
        module, name = CONTESTANTS[self.kind].split(".")
        make = getattr(importlib.import_module(f"contestants.{module}"), name)
        chosen = shortened(EVERY[workload], steps)
        self.contestant = made = make(chosen, self.threads)
        if self.kind == "peak":
            made.epoch()
            return {"flops": made.flops}
        if self.kind == "fit":
            made.turn(0.0)  # it always shuffles
            return {"seconds": time.perf_counter() - began}
        made.epoch(shuffle=False)
        X, y = chosen.data()
        loss = mean_loss(chosen, made.weights(), X[:CHECKED], y[:CHECKED])
        return {"loss": loss, "seconds": time.perf_counter() - began}

    def do_turn(self, seconds: float) -> dict[str, Any]:
        if self.contestant is None:
            return {"skip": "nothing is prepared"}
        return {"seconds": self.contestant.turn(seconds)}

    def do_memory(self, workload: str) -> dict[str, Any]:
        """Train two epochs and return the peak memory in MB."""
        module, name = CONTESTANTS[self.kind].split(".")
        made = getattr(importlib.import_module(f"contestants.{module}"), name)(
            EVERY[workload], self.threads
        )
        made.reset()
        made.epoch()
        made.epoch()
        return {"megabytes": peak_memory()}


def main() -> None:
    # Libraries may print, so standard output is reserved for answers to the driver.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else None
    worker = Worker(sys.argv[1], threads)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(worker.answer(request)), file=answers, flush=True)
    os._exit(0)  # threads of some libraries would prevent a normal exit


if __name__ == "__main__":
    main()
