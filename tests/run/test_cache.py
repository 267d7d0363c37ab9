"""Code kept on disk: read by the next process, never trusted when damaged, never needed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.graph import Graph
from chainrule.run.llvm import cache, code
from chainrule.run.llvm.native import NativeFunction

X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2)


def function(factor: float = 2.0) -> NativeFunction:
    """Return a small compiled function that holds `factor` as a constant."""
    x = cr.input("x", ("n", 2))
    return NativeFunction(Graph({"y": (x * factor).node}), {"x"}, threads=1)


def is_right(made: NativeFunction, factor: float = 2.0) -> bool:
    return bool(np.array_equal(made({"x": X})["y"], X * np.float32(factor)))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that code is kept in."""
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "code"))
    return tmp_path / "code"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by one at each compilation."""
    calls: list[int] = []
    compile_: Callable[[str], bytes] = code._object_code

    def counted(text: str) -> bytes:
        calls.append(len(text))
        return compile_(text)

    monkeypatch.setattr(code, "_object_code", counted)
    return calls


def test_the_second_time_nothing_is_compiled(folder: Path, compiled: list[int]) -> None:
    assert is_right(function())
    assert len(compiled) == 1
    assert len(list(folder.iterdir())) == 1
    assert is_right(function())
    assert len(compiled) == 1


PROCESS = """
    import sys
    from chainrule.run.llvm import code
    calls, compile_ = [], code._object_code
    code._object_code = lambda text: calls.append(1) or compile_(text)
    from tests.run.test_cache import function, is_right
    assert is_right(function())
    print(len(calls))
"""


def _process(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROCESS)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "CHAINRULE_CACHE": str(folder)},
    )


def test_processes_share_it_even_when_they_write_at_once(folder: Path) -> None:
    together = [_process(folder) for _ in range(3)]
    counts = [p.communicate(timeout=60)[0] for p in together]
    assert {p.returncode for p in together} == {0}
    assert set(counts) <= {"0\n", "1\n"}
    assert "1\n" in counts
    assert len(list(folder.iterdir())) == 1  # one entry, and nothing half written
    assert _process(folder).communicate(timeout=60)[0] == "0\n"


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda raw: b"",
    "cut in the digest": lambda raw: raw[:20],
    "cut in the code": lambda raw: raw[: len(raw) // 2],
    "one bit turned": lambda raw: raw[:-9] + bytes([raw[-9] ^ 4]) + raw[-8:],
    "another file": lambda raw: b"no code at all, though it is some thirty bytes and more long",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_compiled_anew(folder: Path, compiled: list[int], damage: str) -> None:
    function()
    (entry,) = folder.iterdir()
    entry.write_bytes(DAMAGE[damage](entry.read_bytes()))
    assert is_right(function())
    assert len(compiled) == 2
    assert is_right(function())  # and is whole again
    assert len(compiled) == 2


def test_without_a_folder_to_write_to_it_compiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[int]
) -> None:
    taken = tmp_path / "file"
    taken.write_text("in the way")
    for place in (taken, taken / "below", Path("/proc/none")):
        monkeypatch.setenv("CHAINRULE_CACHE", str(place))
        assert is_right(function())
    assert len(compiled) == 3
    assert taken.read_text() == "in the way"


def test_a_full_disk_leaves_no_debris(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert is_right(function())
    assert list(folder.iterdir()) == []


def test_the_place_is_what_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "a"))
    assert cache.cache_folder() == tmp_path / "a"
    monkeypatch.delenv("CHAINRULE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache.cache_folder() == tmp_path / "b" / "chainrule" / "code"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / ".cache" / "chainrule" / "code"


def test_what_changes_the_code_changes_the_key(
    folder: Path, compiled: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = cr.input("x", ("n", 2))
    graph = Graph({"loss": (x * 2.0).sum().node})
    for capacity in (4, 5):
        code.NativeCode(graph, set(), {"x"}, capacity)
    assert len(compiled) == 2
    assert is_right(function(3.0), 3.0)
    assert is_right(function(4.0), 4.0)
    assert len(compiled) == 4
    # Constants too long to be printed differ only in their elements.
    for place in (0, 99):
        long = np.zeros(100, np.float32)
        long[place] = 1
        wide = cr.input("x", ("n", 100))
        made = NativeFunction(Graph({"y": (wide * cr.tensor(long)).node}), {"x"}, threads=1)
        np.testing.assert_array_equal(made({"x": np.ones((1, 100))})["y"][0], long)
    assert len(compiled) == 6
    graph_again = Graph({"loss": (cr.input("x", ("n", 2)) * 2.0).sum().node})
    code.NativeCode(graph_again, set(), {"x"}, 4)
    assert len(compiled) == 6
    monkeypatch.setattr(code, "host_features", lambda: "+sse2,another")
    code.NativeCode(graph, set(), {"x"}, 4)
    assert len(compiled) == 7


def test_the_oldest_entries_go_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LIMIT", 3)
    for i in range(6):
        cache.write(f"entry{i}", b"x")
        os.utime(folder / f"entry{i}", (i, i))
    assert sorted(p.name for p in folder.iterdir()) == ["entry3", "entry4", "entry5"]
    assert cache.read("entry5") == b"x"
    assert cache.read("entry0") is None
