"""Code kept on disk: read by the next process, never trusted when damaged, never needed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.graph import Graph
from chainrule.run.llvm import cache, code, recent
from chainrule.run.llvm.native import NativeFunction

X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2)


def function(factor: float = 2.0) -> NativeFunction:
    """Return a small compiled function that holds `factor` as a constant."""
    x = cr.input("x", ("n", 2))
    return NativeFunction(Graph({"y": (x * factor).node}), {"x"}, threads=1)


def is_right(made: NativeFunction, factor: float = 2.0) -> bool:
    return bool(np.array_equal(made({"x": X})["y"], X * np.float32(factor)))


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep nothing that was compiled in memory."""
    monkeypatch.setattr(recent, "MOST", 0)
    monkeypatch.setattr(recent, "_codes", OrderedDict())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that code is kept in."""
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "code"))
    return tmp_path / "code"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by one at each compilation."""
    calls: list[int] = []
    compile_: Callable[[str], bytes] = code.object_code

    def counted(text: str) -> bytes:
        calls.append(len(text))
        return compile_(text)

    monkeypatch.setattr(code, "object_code", counted)
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
    calls, compile_ = [], code.object_code
    code.object_code = lambda text: calls.append(1) or compile_(text)
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


# --- what others could have put there ----------------------------------------------------------


needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away"
)
SOMEONE = 12345  # the number of another user
UNSAFE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "the folder can be written by all": ("can be written by others", lambda f: f.chmod(0o777)),
    "the folder can be written by its group": ("chmod go-w", lambda f: f.chmod(0o720)),
    "a sticky folder": ("can be written by others", lambda f: f.chmod(0o1777)),
    "the folder above": ("can be written by others", lambda f: f.parent.chmod(0o777)),
    "two above": ("can be written by others", lambda f: f.parent.parent.chmod(0o770)),
}
GIVEN_AWAY: dict[str, tuple[str, Callable[[Path], None]]] = {
    "the folder": ("belongs to another user", lambda f: os.chown(f, SOMEONE, -1)),
    "the folder above": ("belongs to another user", lambda f: os.chown(f.parent, SOMEONE, -1)),
    "a sticky folder above": (
        "set CHAINRULE_CACHE",
        lambda f: (f.parent.chmod(0o1777), os.chown(f.parent, SOMEONE, -1))[0],
    ),
}


@pytest.fixture
def deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with one entry, in two folders of the user's."""
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "a" / "b" / "code"))
    monkeypatch.setattr(cache, "_told", set())
    assert is_right(function())
    return tmp_path / "a" / "b" / "code"


def assert_not_used(deep: Path, compiled: list[int], match: str) -> None:
    """Check that code is compiled without the folder, and that this is said once."""
    before = {p.name: p.stat().st_mtime_ns for p in deep.iterdir()}
    with pytest.warns(UserWarning, match=match) as told:
        assert all(is_right(function(factor), factor) for factor in (2.0, 3.0))
    assert len(told) == 1
    assert len(compiled) == 2
    assert {p.name: p.stat().st_mtime_ns for p in deep.iterdir()} == before


@pytest.mark.parametrize("case", UNSAFE)
def test_a_folder_others_can_write_is_not_used(deep: Path, compiled: list[int], case: str) -> None:
    match, spoil = UNSAFE[case]
    compiled.clear()
    spoil(deep)
    assert_not_used(deep, compiled, match)


@needs_root
@pytest.mark.parametrize("case", GIVEN_AWAY)
def test_a_folder_of_someone_else_is_not_used(deep: Path, compiled: list[int], case: str) -> None:
    match, spoil = GIVEN_AWAY[case]
    compiled.clear()
    spoil(deep)
    assert_not_used(deep, compiled, match)


def test_a_sticky_folder_above_is_safe(deep: Path, compiled: list[int]) -> None:
    deep.parent.chmod(0o1777)  # as /tmp: others can't rename what they do not own
    compiled.clear()
    assert is_right(function())
    assert not compiled


def test_the_folders_are_the_users_alone_whatever_the_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[int]
) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "a" / "b" / "code"))
    usual = os.umask(0)
    try:
        function()
        function()
    finally:
        os.umask(usual)
    assert len(compiled) == 1
    (entry,) = (tmp_path / "a" / "b" / "code").iterdir()
    for path in (entry, *list(entry.parents)[:3]):
        assert path.stat().st_mode & 0o077 == 0


