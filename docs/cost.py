"""Measure what each dependency costs: megabytes on disk, milliseconds to import.

Prints a Markdown table, the one in `docs/architecture.md` but for its downloads.  The time
is processor time of a fresh interpreter that imports the module, less that of one that
imports what comes before it (NumPy, or nothing): the least of nine.

Run: `python docs/cost.py`
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import files, version
from resource import RUSAGE_CHILDREN, getrusage

MODULES = {
    "numpy": ("sys", "numpy"),
    "llvmlite": ("sys", "llvmlite.binding"),
    "duckdb": ("numpy", "duckdb"),
    "safetensors": ("numpy", "safetensors.numpy"),
    "rich": ("sys", "rich.console, rich.table, rich.progress"),
    "click": ("sys", "click"),
    "python-calamine": ("sys", "python_calamine"),
    "narwhals": ("numpy", "narwhals.stable.v2"),
    "starlette": ("sys", "starlette.applications, starlette.routing, starlette.responses"),
    "uvicorn": ("sys", "uvicorn"),
    "httptools": ("sys", "httptools"),
    "uvloop": ("sys", "uvloop"),
    "tensorboardX": ("numpy", "tensorboardX"),
    "optuna": ("numpy", "optuna"),
}
# What each depends on in turn.
BROUGHT = {
    "rich": ("pygments", "markdown-it-py", "mdurl"),
    "starlette": ("anyio", "idna", "typing_extensions"),
    "uvicorn": ("h11",),
    "tensorboardX": ("protobuf", "packaging"),
    "optuna": (
        "sqlalchemy", "greenlet", "typing_extensions", "alembic", "mako", "markupsafe",
        "colorlog", "tqdm", "pyyaml", "packaging",
    ),
}  # fmt: skip
ROUNDS = 9


def seconds(modules: str) -> float:
    """Return the processor time in which a fresh interpreter imports `modules`."""
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def megabytes(name: str) -> float:
    """Return the size on disk of an installed distribution and what it brings."""
    names = (name, *BROUGHT.get(name, ()))
    paths = [file.locate() for one in names for file in files(one) or ()]
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def main() -> None:
    """Print the table."""
    with_it = {name: f"{before}, {modules}" for name, (before, modules) in MODULES.items()}
    programs = {*with_it.values(), *(before for before, _ in MODULES.values())}
    least = dict.fromkeys(programs, float("inf"))
    for _ in range(ROUNDS):  # in turns, so that whatever else the machine does hits all alike
        for program in programs:
            least[program] = min(least[program], seconds(program))
    print("| package | version | installed, MB | import, ms |\n|---|---|---|---|")
    for name, (before, _) in MODULES.items():
        extra = 1000 * (least[with_it[name]] - least[before])
        print(f"| {name} | {version(name)} | {megabytes(name):.1f} | {extra:.0f} |")


if __name__ == "__main__":
    main()
