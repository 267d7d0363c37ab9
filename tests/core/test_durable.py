"""A folder is the old one or the new one after any failure, and every changed byte is found."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule.core import durable
from chainrule.core.durable import read_folder, write_file, write_folder
from chainrule.core.errors import DamagedError, RunError

OLD = {"a": b"old a", "b": b"old b", "gone": b"only in the old one"}
NEW = {"a": b"new a" * 40, "b": memoryview(np.arange(6.0).reshape(2, 3)), "empty": b""}
CODES = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EMFILE)
CALLS = ("open", "write", "fsync", "rename", "read", "mkdir", "close")


def content(files: dict[str, Any]) -> dict[str, bytes]:
    return {name: bytes(given) for name, given in files.items()}


class Shim:
    """The module `os`, in which the `number`-th call of `name` does `act` in its place."""

    def __init__(self, name: str, number: int, act: Callable[[], Any]) -> None:
        self.name, self.left, self.act = name, number, act

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name != self.name:
            return real

        def call(*args: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                if name == "close":
                    real(*args)
                return self.act()
            return real(*args, **options)

        return call


@contextmanager
def failing(name: str, number: int, act: Callable[[], Any]) -> Iterator[Shim]:
    shim = Shim(name, number, act)
    durable.os = shim  # type: ignore[attr-defined]
    try:
        yield shim
    finally:
        durable.os = os  # type: ignore[attr-defined]


def refuse(code: int) -> Callable[[], Any]:
    def act() -> None:
        raise OSError(code, os.strerror(code))

    return act


def test_a_folder_comes_back_and_keeps_what_else_it_holds(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "run"
    write_folder(OLD, target)
    assert read_folder(target) == OLD
    (target / "notes").mkdir()
    (target / "notes" / "mine.txt").write_text("mine")
    (target / "link").symlink_to("notes")
    write_folder(NEW, target)
    assert read_folder(target) == content(NEW)
    assert read_folder(target, ["b"]) == {"b": content(NEW)["b"]}
    assert sorted(p.name for p in target.iterdir()) == [
        "a", "b", "empty", "link", "manifest.json", "notes",
    ]  # fmt: skip
    assert (target / "link" / "mine.txt").read_text() == "mine"
    assert os.listdir(target.parent) == ["run"]


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "a\\b", "a\0", "manifest.json"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="can't be the name"):
        write_folder({name: b""}, tmp_path / "run")
    assert os.listdir(tmp_path) == []
    entry = f'{{\n "files": {{\n  {durable.json.dumps(name)}: {{"size": 0, "sha256": ""}}}}'
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_bytes(entry.encode() + durable._seal(entry.encode()))
    with pytest.raises(DamagedError, match="is not a manifest"):
        read_folder(tmp_path / "run")


@pytest.mark.parametrize(
    "body",
    [
        "[" * 100_000,
        '{"files": [',
        '{"files": {"a": 1}',
        '{"files": {"a": {"size": -1, "sha256": ""}}',
        '{"files": {"a": {"size": true, "sha256": ""}}',
        '{"files": {"a": {"size": 1e400, "sha256": ""}}',
        '{"files": {"a": {"size": ' + "9" * 5000 + ', "sha256": ""}}',
        '{"file": {}',
        "\udc80",
    ],
    ids=range(9),
)
def test_a_hostile_manifest_is_refused(tmp_path: Path, body: str) -> None:
    raw = body.encode("utf-8", "surrogateescape")
    (tmp_path / "manifest.json").write_bytes(raw + durable._seal(raw))
    with pytest.raises(DamagedError, match=r"manifest.json' is not a manifest"):
        read_folder(tmp_path)


# A step of 7 meets every byte, and all bits in turn.
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_every_flipped_bit_and_every_truncation_is_found(tmp_path: Path, step: int) -> None:
    target, files = tmp_path / "run", {"a": b"content", "b": b""}
    write_folder(files, target)
    for name in ("a", "manifest.json"):
        file = target / name
        whole = file.read_bytes()
        damaged = [whole[:size] for size in range(len(whole))]
        for bit in range(0, 8 * len(whole), step):
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
            damaged.append(bytes(changed))
        for found in damaged:
            file.write_bytes(found)
            with pytest.raises(DamagedError, match=name):
                read_folder(target)
        file.write_bytes(whole)
    assert read_folder(target) == files


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    target = tmp_path / "run"
    write_folder({"a": b"12345678", "b": b""}, target)
    with pytest.raises(DamagedError, match=r"c' is missing: manifest.json does not list it"):
        read_folder(target, ["c"])
    with pytest.raises(DamagedError, match="a' has 8 bytes, more than the 7 that are read"):
        read_folder(target, most=7)
    (target / "a").write_bytes(b"123")
    with pytest.raises(DamagedError, match="a' is truncated: it has 3 bytes and should have 8"):
        read_folder(target)
    (target / "a").write_bytes(b"12345679")
    with pytest.raises(DamagedError, match="a' is damaged: its content changed"):
        read_folder(target)
    (target / "a").unlink()
    with pytest.raises(DamagedError, match="a' is missing"):
        read_folder(target)
    os.mkfifo(target / "a")  # opening it would wait for a writer
    with pytest.raises(DamagedError, match="a' is not a file"):
        read_folder(target)
    with pytest.raises(DamagedError, match=r"manifest.json' is missing"):
        read_folder(tmp_path)


def test_a_size_is_compared_before_a_file_is_read(tmp_path: Path) -> None:
    write_folder({"a": b"1"}, tmp_path / "run")
    os.truncate(tmp_path / "run" / "a", 1 << 42)  # takes no space on the disk
    with pytest.raises(DamagedError, match=r"has 4,398,046,511,104 bytes and should have 1"):
        read_folder(tmp_path / "run")


@pytest.mark.parametrize("before", [True, False], ids=["replacing", "fresh"])
def test_every_call_may_fail(tmp_path: Path, before: bool) -> None:
    """Whichever call fails, the old folder or the new one is there, and the error says which."""
    target = tmp_path / "run"
    told = set()
    for name in CALLS:
        for number in itertools.count(1):
            write_folder(OLD, target)
            if not before:
                durable.shutil.rmtree(target)
            message, code = "", CODES[number % len(CODES)]
            with failing(name, number, refuse(code)) as shim:
                try:
                    write_folder(NEW, target)
                except RunError as error:
                    message = str(error)
            if shim.left > 0:
                break
            if message:
                told.add(name)
                assert f"{os.strerror(code)}. {durable.ADVICE[code]}" in message
            if "What was there before is unchanged" not in message:
                assert read_folder(target) == content(NEW)
            elif before:
                assert read_folder(target) == OLD
            else:
                assert not target.exists()
            write_folder(OLD, target)
            assert os.listdir(tmp_path) == ["run"]
    assert told == set(CALLS)


def test_a_write_that_takes_a_part_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:7]))
    write_folder(NEW, tmp_path / "run")
    assert read_folder(tmp_path / "run") == content(NEW)


def test_what_the_disk_did_not_keep_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(OLD, tmp_path / "run")
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, bytes(len(data))))
    with pytest.raises(RunError, match="read back differs from what was written"):
        write_folder(NEW, tmp_path / "run")
    assert read_folder(tmp_path / "run") == OLD


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_durable import CALLS, NEW, OLD, failing
from chainrule.core.durable import write_folder
target = Path(sys.argv[1])
for name in CALLS:
    number = 1
    while True:
        child = os.fork()
        if child == 0:
            with failing(name, number, lambda: os._exit(9)):
                write_folder(NEW, target)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(name, number, os.waitstatus_to_exitcode(status), flush=True)
        if input() != "on":
            break
        number += 1
"""


