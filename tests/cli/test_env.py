"""chainrule env: what a bug report needs, on any machine, with or without llvmlite."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import chainrule as cr
from chainrule.cli import machine_facts as report

Call = Callable[..., Result]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, place: Path) -> Path:
    for name in list(os.environ):
        if name.startswith(("CHAINRULE_", "OPENBLAS_", "OMP_", "MKL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CHAINRULE_CACHE", str(place / "code"))
    return place / "code"


def sections(call: Call) -> dict[str, dict[str, object]]:
    result = call("env", "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, dict[str, object]] = json.loads(result.stdout)
    return found


def test_text_and_json_say_the_same(call: Call) -> None:
    found = sections(call)
    text = call("env").stdout
    assert list(found) == [line for line in text.splitlines() if not line.startswith(" ")]
    for entries in found.values():
        for name, value in entries.items():
            shown = "not found" if value is None else str(value)
            assert re.search(rf"^  {re.escape(name)} +{re.escape(shown)}$", text, re.MULTILINE)
    assert found["versions"]["numpy"] == np.__version__
    assert platform.python_version() in str(found["versions"]["python"])


def test_the_engine_is_native_and_why(call: Call) -> None:
    pytest.importorskip("llvmlite")
    found = sections(call)
    assert found["engine"]["used"] == "native"
    assert re.fullmatch(r"\d+\.\d+\.\d+", str(found["versions"]["llvm"]))
    assert re.fullmatch(r"\d+ float32 wide, \d+ registers", str(found["processor"]["vectors"]))


def test_threads_and_engine_follow_the_environment(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINRULE_THREADS", "3")
    assert sections(call)["engine"]["threads at most"] == 3
    monkeypatch.setenv("CHAINRULE_THREADS", "many")
    assert "positive integer" in str(sections(call)["engine"]["threads at most"])
    monkeypatch.setenv("CHAINRULE_ENGINE", "reference")
    found = sections(call)
    assert found["engine"]["used"] == "reference"
    assert found["environment"]["CHAINRULE_ENGINE"] == "reference"


@pytest.mark.parametrize("name", ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"])
def test_a_pinned_blas_is_told(call: Call, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert "pinned by" not in sections(call)["blas of numpy"]
    monkeypatch.setenv(name, "Haswell")
    assert f"{name}=Haswell" in str(sections(call)["blas of numpy"]["pinned by"])
    assert "NumPy runs at about half speed" in call("env").stdout


def test_the_kernel_of_openblas_is_the_one_it_was_told_to_use() -> None:
    if report._kernel() is None:
        pytest.skip("NumPy has no OpenBLAS here")
    code = "import numpy; from chainrule.cli.machine_facts import _kernel; print(_kernel())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": _root(), "OPENBLAS_CORETYPE": "Nehalem"},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "Nehalem"


def test_the_cache_is_counted_and_cleared(call: Call, quiet: Path) -> None:
    assert sections(call)["code cache"]["entries"] == 0
    assert call("env", "--clear-cache").stderr == "deleted 0 entries, 0.0 MB.\n"
    quiet.mkdir()
    for name in ("a" * 40, "0" * 40):
        (quiet / name).write_bytes(bytes(600_000))
    (quiet / "mine.txt").write_text("not the cache's")
    found = sections(call)["code cache"]
    assert (found["entries"], found["size"]) == (2, "1.2 MB")
    assert call("env", "--clear-cache").stderr == "deleted 2 entries, 1.2 MB.\n"
    assert [path.name for path in quiet.iterdir()] == ["mine.txt"]


def _root() -> str:
    return str(Path(cr.__file__).parents[1])


def test_it_works_without_llvmlite() -> None:
    code = (
        "import sys; sys.modules['llvmlite'] = None\n"
        "from chainrule.cli import main; sys.argv = ['chainrule', 'env']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": _root()},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"used +reference, which is much slower\n +why +llvmlite can't", done.stdout)
    assert re.search(r"llvm +not found", done.stdout)


def test_the_commands_load_no_llvm() -> None:
    code = "import sys, chainrule.cli.commands; print('llvmlite' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": _root()},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == "False\n"
