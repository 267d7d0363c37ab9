"""How long `chainrule predict` takes for a large table, from the start of the command to its end.

A network is trained with the default settings on 3,000 rows of 8 numbers.  Then it predicts for a
CSV and a Parquet file in turns, each in a process of its own.

Run: `python bench/predict_rows.py [--rows 300000] [--turns 5]`

Read next: :mod:`chainrule.cli.predict`.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import duckdb

NUMBERS = ", ".join(f"round(sin(hash(i * 8 + {k})) * {k + 1}, 4) AS x{k}" for k in range(8))


def used() -> float:
    """Return the processor seconds of all processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Write the tables, train, predict in turns and print the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--turns", type=int, default=5)
    asked = parser.parse_args()
    # With PYTHONDONTWRITEBYTECODE each start would compile all source, which pip does once.
    left_out = ("OPENBLAS_", "PYTHONDONTWRITEBYTECODE")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def call(*words: str) -> tuple[float, float]:
            began, before = perf_counter(), used()
            command = [sys.executable, "-m", "chainrule", *words]
            subprocess.run(command, cwd=folder, env=kept, check=True, capture_output=True)
            return perf_counter() - began, used() - before

        rows = f"SELECT {NUMBERS} FROM range({asked.rows}) AS r(i)"
        few = f"SELECT *, x0 + x1 * x2 AS y FROM ({rows}) LIMIT 3000"
        for query, file in ((few, "few.csv"), (rows, "many.csv"), (rows, "many.parquet")):
            duckdb.sql(f"COPY ({query}) TO '{folder / file}'")
        call("train", "few.csv", "--target", "y", "--out", "run", "--quiet")
        found: dict[str, list[tuple[float, float]]] = {".csv": [], ".parquet": []}
        for _ in range(asked.turns):
            for form, times in found.items():
                times.append(call("predict", "run", f"many{form}", "--out", f"p{form}", "--force"))
    for form, times in found.items():
        wall, work = (median(column) for column in zip(*times, strict=True))
        print(f"{form}: {asked.rows:,} rows in {wall:.2f} s, {work:.2f} s of processor time")


if __name__ == "__main__":
    main()
