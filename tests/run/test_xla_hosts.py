"""The connections between processes, and the program that leads, without a second machine."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from importlib import import_module
from multiprocessing.connection import Client, Listener
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.graph import Graph

pytestmark = pytest.mark.xla


@pytest.fixture(scope="module", autouse=True)
def jax() -> Any:
    return pytest.importorskip("jax", reason="JAX is not installed: make xla")


def hosts(count: int, number: int, connections: dict[int, Any]) -> Any:
    return import_module("chainrule.run.xla.hosts").Hosts(count, number, connections)


def test_a_wrong_index_is_told_as_such_by_a_program_that_leads() -> None:
    x, i = cr.input("x", ("n",), "float64"), cr.input("i", ("n",), "int64")
    w = cr.input("w", (3,), "float64")
    total = (cr.gather(w, i) * x).sum()
    graph = Graph({"loss": total, "w": w - 0.1 * cr.grad(total, w)}, {"x": x, "i": i, "w": w})
    data = {"x": np.ones(16), "i": np.arange(16) // 4}
    alone = hosts(1, 0, {})
    led = import_module("chainrule.run.xla.led")
    program = led.LeadingProgram(alone, graph, {"w": np.ones(3)}, data, 8)
    with pytest.raises(cr.ShapeError, match=r"gather: index 3 at \(4,\) is out of range for 3"):
        program.run(np.arange(16), 8)
    assert not alone.lost
    program.run(np.arange(8), 8)
    assert program.state["w"].sum() == pytest.approx(3 - 0.8)


def test_steps_of_two_threads_are_told_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise, the others would take the rows of one for those of the other."""
    w = cr.input("w", (3,), "float64")
    graph = Graph({"w": w * 2}, {"w": w})
    led, alone, seen = import_module("chainrule.run.xla.led"), hosts(1, 0, {}), list[Any]()
    programs = [led.LeadingProgram(alone, graph, {"w": np.ones(3)}, {}, 8) for _ in range(2)]
    usual = led.XlaProgram.run

    def slow(program: Any, *given: Any) -> Any:
        time.sleep(0.2)  # in which another thread would tell what it runs
        found = usual(program, *given)
        seen.append(("ran", program.number))
        return found

    monkeypatch.setattr(led.XlaProgram, "run", slow)
    monkeypatch.setattr(alone, "tell", lambda what, number, *_: seen.append((what, number)))
    threads = [Thread(target=program.run, args=(np.arange(8), 8)) for program in programs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 4
    for (what, number), after in zip(seen[::2], seen[1::2], strict=True):
        assert what == "run"
        assert after == ("ran", number)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (None, None),
        ("gone", "No such file or directory"),
        ("short", "mmap length is greater than file size"),
        ("other", "its content is not that of the first process"),
    ],
)
def test_a_file_that_another_process_cannot_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrong: str | None, told: str | None
) -> None:
    on_disk, path = import_module("chainrule.run.xla.on_disk"), tmp_path / "x.npy"
    array = np.lib.format.open_memmap(path, "w+", np.float32, (100, 3))
    array[:] = np.arange(300).reshape(100, 3)
    usual = on_disk.opened

    def elsewhere(*given: Any) -> Any:  # as another machine has the file
        if wrong == "gone":
            path.unlink()
        elif wrong:
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content[:-1] if wrong == "short" else content[:-4] + bytes(4))
        return usual(*given)

    led = import_module("chainrule.run.xla.led")
    monkeypatch.setattr(led, "opened", elsewhere)
    with Listener(("127.0.0.1", 0)) as listener:
        second = hosts(2, 1, {0: Client(listener.address)})
        first = hosts(2, 0, {1: listener.accept()})
    thread = Thread(target=led.follow, args=(second,))
    thread.start()
    try:
        if wrong is None:
            on_disk.share(first, array)
        else:
            with pytest.raises(cr.RunError) as caught:
                on_disk.share(first, array)
    finally:
        first.tell("end")
        thread.join()
    if wrong is None:
        path.unlink()  # the arrays stay
        place = on_disk.place_of(first, array[20:40])
        np.testing.assert_array_equal(on_disk.placed(second, place), array[20:40])
        assert on_disk.place_of(first, array.copy()) is None
        return
    text = str(caught.value)
    assert text.startswith("process 1 of 2, from 0, can't read its rows of the encoded table in ")
    assert f"{path}: {told}. Set TMPDIR to a folder that all processes see, or train" in text


def test_the_first_process_ends_last() -> None:
    """JAX aborts a process that is still there when the first has ended."""
    ended = []

    def other(address: Any) -> None:
        one = hosts(2, 1, {0: Client(address)})
        assert one.hear() == [("end",)]
        time.sleep(0.3)
        ended.append(1)
        one.connections[0].close()

    with Listener(("127.0.0.1", 0)) as listener:
        thread = Thread(target=other, args=(listener.address,))
        thread.start()
        first = hosts(2, 0, {1: listener.accept()})
    first.close()
    assert ended
    thread.join()


def test_sigterm_ends_a_process_that_has_joined() -> None:
    """JAX would only note it, and the process would be left behind."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    code = (
        "import os, signal, time; from chainrule.run import engines; "
        f"engines.load('xla').joined('{address}', 1, 0); "
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(1); os._exit(3)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGTERM, ended.stderr
