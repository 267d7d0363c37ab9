"""Time the import of a framework and its first training step in a new process.

Started as `python bench/cold_start.py CONTESTANT`; prints seconds as JSON.  Both times start
before the import, with only Python itself loaded.

Read next: `bench/costs.py`.
"""

from __future__ import annotations

import importlib
import json
import sys
import time

MODULES = {
    "chainrule": ("chainrule", "ours", "Ours"),
    "pytorch": ("torch", "pytorch", "Eager"),
    "jax": ("jax", "jax_scan", "Scan"),
    "sklearn": ("sklearn.neural_network", "scikit_learn", "Perceptron"),
}


def main() -> None:
    framework, module, name = MODULES[sys.argv[1]]
    began = time.perf_counter()
    importlib.import_module(framework)
    imported = time.perf_counter() - began
    workloads = importlib.import_module("workloads")
    contestant = getattr(importlib.import_module(f"contestants.{module}"), name)
    made = contestant(workloads.shortened(workloads.MARKED[1], 1), None)
    made.epoch()
    print(json.dumps({"import": imported, "first_step": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
