"""NumPy's products on one thread: inside the block only, and not after it.

Read next: ``tests/run/test_engine_choice.py``.
"""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.run import blas
from chainrule.step import magnitudes


def test_blocks_nest_and_leave_the_usual_number() -> None:
    usual = blas.threads()
    with blas.one_blas_thread():
        with blas.one_blas_thread():
            assert blas.threads() == 1
        assert blas.threads() == 1
    assert blas.threads() == usual


def test_a_block_of_another_thread_does_not_end_this_one() -> None:
    usual = blas.threads()

    def work() -> None:
        with blas.one_blas_thread():
            pass

    with blas.one_blas_thread():
        other = threading.Thread(target=work)
        other.start()
        other.join()
        assert blas.threads() == 1
    assert blas.threads() == usual


def test_an_error_in_the_block_sets_the_usual_number() -> None:
    usual = blas.threads()
    with pytest.raises(ValueError), blas.one_blas_thread():
        raise ValueError
    assert blas.threads() == usual


def test_fit_asks_the_untrained_network_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    if blas.threads() == 1:
        pytest.skip("NumPy has one thread, or no OpenBLAS")
    seen = []

    class Spy(magnitudes.Interpreter):
        def __call__(self, values):
            seen.append(blas.threads())
            return super().__call__(values)

    monkeypatch.setattr(magnitudes, "Interpreter", Spy)
    X = np.eye(4, dtype="float32")
    model = nn.Sequential([nn.Linear(4, 2)])
    cr.fit(model, (X, [0, 1, 0, 1]), loss="cross_entropy", epochs=1, progress=False)
    assert seen == [1]


def test_commands_run_on_one_thread() -> None:
    code = (
        "import chainrule.cli.command_line as c, chainrule.run.blas as b\n"
        "c.CommandLine._status = lambda *a: print(b.threads()) or 0\n"
        "c.CommandLine('chainrule').main([])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "1\n", done.stderr
