"""Run the tests of emitted code under the sanitizers: ``python -m tests.run.sanitize [PYTEST...]``.

The library of a sanitizer, which comes with GCC, is loaded before all others.
"""

from __future__ import annotations

import ctypes.util
import os
import subprocess
import sys
from pathlib import Path

# The interpreter and NumPy are not instrumented, so only what emitted code does is checked; and
# NumPy may copy a block with the gaps in it.
OPTIONS = {
    "address": {
        "ASAN_OPTIONS": "detect_leaks=0:replace_intrin=0",
        "PYTHONMALLOC": "malloc",
    },
    "thread": {
        "TSAN_OPTIONS": "halt_on_error=1:report_signal_unsafe=0:die_after_fork=0",
        "OPENBLAS_NUM_THREADS": "1",  # NumPy's threads wait for one another unseen
    },
}
TESTS = (
    "test_batched_products", "test_fuse", "test_gemm", "test_moves", "test_native",
    "test_native_layers", "test_native_optimizers", "test_native_random", "test_random_graphs",
    "test_rows_anywhere", "test_sparse", "test_threads", "test_whole_rows",
    "test_every_operation",
)  # fmt: skip


def library(kind: str) -> str | None:
    """Return the name of the library of the sanitizer `kind`, or None if there is none."""
    return ctypes.util.find_library({"address": "asan", "thread": "tsan"}[kind])


def main(arguments: list[str]) -> int:
    """Run the tests under each sanitizer that there is; return whether any failed."""
    files = [str(Path(__file__).with_name(f"{name}.py")) for name in TESTS]
    failed = False
    for kind, options in OPTIONS.items():
        runtime = library(kind)
        if runtime is None:
            print(f"sanitize: left out the {kind} sanitizer: its library is not installed")
            print("sanitize: on Debian or Ubuntu: apt-get install libasan8 libtsan2")
            continue
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-s", *arguments]
        words += [] if any(a.endswith(".py") for a in arguments) else files
        added = {"LD_PRELOAD": runtime, "CHAINRULE_SANITIZE": kind}
        print(f"sanitize: {kind}", flush=True)
        done = subprocess.run(words, env={**os.environ, **options, **added}, check=False)
        failed |= done.returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
