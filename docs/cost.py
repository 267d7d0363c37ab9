"""Measure what each dependency costs: megabytes on disk, milliseconds to import.

Prints a Markdown table, the one in `docs/architecture.md`.  The time is that of a fresh
interpreter importing the module, less that of one importing what is needed
before it (NumPy, or nothing), the best of seven.

Run: `python docs/cost.py`, on a machine with nothing else to do.
"""

from __future__ import annotations

import subprocess
import sys
import time
from importlib.metadata import files, version

MODULES = {
    "numpy": ("", "numpy"),
    "llvmlite": ("", "llvmlite.binding"),
    "duckdb": ("numpy", "duckdb"),
    "safetensors": ("numpy", "safetensors.numpy"),
    "rich": ("", "rich.console, rich.table, rich.progress"),
    "click": ("", "click"),
}
BROUGHT = {"rich": ("pygments", "markdown-it-py", "mdurl")}  # what it depends on in turn
ROUNDS = 7


def seconds(modules: str) -> float:
    """Return the least time in which a fresh interpreter imports `modules`."""
    program = f"import {modules}" if modules else "pass"
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        taken.append(time.perf_counter() - started)
    return min(taken)


def megabytes(name: str) -> float:
    """Return the size on disk of an installed distribution and what it brings."""
    names = (name, *BROUGHT.get(name, ()))
    paths = [file.locate() for one in names for file in files(one) or ()]
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def main() -> None:
    """Print the table."""
    print("| package | version | installed, MB | import, ms |\n|---|---|---|---|")
    known: dict[str, float] = {}
    for name, (before, modules) in MODULES.items():
        base = known.setdefault(before, seconds(before))
        extra = 1000 * (seconds(f"{before}, {modules}" if before else modules) - base)
        print(f"| {name} | {version(name)} | {megabytes(name):.1f} | {extra:.0f} |")


if __name__ == "__main__":
    main()
