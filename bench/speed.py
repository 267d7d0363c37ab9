"""Compare training speed with PyTorch, JAX and scikit-learn, and start time, size and memory.

Run `python bench/speed.py [--quick] [--only TEXT] [--without NAME,...]` (or `make bench`).  Every
contestant and thread setting has a separate process for the whole run, started without the
variables that configure BLAS or OpenMP.  The processes take turns, so other load on the machine
affects all equally.  All start from the same weights, and their losses after an epoch in order must
agree.  Results are medians over turns.  Prints Markdown, writes `bench/results/speed.json`, and
exits with 1 if chainrule's loss disagrees.

Read next: `bench/workloads.py`, `bench/worker.py`, `bench/costs.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from costs import measure_costs, print_costs
from workloads import WORKLOADS, Workload, shortened

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "speed.json"
PINS = ("OPENBLAS_", "OMP_", "GOMP_", "KMP_", "MKL_", "XLA_", "JAX_", "CHAINRULE_", "TORCH")
TURN_SECONDS = 0.05  # the duration of a turn, which has at least one epoch
AGREE = 1e-3
BEST_OF = {  # each column of the table shows the fastest of its processes, by median
    "chainrule": ("chainrule",),
    "cr.fit": ("fit",),
    "PyTorch": ("pytorch/1", "pytorch/all"),
    "PyTorch fused": ("fused/1", "fused/all"),
    "torch.compile": ("compile/1", "compile/all"),
    "JAX": ("jax/1", "jax/all"),
    "scikit-learn": ("sklearn/1", "sklearn/all"),
}


def clean_environment() -> dict[str, str]:
    """Return the environment without variables that configure BLAS, OpenMP or a contestant."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PINS)}
    kept["PYTHONPATH"] = str(HERE.parent)
    return kept


class Process:
    """A worker process, with the pipes to it."""

    def __init__(self, name: str):
        self.name = name
        kind, _, threads = name.partition("/")
        cores = len(os.sched_getaffinity(0))
        count = {"": [], "all": [str(cores)]}.get(threads, [threads])
        environment = clean_environment()
        if kind == "jax" and threads == "1":  # XLA has no other setting for this
            environment["XLA_FLAGS"] = (
                "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
            )
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), kind, *count],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=environment, start_new_session=True,  # Ctrl-C stops only the driver
        )  # fmt: skip

    def send(self, **request: Any) -> None:
        if self.process.poll() is None:
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            return {"skip": f"its process ended with {self.process.wait()}", "rested": True}
        reply: dict[str, Any] = json.loads(line)
        return reply

    def ask(self, **request: Any) -> dict[str, Any]:
        self.send(**request)
        return self.receive()

    def close(self) -> None:
        self.process.kill()  # it may be in the middle of an epoch, and has nothing to save
        self.process.wait()


@dataclass
class Options:
    """How long to measure."""

    steps: int  # maximum steps of an epoch
    rounds: int  # minimum turns of each contestant
    seconds: float  # minimum duration of the turns on one workload


def measure_peak(rounds: int) -> dict[str, float]:
    """Return the peak in floating-point operations per second, on one core and on all.

    It is the best of all turns, which other load on the machine affects least.
    """
    found = {}
    for name in ("peak/1", "peak/all"):
        process = Process(name)
        flops = process.ask(do="prepare", workload=next(iter(WORKLOADS)), steps=1)["flops"]
        turns = [process.ask(do="turn", seconds=0.2)["seconds"] for _ in range(rounds)]
        found[name.split("/")[1]] = flops / min(min(turn) for turn in turns)
        process.close()
    return found


def measure_workload(
    workload: Workload, processes: Sequence[Process], options: Options
) -> dict[str, Any]:
    """Return, for each process, its loss after the epoch in order and the seconds of its turns."""
    found: dict[str, dict[str, Any]] = {}
    for process in processes:
        reply = process.ask(do="prepare", workload=workload.name, steps=options.steps)
        found[process.name] = {**reply, "turns": [], "epochs": 0}
        if not reply["rested"]:
            print(f"  note: {process.name} does not become idle", file=sys.stderr)
    taking = [process for process in processes if "skip" not in found[process.name]]
    began, rounds = time.perf_counter(), 0
    while rounds < options.rounds or time.perf_counter() - began < options.seconds:
        for process in [p for p in taking if rounds < 2 or not hopeless(p.name, found)]:
            reply = process.ask(do="turn", seconds=TURN_SECONDS)
            if "skip" in reply:
                found[process.name]["skip"] = reply["skip"]
                continue
            # The median within a turn, so that short epochs do not weigh more than long ones.
            found[process.name]["turns"].append(statistics.median(reply["seconds"]))
            found[process.name]["epochs"] += len(reply["seconds"])
        rounds += 1
    return found


