"""Measure what a framework costs besides training steps: start, size, memory, latency.

Each measurement is a new process, and contestants take turns.  A result is a row (what, who,
value, unit, count), whose value is the median of `count` measurements.

Read next: `bench/cold_start.py`, `bench/latency.py`, `bench/engine.py`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from workloads import MARKED

HERE = Path(__file__).parent
DISTRIBUTIONS = {
    "chainrule": "chainrule", "PyTorch": "torch", "JAX": "jax", "scikit-learn": "scikit-learn",
}  # fmt: skip
Samples = dict[tuple[str, str, str], list[float]]  # (what, who, unit)


def measure_costs(environment: dict[str, str], rounds: int) -> list[dict[str, Any]]:
    """Return a row for each cost and contestant."""
    samples: Samples = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds):
            _starts(samples, environment, Path(folder), turn)
        for _ in range(max(1, rounds // 2)):
            _memory(samples, environment)
            _latency(samples, environment)
            for row in _answer(["engine.py"], environment).get("rows", []):
                samples[row["what"], row["who"], row["unit"]].append(row["value"])
    for who, name in DISTRIBUTIONS.items():
        size = installed_size(name)
        if size is not None:
            samples["size installed, with requirements", who, "MB"].append(size / 1e6)
    return [
        {"what": what, "who": who, "value": statistics.median(values), "unit": unit,
         "count": len(values)}
        for (what, who, unit), values in samples.items()
    ]  # fmt: skip


def _starts(samples: Samples, environment: dict[str, str], folder: Path, turn: int) -> None:
    """Time import, first step and `chainrule train digits`, with empty and with full code cache."""
    kept = {**environment, "CHAINRULE_CACHE": str(folder / "kept")}
    empty = {**environment, "CHAINRULE_CACHE": str(folder / f"empty-{turn}")}
    contestants = (
        ("chainrule, empty cache", "chainrule", empty), ("chainrule", "chainrule", kept),
        ("PyTorch", "pytorch", kept), ("JAX", "jax", kept), ("scikit-learn", "sklearn", kept),
    )  # fmt: skip
    if turn == 0:  # fills the cache, and the system's cache of files
        for _, kind, variables in contestants[1:]:
            _answer(["cold_start.py", kind], variables)
    for who, kind, variables in contestants:
        answer = _answer(["cold_start.py", kind], variables)
        if answer:
            samples["import", who, "s"].append(answer["import"])
            samples["import to first step done", who, "s"].append(answer["first_step"])
    if turn == 0:
        _whole_process(kept, folder)
    empty["CHAINRULE_CACHE"] = str(folder / f"whole-{turn}")
    for who, variables in (("chainrule, empty cache", empty), ("chainrule", kept)):
        seconds = _whole_process(variables, folder)
        if seconds is not None:
            samples["chainrule train digits, whole process", who, "s"].append(seconds)


def _whole_process(environment: dict[str, str], folder: Path) -> float | None:
    """Return the seconds that `chainrule train digits` takes in an empty directory."""
    with tempfile.TemporaryDirectory(dir=folder) as here:
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "chainrule", "train", "digits"],
            env=environment, cwd=here, capture_output=True, check=False,
        )  # fmt: skip
        return None if done.returncode else time.perf_counter() - began


def _memory(samples: Samples, environment: dict[str, str]) -> None:
    workload = MARKED[2]
    for who, kind in (("chainrule", "chainrule"), ("PyTorch", "pytorch"), ("JAX", "jax"),
                      ("scikit-learn", "sklearn")):  # fmt: skip
        answer = _answer(["worker.py", kind], environment, do="memory", workload=workload.name)
        if answer and "megabytes" in answer:
            what = f"peak memory, two epochs of {workload.name}"
            samples[what, who, "MB"].append(answer["megabytes"])


def _latency(samples: Samples, environment: dict[str, str]) -> None:
    for line in _answer(["latency.py"], environment).get("medians", []):
        what = f"{line['rows']} row{'s' * (line['rows'] > 1)} through {line['network']}"
        samples[what, line["who"], "µs"].append(line["value"])


def _answer(command: Sequence[str], environment: dict[str, str], **request: Any) -> dict[str, Any]:
    """Return the JSON that a script of this folder prints, or {} if it failed."""
    done = subprocess.run(
        [sys.executable, str(HERE / command[0]), *command[1:]],
        env=environment, input=json.dumps(request) + "\n", capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"  {' '.join(command)} left out: {reason}", file=sys.stderr)
        return {}
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def installed_size(name: str) -> int | None:
    """Return the size in bytes of a distribution and its requirements, without bytecode."""
    if name == "chainrule":
        package = HERE.parent / "chainrule"
        own = sum(
            p.stat().st_size
            for p in package.rglob("*")
            if p.is_file() and "__pycache__" not in p.parts
        )
        found: set[str] = set()
        for line in _own_requirements():
            _closure(Requirement(line).name, found)
    else:
        own, found = 0, set()
        _closure(name, found)
        if not found:
            return None
    return own + sum(_files_size(each) for each in found)


def _own_requirements() -> list[str]:
    """Return the dependencies in pyproject.toml, as the package may not be installed."""
    text = (HERE.parent / "pyproject.toml").read_text()
    block = text.split("\ndependencies = [", 1)[1].split("\n]", 1)[0]
    return [line.strip().strip('",') for line in block.splitlines() if line.strip()]


def _closure(name: str, found: set[str]) -> None:
    """Add `name` and its installed requirements, without extras, to `found`."""
    key = name.lower().replace("_", "-")
    if key in found:
        return
    try:
        requirements = distribution(key).requires or []
    except PackageNotFoundError:
        return
    found.add(key)
    for line in requirements:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            _closure(requirement.name, found)


def _files_size(name: str) -> int:
    files = distribution(name).files or []
    paths = [Path(str(file.locate())) for file in files if file.suffix != ".pyc"]
    return sum(path.stat().st_size for path in paths if path.is_file())


def print_costs(rows: Sequence[dict[str, Any]]) -> None:
    print("\n| cost | of | median | count |\n|---|---|---|---|")
    for row in rows:
        value = f"{row['value']:,.{3 if row['unit'] == 's' else 1}f} {row['unit']}"
        print(f"| {row['what']} | {row['who']} | {value} | {row['count']} |")
    print("\nThe size of PyTorch depends on the installed build; see bench/README.md.")
