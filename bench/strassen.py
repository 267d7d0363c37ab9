"""Measure whether one level of Strassen-Winograd makes the products of a large network faster.

Run `python bench/strassen.py [--rounds N]`.  It computes the products of the network
1024-2048-2048-1024 with a batch of 512, on one core by NumPy's BLAS: whole, and by seven products
of quarters with Winograd's fifteen additions, in turns.  The sums are stored in memory that is
allocated before.  Prints the medians of the time, their ratio, and the largest error of both
relative to the largest element, from the product in float64.  No products of the engine are used,
since it would add quarters while it packs them at best: the additions cost memory traffic, which
does not depend on who multiplies.

Read next: `docs/performance.md`.

Source: Huss-Lederman et al., *Implementation of Strassen's Algorithm for Matrix Multiplication*
(1996), the schedule of Winograd's variant.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float32]]
SHAPES = ((512, 1024, 2048), (512, 2048, 2048), (2048, 512, 2048), (1024, 512, 2048))


def quarters(x: Array) -> tuple[Array, Array, Array, Array]:
    """Return the four quarters of a matrix, by rows."""
    m, n = x.shape[0] // 2, x.shape[1] // 2
    return x[:m, :n], x[:m, n:], x[m:, :n], x[m:, n:]


def winograd(a: Array, b: Array, c: Array) -> Callable[[], None]:
    """Return a function that computes ``c = a @ b`` by seven products of quarters."""
    a11, a12, a21, a22 = quarters(a)
    b11, b12, b21, b22 = quarters(b)
    c11, c12, c21, c22 = quarters(c)
    s, t = np.empty_like(a11, order="C"), np.empty_like(b11, order="C")
    p, q, r = (np.empty(c11.shape, np.float32) for _ in range(3))

    def run() -> None:
        np.subtract(a11, a21, out=s)
        np.subtract(b22, b12, out=t)
        np.matmul(s, t, out=r)  # M7
        np.add(a21, a22, out=s)
        np.subtract(b12, b11, out=t)
        np.matmul(s, t, out=c22)  # M5
        np.subtract(s, a11, out=s)
        np.subtract(b22, t, out=t)
        np.matmul(s, t, out=p)  # M6
        np.subtract(a12, s, out=s)
        np.matmul(s, b22, out=q)  # M3
        np.subtract(t, b21, out=t)
        np.matmul(a22, t, out=c21)  # M4
        np.matmul(a11, b11, out=c12)  # M1, for now
        np.add(p, c12, out=p)  # U2
        np.matmul(a12, b21, out=c11)  # M2
        np.add(c11, c12, out=c11)
        np.add(q, c22, out=c12)
        np.add(c12, p, out=c12)
        np.add(p, r, out=p)  # U3
        np.subtract(p, c21, out=c21)
        np.add(c22, p, out=c22)

    return run


def main() -> int:
    """Print a row for each shape."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # it is read when NumPy is imported
        kept = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
        again = [sys.executable, __file__, "--rounds", str(rounds)]
        return subprocess.call(again, env={**kept, "OPENBLAS_NUM_THREADS": "1"})
    print("| product | whole ms | Winograd ms | whole / Winograd | error whole | error Winograd |")
    print("|---|---|---|---|---|---|")
    draws = np.random.default_rng(0)
    for m, k, n in SHAPES:
        a = draws.normal(size=(m, k)).astype(np.float32)
        b = draws.normal(size=(k, n)).astype(np.float32)
        whole, parts = np.empty((m, n), np.float32), np.empty((m, n), np.float32)
        runs = {"whole": lambda a=a, b=b, c=whole: np.matmul(a, b, out=c)}
        runs["parts"] = winograd(a, b, parts)
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                began = time.thread_time()
                run()
                times[name].append(time.thread_time() - began)
        exact = a.astype(np.float64) @ b.astype(np.float64)
        errors = [np.abs(c - exact).max() / np.abs(exact).max() for c in (whole, parts)]
        one, seven = (1e3 * statistics.median(times[name]) for name in ("whole", "parts"))
        print(
            f"| {m}x{k} by {k}x{n} | {one:.1f} | {seven:.1f} | {one / seven:.2f} "
            f"| {errors[0]:.1e} | {errors[1]:.1e} |"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