@pytest.mark.parametrize("before", [True, False], ids=["replacing", "fresh"])
def test_a_writer_may_be_killed_at_every_call(tmp_path: Path, before: bool) -> None:
    target = tmp_path / "run"
    root = str(Path(__file__).resolve().parents[2])
    script = KILLED.format(tests=str(Path(__file__).parent))
    found = []
    write_folder(OLD, target)
    if not before:
        durable.shutil.rmtree(target)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(target)], text=True, bufsize=1,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root},
    ) as writer:  # fmt: skip
        assert writer.stdin is not None
        assert writer.stdout is not None
        for line in writer.stdout:
            *call, code = line.split()
            if code == "9":
                found.append(call)
                if before or target.exists():
                    assert read_folder(target) in (content(NEW), OLD), call
                write_folder(OLD, target)
                assert os.listdir(tmp_path) == ["run"], call  # what was left is removed
            if not before:
                durable.shutil.rmtree(target)
            else:
                write_folder(OLD, target)
            writer.stdin.write("on\n" if code == "9" else "next\n")
    assert writer.returncode == 0
    assert {name for name, _ in found} == set(CALLS)
    assert len(found) > 30


def test_the_folder_put_aside_comes_back(tmp_path: Path) -> None:
    """A writer killed between its two renames leaves no folder under the name."""
    target = tmp_path / "run"
    for again in (lambda: read_folder(target), lambda: write_folder(OLD, target)):
        write_folder(OLD, target)
        target.rename(tmp_path / ".run.old")
        again()
        assert read_folder(target) == OLD
        assert os.listdir(tmp_path) == ["run"]


