"""The sanitizers find what they are for: an access beyond an array, and a race of two threads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.run.sanitize import OPTIONS, library
from tests.run.sanitized import instrumented

FAULTY = """
define void @steps(ptr %place, i64 %at) {
entry:
  %there = getelementptr double, ptr %place, i64 %at
  %old = load <2 x double>, ptr %there, align 8
  %new = fadd <2 x double> %old, splat (double 1.0)
  store <2 x double> %new, ptr %there, align 8
  ret void
}
"""
PROGRAM = """
import ctypes, sys, threading
import numpy as np
from chainrule.run.arena import Arena
from chainrule.run.llvm import code
from tests.run.sanitized import check_accesses
import pytest
patch = pytest.MonkeyPatch()
check_accesses(patch)
engine = code.link(code.object_code({text!r}))
add = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(engine.get_function_address("steps"))
arrays = Arena({{"first": np.zeros(8), "second": np.zeros(8)}}).views
at = arrays["first"].ctypes.data
"""
BODIES = {
    "address": "add(at, 6)\nprint('inside', flush=True)\nadd(at, 7)",
    "thread": """
for places in (0, 2), (4, 5):
    gate = threading.Barrier(2)
    def work(place):
        gate.wait()
        for _ in range(20000):
            add(at, place)
    threads = [threading.Thread(target=work, args=(place,)) for place in places]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print('inside', flush=True)
""",
}
REPORTS = {"address": "use-after-poison", "thread": "data race"}


@pytest.mark.parametrize("kind", ["address", "thread"])
def test_a_fault_is_reported(kind: str, repository: Path) -> None:
    runtime = library(kind)
    if runtime is None:
        pytest.skip(f"the library of the {kind} sanitizer is not installed")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(text=FAULTY) + BODIES[kind]],
        capture_output=True, text=True, check=False, cwd=repository,
        env={**os.environ, **OPTIONS[kind], "LD_PRELOAD": runtime, "CHAINRULE_SANITIZE": kind},
    )  # fmt: skip
    assert done.stdout.startswith("inside\n"), done.stderr
    assert REPORTS[kind] in done.stderr
    assert done.returncode
    assert len(re.findall("WARNING: ThreadSanitizer", done.stderr)) <= 2


def test_each_access_is_checked() -> None:
    text = instrumented(FAULTY, "address")
    assert "call void @__asan_loadN(ptr %there, i64 16)\n  %old" in text
    assert "call void @__asan_storeN(ptr %there, i64 16)\n  store" in text


@pytest.mark.parametrize("mask", ["%mask", "<i1 false, i1 true>", "splat (i1 true)"])
def test_only_the_lanes_of_a_mask_are_checked(mask: str) -> None:
    line = (
        f"%1 = call <2 x double> @llvm.masked.load.v2f64.p0(ptr align 8 %p, <2 x i1> {mask}, "
        "<2 x double> zeroinitializer)"
    )
    text = instrumented(line, "address")
    assert f"%lane.0.1 = extractelement <2 x i1> {mask}, i64 1\n" in text
    assert "call void @__asan_loadN(ptr %lane.0.1.place, i64 %lane.0.1.size)\n" in text