def _owned_by_someone(entry: Path) -> None:
    os.chown(entry, SOMEONE, -1)


def _linked(entry: Path) -> None:
    moved = entry.parent.parent / "elsewhere"
    entry.rename(moved)
    entry.symlink_to(moved)


def _to_pipe(entry: Path) -> None:
    entry.unlink()
    os.mkfifo(entry)


def _to_folder(entry: Path) -> None:
    entry.unlink()
    entry.mkdir()


RUBBISH: dict[str, Callable[[Path], None]] = {
    "writable": lambda entry: entry.chmod(0o666),
    "a link": _linked,
    "a link to itself": lambda entry: (entry.unlink(), entry.symlink_to(entry))[0],
    "a pipe": _to_pipe,
    "a folder": _to_folder,
    "someone else's": _owned_by_someone,
}


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[needs_root] if k == "someone else's" else []) for k in RUBBISH]
)
def test_an_entry_that_is_no_file_of_the_user_is_compiled_anew(
    deep: Path, compiled: list[int], kind: str
) -> None:
    (entry,) = deep.iterdir()
    compiled.clear()
    open_files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    RUBBISH[kind](entry)
    assert is_right(function())
    assert len(compiled) == 1
    if open_files:
        assert len(os.listdir("/proc/self/fd")) <= open_files
    if kind != "a folder":  # which is not deleted; another kind is replaced
        assert is_right(function())
        assert len(compiled) == 1
    assert not [p for p in deep.iterdir() if p.name.startswith(".")]


def test_links_to_the_folder_are_followed_and_what_they_lead_to_is_checked(
    deep: Path, compiled: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    link = deep.parent.parent / "link"
    link.symlink_to(deep)
    monkeypatch.setenv("CHAINRULE_CACHE", str(link))
    compiled.clear()
    assert is_right(function())
    assert not compiled
    deep.chmod(0o777)
    assert_not_used(deep, compiled, "can be written by others")


@needs_root
def test_the_folder_in_tmp_may_have_been_made_by_someone_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[int]
) -> None:
    monkeypatch.delenv("CHAINRULE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(cache.os.path, "expanduser", lambda path: path)  # no home
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = cache.cache_folder()
    assert folder == tmp_path / "chainrule-0" / "chainrule" / "code"
    folder.mkdir(0o700, parents=True)
    os.chown(tmp_path / "chainrule-0", SOMEONE, -1)
    assert_not_used(folder, compiled, "chainrule-0 belongs to another user")


def test_where_users_have_no_numbers_the_cache_is_used(
    deep: Path, compiled: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "geteuid")  # as on Windows
    compiled.clear()
    assert is_right(function())
    assert not compiled


def test_a_folder_that_can_only_be_read_is_read(
    deep: Path, compiled: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*args: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    deep.chmod(0o500)
    monkeypatch.setattr(cache.tempfile, "mkstemp", refused)  # root may write anywhere
    compiled.clear()
    assert is_right(function())
    assert not compiled
    assert is_right(function(3.0), 3.0)
    assert len(list(deep.iterdir())) == 1


STORM = """
    import shutil, sys, warnings
    from pathlib import Path
    from tests.run.test_cache import function, is_right
    warnings.simplefilter("error")
    folder, number = Path(sys.argv[1]), int(sys.argv[2])
    for i in range(8):
        assert is_right(function(float(i)), float(i))
        if i % 3 == number:
            shutil.rmtree(folder, ignore_errors=True)
        elif i % 4 == number:
            for path in list(folder.glob("*")):
                try:
                    path.write_bytes(b"rubbish" * number * 9)
                except OSError:
                    pass
    print("done")
"""


def test_processes_go_on_while_others_delete_and_spoil_the_folder(folder: Path) -> None:
    storm = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(STORM), str(folder), str(number)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "CHAINRULE_CACHE": str(folder)},
        )
        for number in range(3)
    ]  # fmt: skip
    for process in storm:
        out, err = process.communicate(timeout=120)
        assert out == "done\n", err


def test_what_killed_processes_left_is_deleted_and_folders_are_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "LIMIT", 2)
    folder.mkdir(0o700)
    (folder / ".new-left").write_bytes(b"half")
    (folder / "folder").mkdir()
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    for i in range(3):
        cache.write(f"entry{i}", b"x")
        os.utime(folder / f"entry{i}", (i + 2, i + 2))
    assert sorted(p.name for p in folder.iterdir()) == ["entry1", "entry2", "folder"]