def test_the_folder_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    dead, alive = tmp_path / ".run.writing-1", tmp_path / ".run.writing-2"
    dead.mkdir()
    alive.mkdir()
    lock = durable._lock(alive)
    write_folder(OLD, tmp_path / "run")
    assert not dead.exists()
    assert alive.exists()
    os.close(lock)
    write_folder(OLD, tmp_path / "run")
    assert os.listdir(tmp_path) == ["run"]


def test_a_forked_child_keeps_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child forked while a folder is written holds the same open files as its parent."""
    sync, children = durable._sync, []

    def fork_and_sync(folder: Path) -> None:
        if folder == tmp_path:  # the lock of the folder is held
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            children.append(child)
        sync(folder)

    monkeypatch.setattr(durable, "_sync", fork_and_sync)
    try:
        write_folder(OLD, tmp_path / "run")
        durable.fcntl.flock(lock := os.open(tmp_path, os.O_RDONLY), 2 | 4)  # exclusive, no waiting
        os.close(lock)
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)
    assert children


def test_the_folder_replaced_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer killed while it deletes the old folder leaves nothing that looks like the new."""
    target = tmp_path / "run"
    write_folder(OLD, target)
    with monkeypatch.context() as patch:
        patch.setattr(durable.shutil, "rmtree", lambda path, ignore_errors: None)
        write_folder(NEW, target)
    target.rename(tmp_path / "moved")
    durable.recover(target)
    assert not target.exists()
    write_folder(OLD, target)
    assert sorted(os.listdir(tmp_path)) == ["moved", "run"]


def test_a_folder_keeps_its_mode(tmp_path: Path) -> None:
    write_folder(OLD, tmp_path / "run")
    (tmp_path / "run").chmod(0o700)
    write_folder(NEW, tmp_path / "run")
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700


def test_writers_and_readers_at_the_same_time(tmp_path: Path) -> None:
    script = """
        import sys
        from pathlib import Path
        from chainrule.core.durable import read_folder, write_folder
        target, mark, stop = Path(sys.argv[1]), sys.argv[2].encode(), Path(sys.argv[3])
        count = 0
        while not stop.exists():
            if mark == b"read":
                found = read_folder(target)
                assert len(set(found.values())) == 1, found
            else:
                write_folder({"a": mark, "b": mark}, target)
            count += 1
            if count == 4:
                stop.with_name(f"{sys.argv[2]}-done").touch()
        print(count)
    """
    target, stop = tmp_path / "run", tmp_path / "stop"
    write_folder({"a": b"first", "b": b"first"}, target)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), str(target), mark, str(stop)],
            env=environment, stdout=subprocess.PIPE, text=True,
        )
        for mark in ("x", "y", "read")
    ]  # fmt: skip
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("*-done"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    stop.touch()
    counts = [int(worker.communicate()[0]) for worker in workers]
    assert min(counts) > 3
    left = {path.name for path in tmp_path.iterdir() if not path.name.endswith("-done")}
    assert left == {"run", "stop"}


def test_the_limit_of_the_size_of_files(tmp_path: Path) -> None:
    write_folder(OLD, tmp_path / "run")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(RunError, match=r"File too large. Raise the limit .*ulimit -f"):
            write_folder({"a": bytes(5000)}, tmp_path / "run")
        with pytest.raises(RunError, match=r"File too large"):
            write_file(tmp_path / "page.html", bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_folder(tmp_path / "run") == OLD
    assert os.listdir(tmp_path) == ["run"]


def test_a_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        write_folder(OLD, disk / "run")
        with pytest.raises(RunError, match=r"No space left on device. Free space on its disk"):
            write_folder({"a": b"", "b": bytes(1 << 20)}, disk / "run")
        assert read_folder(disk / "run") == OLD
        assert os.listdir(disk) == ["run"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_file_is_whole_or_as_before(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    write_file(file, b"old")
    file.chmod(0o640)
    for name in ("open", "write", "fsync", "rename"):
        with (
            failing(name, 1, refuse(errno.ENOSPC)),
            pytest.raises(RunError, match="Free space"),
        ):
            write_file(file, b"new")
        assert file.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["page.html"]
    write_file(file, b"new")
    assert file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o777 == 0o640
    (tmp_path / "link").symlink_to(file)
    write_file(tmp_path / "link", b"by a link")
    assert file.read_bytes() == b"by a link"
    write_file(Path(os.devnull), b"dropped")
    assert Path(os.devnull).is_char_device()
