"""The command as a process: pipes that close, no terminal, signals, exit statuses."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import chainrule as cr

COMMAND = [sys.executable, "-m", "chainrule"]


def run(words: str, environment: dict[str, str], place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words.split()], env=environment, cwd=place, text=True, capture_output=True
    )


def test_plain_text_without_a_terminal(environment: dict[str, str], place: Path) -> None:
    done = run("train iris --epochs 3 --no-check", environment, place)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "runs/iris-1" in done.stdout


def test_json_has_standard_output_for_itself(environment: dict[str, str], place: Path) -> None:
    done = run("train iris --epochs 3 --json --batch-size 5000", environment, place)
    assert json.loads(done.stdout)["rows"]["test"] == 30
    assert "larger than" in done.stderr


def test_exit_statuses(environment: dict[str, str], place: Path) -> None:
    assert run("--version", environment, place).returncode == 0
    missing = run("train no.csv", environment, place)
    assert missing.returncode == 2
    assert "Traceback" not in missing.stderr


@pytest.mark.parametrize("both", [False, True])
def test_a_closed_pipe_ends_no_training(
    both: bool, environment: dict[str, str], place: Path
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "train", "iris", "--epochs", "3", "--no-check"],
        env=environment, cwd=place, stdout=writing, stderr=writing if both else subprocess.PIPE,
    )  # fmt: skip
    os.close(writing)
    assert done.returncode == 0
    assert both or done.stderr == b""
    assert len(cr.load(place / "runs" / "iris-1").history) == 3


def test_head_takes_one_line(environment: dict[str, str], place: Path) -> None:
    line = f"'{sys.executable}' -m chainrule train iris --epochs 3 --no-check | head -1"
    done = subprocess.run(
        line, shell=True, env=environment, cwd=place, capture_output=True, text=True
    )
    assert done.stdout == "iris: predict `target`, 3 classes\n"
    assert done.stderr == ""


def interrupted(environment: dict[str, str], place: Path, after: float) -> tuple[int, str, str]:
    """Train without end, press Ctrl-C `after` seconds, and return what was said."""
    process = subprocess.Popen(
        [*COMMAND, "train", "digits", "--epochs", "100000", "--lr", "1e-6", "--hidden", "16",
         "--seed", "3"],
        env=environment, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A test run in the background would pass on its deafness to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("training"):
            break
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_ctrl_c_saves_the_best_so_far(environment: dict[str, str], place: Path) -> None:
    status, out, err = interrupted(environment, place, 2.5)
    if "nothing was saved" in err:  # a busy machine, still checking; once more, with patience
        status, out, err = interrupted(environment, place, 20)
    assert status == 130, err
    assert "interrupted; kept the weights of epoch" in out
    assert "Traceback" not in err
    assert cr.load(place / "runs" / "digits-1").stopped == "interrupted"


@pytest.mark.parametrize("words", ["train iris --epochs 2", "env", "train --help"])
def test_a_full_disk_is_one_line(words: str, environment: dict[str, str], place: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, *words.split()], env=environment, cwd=place, text=True, stdout=full,
            stderr=subprocess.PIPE,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "error: can't write to standard output: No space left on device.\n"


def test_a_full_standard_error_ends_no_training(environment: dict[str, str], place: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "train", "iris", "--epochs", "2", "--json", "--batch-size", "5000"],
            env=environment, cwd=place, stdout=subprocess.PIPE, stderr=full,
        )  # fmt: skip
    assert done.returncode == 0
    assert (place / "runs" / "iris-1").exists()


def test_ctrl_c_during_the_imports_is_quiet(environment: dict[str, str], place: Path) -> None:
    # The library that the commands import last stands for all: it is interrupted as it loads.
    (place / "click.py").write_text("raise KeyboardInterrupt")
    path = {**environment, "PYTHONPATH": f"{place}{os.pathsep}{environment['PYTHONPATH']}"}
    done = subprocess.run(
        [sys.executable, "-c", "from chainrule.cli import main; main()", "train", "iris"],
        env=path, cwd=place, text=True, capture_output=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_an_editable_install_is_a_path_entry(repository: Path) -> None:
    # A finder comes after the empty namespace that the clone's own folder, called chainrule,
    # is for a script in the folder above it; a path entry comes before.
    text = (repository / "pyproject.toml").read_text()
    assert '[tool.distutils.editable_wheel]\nmode = "compat"\n' in text


def test_color_on_a_terminal(environment: dict[str, str], place: Path) -> None:
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "datasets"], stdout=terminal, cwd=place,
        env={**environment, "TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    assert process.wait(timeout=30) == 0
    assert b"\x1b[1mdigits" in shown


def test_ascii_gets_question_marks_not_a_traceback(
    environment: dict[str, str], place: Path
) -> None:
    done = run("train iris --epochs 2", {**environment, "PYTHONIOENCODING": "ascii"}, place)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_version_needs_no_heavy_library(environment: dict[str, str], place: Path) -> None:
    script = (
        "import sys; from chainrule.cli.commands import command_line\n"
        "try: command_line.main(['--version'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print(*{'rich', 'duckdb', 'llvmlite', 'safetensors', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=place, capture_output=True, text=True
    )
    version, heavy = done.stdout.split("\n")[:2]
    assert version.startswith("chainrule ")
    assert heavy == ""


def test_help_and_datasets(call: Callable[..., Result]) -> None:
    for words in ((), ("train",), ("predict",), ("datasets",)):
        result = call(*words, "--help")
        assert result.exit_code == 0
        assert "\n  chainrule " in result.stdout.replace("    chainrule", "  chainrule")
        assert max(map(len, result.stdout.splitlines())) <= 90
    listed = call("datasets").stdout
    for name in ("digits", "iris", "wine", "breast-cancer", "diabetes", "fashion-mnist"):
        assert name in listed
    assert max(map(len, listed.splitlines())) <= 80


def test_masked_arrays_are_imported_only_for_missing_cells(
    call: Callable[..., Result], environment: dict[str, str], place: Path
) -> None:
    rows = "".join(f"{i},{i % 3},{i % 2}\n" for i in range(60))
    (place / "t.csv").write_text("a,b,y\n" + rows)
    (place / "gap.csv").write_text("a,b\n,1\n")
    assert call("train", "t.csv", "--target", "y", "--epochs", 2, "--out", "run").exit_code == 0
    for file, imported in (("t.csv", False), ("gap.csv", True)):
        code = f"""
import sys
from chainrule.cli.commands import command_line
try:
    command_line.main(["predict", "run", {file!r}])
except SystemExit as end:
    assert not end.code
assert ("numpy.ma" in sys.modules) is {imported}
"""
        subprocess.run([sys.executable, "-c", code], env=environment, cwd=place, check=True)
