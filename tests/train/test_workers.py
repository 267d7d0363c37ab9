"""Threads, forks, fresh processes and pools: the results of one thread, and no deadlock.

What forks runs in a process of its own with a time limit, so that a deadlock is a failure.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

THOROUGH = pytest.mark.thorough
RNG = np.random.default_rng(9)
X = RNG.normal(size=(2100, 6)).astype("f4")
CLASSES = X[:, :3].argmax(axis=1)


def train(seed: int, threads: int | None = 1, **options: Any) -> cr.Run:
    """Return a small training, large enough for several threads where they are asked for."""
    model = nn.Sequential([nn.Linear(6, 8 + seed % 3), nn.Tanh(), nn.Linear(8 + seed % 3, 3)])
    return cr.fit(
        model, (X, CLASSES), loss="cross_entropy", epochs=2, batch_size=64, seed=seed,
        threads=threads, progress=False, **options,
    )  # fmt: skip


def bits(run: cr.Run) -> bytes:
    """Return the weights and predictions of a run, to be compared bit for bit."""
    weights = b"".join(p.value.tobytes() for p in nn.parameters(run.model).values())
    return weights + run.outputs(X).tobytes()


@pytest.mark.parametrize("threads", [*(pytest.param(n, marks=THOROUGH) for n in (1, 2)), None])
def test_trainings_in_eight_threads_at_once(threads: int | None) -> None:
    wanted = [bits(train(seed)) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda seed: bits(train(seed, threads)), range(8)))
    assert found == wanted


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_one_run_predicts_in_sixteen_threads_from_the_first_call_on(engine: str) -> None:
    run = train(1, 2, engine=engine)
    parts = [X[i : i + n] for i, n in zip(range(0, 1600, 100), (1, 3, 100, 1500) * 4, strict=True)]
    reference = copy.deepcopy(run)
    wanted = [reference.outputs(part).tobytes() for part in parts]
    loss = reference.evaluate((X, CLASSES))["loss"]
    together = Barrier(16)  # so that all of them find that nothing is compiled

    def work(i: int) -> None:
        together.wait()
        assert run.outputs(parts[i]).tobytes() == wanted[i]
        assert run.predictor().outputs(parts[i]).tobytes() == wanted[i]
        assert run.evaluate((X, CLASSES))["loss"] == loss

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))


def test_copies_are_made_while_others_predict() -> None:
    run = train(2, 2)
    wanted, done = bits(run), Event()

    def predict() -> None:
        while not done.is_set():
            run._functions.clear()  # so that entries come and go while copies are made
            assert run.outputs(X[:5]).shape == (5, 3)
            run.evaluate((X[:50], CLASSES[:50]))

    with ThreadPoolExecutor(3) as pool:
        others = [pool.submit(predict) for _ in range(3)]
        try:
            copies = [copy.deepcopy(run) for _ in range(20)]
        finally:
            done.set()
        for other in others:
            other.result()
    assert all(bits(one) == wanted for one in copies[::7])


def in_a_process(tmp_path: Path, repository: Path, code: str) -> None:
    """Run `code` as a script with a time limit; it ends by printing ``done``."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(code), "utf-8")
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(repository)}, start_new_session=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)  # and its workers, which hold the pipes
        pytest.fail(f"a deadlock: {process.communicate()}")
    assert out == "done\n", err


def test_a_fork_trains_and_predicts_with_threads(tmp_path: Path, repository: Path) -> None:
    code = """
        import multiprocessing, warnings
        from concurrent.futures import ProcessPoolExecutor
        from tests.train.test_workers import X, bits, train

        warnings.simplefilter("ignore")  # Python warns of forks beside threads
        kept = train(1, 3)
        predict = kept.predictor()

        def work(seed):
            row = predict.outputs(X[:1]).tobytes()
            return bits(train(seed, 3)), bits(kept), row, predict.outputs(X).tobytes()

        def expected(seed):
            return bits(train(seed)), bits(kept), row, many

        row, many = predict.outputs(X[:1]).tobytes(), predict.outputs(X).tobytes()
        wanted = [expected(seed) for seed in range(4)]
        fork = multiprocessing.get_context("fork")
        with fork.Pool(2) as pool:
            assert pool.map(work, range(4)) == wanted
        with ProcessPoolExecutor(2, mp_context=fork) as pool:
            assert list(pool.map(work, range(4))) == wanted
        assert work(2) == wanted[2]
        print("done")
    """
    in_a_process(tmp_path, repository, code)


@pytest.mark.thorough
def test_a_fork_beside_threads_that_compile_and_evaluate(tmp_path: Path, repository: Path) -> None:
    code = """
        import os, threading, warnings
        import numpy as np
        import chainrule as cr
        from chainrule.core.graph import Graph
        from chainrule.run.llvm.native import NativeFunction
        from tests.train.test_workers import X

        warnings.simplefilter("ignore")
        end = threading.Event()
        os.environ["CHAINRULE_CACHE"] = "/proc/none"  # so that all is compiled

        def busy(kind):
            i = 0
            while not end.is_set():
                i += 1
                if kind:
                    float((cr.tensor(np.ones(9)) * i).sum())
                else:
                    compiled(i)

        def compiled(factor):
            x = cr.input("x", ("n", 2))
            graph = Graph({"y": (cr.tanh(x) * float(factor)).node})
            return NativeFunction(graph, {"x"}, 2)({"x": X[:, :2]})["y"].tobytes()

        wanted = compiled(0.5)
        others = [threading.Thread(target=busy, args=(i % 2,), daemon=True) for i in range(4)]
        for other in others:
            other.start()
        for _ in range(12):
            child = os.fork()
            if child == 0:
                ok = compiled(0.5) == wanted and float(cr.tensor(np.ones(9)).sum() * 2) == 18
                os._exit(0 if ok else 1)
            assert os.waitpid(child, 0)[1] == 0
        end.set()
        for other in others:
            other.join()
        print("done")
    """
    in_a_process(tmp_path, repository, code)


@pytest.mark.thorough
def test_fresh_processes_and_joblib_train_alike(tmp_path: Path, repository: Path) -> None:
    code = """
        import multiprocessing
        from joblib import Parallel, delayed
        from tests.train.test_workers import bits, train

        if __name__ == "__main__":
            kept = train(1, 2)
            wanted = [bits(train(seed)) for seed in range(2)]
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                runs = pool.starmap(train, [(seed, 2) for seed in range(2)])
                assert [bits(run) for run in runs] == wanted
                assert pool.map(bits, [kept, runs[0]]) == [wanted[1], wanted[0]]
            runs = Parallel(2)(delayed(train)(seed, 2) for seed in range(2))
            assert [bits(run) for run in runs] == wanted
            predict = kept.predictor()
            (found,) = Parallel(2)(delayed(predict.outputs)(row) for row in [[0.5] * 6])
            assert found.tobytes() == predict.outputs([0.5] * 6).tobytes()
            print("done")
    """
    in_a_process(tmp_path, repository, code)
