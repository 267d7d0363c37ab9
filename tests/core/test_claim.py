"""A place that is claimed is free again when its holder ends, however that ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chainrule.core.claim import claimed
from chainrule.core.errors import RunError


def test_a_second_claim_is_refused(tmp_path: Path) -> None:
    file = tmp_path / ".lock"
    with claimed(file, "taken"), pytest.raises(RunError, match="taken"), claimed(file, "taken"):
        pass
    assert not file.exists()
    with claimed(file, "taken"):
        assert file.exists()


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from chainrule.core.claim import claimed\n"
        "with claimed(Path(sys.argv[1]), ''): print('held', flush=True); time.sleep(60)"
    )
    file = tmp_path / ".lock"
    root = str(Path(__file__).resolve().parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", script, str(file)], stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(RunError, match="taken"), claimed(file, "taken"):
            pass
        holder.kill()
    with claimed(file, "taken"):
        pass
    assert not file.exists()


def test_a_forked_child_holds_nothing(tmp_path: Path) -> None:
    """The holder is killed, and the child that it has forked lives on."""
    ready, ended = os.pipe(), os.pipe()
    holder = os.fork()
    if holder == 0:
        with claimed(tmp_path / ".lock", ""):
            if os.fork() == 0:
                os.close(ended[1])
                os.write(ready[1], b"x")
                os.read(ended[0], 1)
                os._exit(0)
            time.sleep(60)
    os.read(ready[0], 1)
    os.kill(holder, 9)
    os.waitpid(holder, 0)
    try:
        with claimed(tmp_path / ".lock", "taken"):
            pass
    finally:
        for end in (*ready, *ended):
            os.close(end)


def test_a_place_that_cant_be_locked_is_used(tmp_path: Path) -> None:
    with claimed(tmp_path / "no" / "folder", "taken"):
        pass