def hopeless(name: str, found: dict[str, Any]) -> bool:
    """Return whether the slowest turn of another thread setting was twice as fast as any here."""
    column = next((names for names in BEST_OF.values() if name in names), (name,))
    turns = {n: found[n]["turns"] for n in column if n in found and found[n]["turns"]}
    others = [max(turns[n]) for n in turns if n != name]
    return bool(others) and name in turns and min(turns[name]) > 2 * min(others)


def disagreements(found: dict[str, Any]) -> tuple[str, list[str]]:
    """Return a text on the losses, and the names of those that differ from the median."""
    losses = {name: f["loss"] for name, f in found.items() if f.get("loss") is not None}
    if not losses:
        return "no losses", []
    middle = statistics.median(losses.values())
    wrong = [name for name, loss in losses.items() if not abs(loss - middle) <= AGREE * middle]
    spread = max(losses.values()) - min(losses.values())
    words = f"loss {middle:.6f}, spread {spread:.1e} over {len(losses)}"
    return words + "".join(f", {name} DISAGREES with {losses[name]:.6f}" for name in wrong), wrong


def best(found: dict[str, Any], column: str) -> tuple[float, str] | None:
    """Return the lowest median of a column in seconds per epoch, and the process it is from."""
    medians = [
        (statistics.median(found[name]["turns"]), name)
        for name in BEST_OF[column]
        if name in found and found[name]["turns"]
    ]
    return min(medians) if medians else None


def summarize(workload: Workload, found: dict[str, Any], peak: float) -> dict[str, Any]:
    """Return the row of the table: microseconds per step, ratios, rate and share of the peak."""
    chosen = {column: best(found, column) for column in BEST_OF}
    row: dict[str, Any] = {"workload": workload.name, "steps": workload.steps}
    row["microseconds"] = {
        c: None if b is None else 1e6 * b[0] / workload.steps for c, b in chosen.items()
    }
    row["chosen"] = {c: None if b is None else b[1] for c, b in chosen.items()}
    ours = chosen["chainrule"]
    if ours is not None:
        row["ratios"] = {c: b[0] / ours[0] for c, b in chosen.items() if b is not None}
        row["flops"] = workload.flops() / ours[0]
        row["share"] = row["flops"] / peak
        during = found.get("peak/all")
        if during and during["turns"]:
            row["peak_in_turn"] = during["flops"] / statistics.median(during["turns"])
            row["share_in_turn"] = row["flops"] / row["peak_in_turn"]
    row["marks"] = workload.marks
    row["turns"] = {name: len(f["turns"]) for name, f in found.items()}
    return row


HEADS = (
    "workload", *(f"{column} µs" for column in BEST_OF),
    "over PyTorch", "over JAX", "over scikit-learn", "GF/s", "of peak", "of peak in turn", "turns",
)  # fmt: skip


def table_line(row: dict[str, Any]) -> str:
    cells = [row["workload"]]
    for column, value in row["microseconds"].items():
        process = row["chosen"][column] or ""
        threads = f" ({process.split('/')[1]})" if "/" in process else ""
        cells.append("–" if value is None else f"{value:,.{1 if value < 100 else 0}f}{threads}")
    marks = row["marks"] or (None, None)
    for column, mark in zip(("PyTorch", "JAX", "scikit-learn"), (*marks, None), strict=True):
        ratio = row.get("ratios", {}).get(column)
        text = "–" if ratio is None else f"{ratio:.{0 if ratio >= 20 else 2}f}x"
        cells.append(text + (f" (mark {mark:g}x)" if mark else ""))
    rate = row.get("flops")
    cells.append("–" if rate is None else f"{rate / 1e9:.1f}")
    cells += [f"{row[s]:.0%}" if s in row else "–" for s in ("share", "share_in_turn")]
    cells.append(str(max(row["turns"].values(), default=0)))
    return "| " + " | ".join(cells) + " |"


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    print("\n| " + " | ".join(HEADS) + " |")
    print("|" + "---|" * len(HEADS))
    for row in rows:
        print(table_line(row))
    print("\n(1) or (all): the thread setting shown, which was the faster one.")


def measure_steps(
    chosen: Sequence[Workload], without: set[str], options: Options, peak: float
) -> tuple[list[dict[str, Any]], dict[str, Any], bool]:
    """Measure each workload; return the rows, everything measured, and whether losses agree."""
    names = [name for column in BEST_OF.values() for name in column]
    names = ["peak/all", *(name for name in names if not without & {name, name.split("/")[0]})]
    processes = [Process(name) for name in names]
    rows, everything, right = [], {}, True
    try:
        for full in chosen:
            workload = shortened(full, options.steps)
            found = measure_workload(workload, processes, options)
            words, wrong = disagreements(found)
            right = right and "chainrule" not in wrong
            rows.append(summarize(workload, found, peak))
            everything[workload.name] = found
            print(f"- {workload.name}: {words}", flush=True)
            for name, entry in found.items():
                if "skip" in entry:
                    print(f"  - {name} left out: {entry['skip']}", flush=True)
    except KeyboardInterrupt:
        print("- interrupted; what was measured is shown")
    finally:
        for process in processes:
            process.close()
    return rows, everything, right


def describe_machine() -> dict[str, Any]:
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [s for s in cpuinfo.read_text().splitlines() if s.startswith("model name")]
        name = lines[0].split(":", 1)[1].strip() if lines else name
    return {
        "cpu": name,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load_before": os.getloadavg(),
        "variables_removed": sorted(name for name in os.environ if name.startswith(PINS)),
    }


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare the speed with other frameworks.")
    parser.add_argument(
        "--quick", action="store_true", help="few steps and turns, without fused and compile"
    )
    parser.add_argument("--only", default="", help="only workloads whose name contains this text")
    parser.add_argument(
        "--without", default="", metavar="NAMES",
        help="leave out (comma-separated): fit, pytorch, fused, compile, jax, sklearn",
    )  # fmt: skip
    parser.add_argument("--steps", type=int, help="maximum steps of an epoch")
    parser.add_argument("--rounds", type=int, help="minimum turns of each contestant")
    parser.add_argument("--seconds", type=float, help="minimum seconds of turns on each workload")
    parser.add_argument("--steps-only", action="store_true", help="measure only training steps")
    parser.add_argument("--costs-only", action="store_true", help="all but training steps")
    return parser.parse_args()


def main() -> int:
    given = read_options()
    options = Options(steps=10**9, rounds=7, seconds=15.0)
    without = set(filter(None, given.without.split(",")))
    if given.quick:
        options, without = Options(steps=30, rounds=3, seconds=0.0), without | {"compile", "fused"}
    options.steps = given.steps or options.steps
    options.rounds = given.rounds or options.rounds
    options.seconds = options.seconds if given.seconds is None else given.seconds
    machine = describe_machine()
    loads = ", ".join(f"{load:.1f}" for load in machine["load_before"])
    print(f"{machine['cpu']}, {machine['cores']} cores, load average {loads}.")
    peak = measure_peak(5 if given.quick else 15)
    machine["peak"] = peak
    print(f"FMA peak: {peak['1'] / 1e9:.0f} GF/s on one core, {peak['all'] / 1e9:.0f} on all.\n")
    rows: list[dict[str, Any]] = []
    everything: dict[str, Any] = {}
    costs: list[dict[str, Any]] = []
    right = True
    if not given.costs_only:
        chosen = [workload for name, workload in WORKLOADS.items() if given.only in name]
        print("Losses after an epoch in order, by NumPy from each contestant's weights:\n")
        rows, everything, right = measure_steps(chosen, without, options, peak["all"])
        print_table(rows)
    if not given.steps_only:
        costs = measure_costs(clean_environment(), 2 if given.quick else 7)
        print_costs(costs)
    machine["load_after"] = os.getloadavg()
    print(f"\nLoad average at the end: {', '.join(f'{x:.1f}' for x in machine['load_after'])}.")
    RESULTS.parent.mkdir(exist_ok=True)
    written = {
        "machine": machine, "options": {**asdict(options), "without": sorted(without)},
        "rows": rows, "measured": everything, "costs": costs,
    }  # fmt: skip
    RESULTS.write_text(json.dumps(written, indent=1))
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
