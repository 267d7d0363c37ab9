"""Trainings by several processes on the loopback interface: the results of one process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from chainrule.cli.launch import PLAN, held_port, launch
from chainrule.data.builtin import load as load_dataset
from chainrule.train.run import load

needs_jax = pytest.mark.skipif(find_spec("jax") is None, reason="JAX is not installed: make xla")
# Batch normalization and dropout are of the whole batch; 102 rows leave a smaller last batch, which
# two and three processes divide, and four do not.
# Adam would make steps of the rounding errors of gradients that are 0, of biases that are
# normalized away.
TRAIN = ["train", "iris", "--hidden", "8", "--norm", "batch", "--dropout", "0.2", "--batch-size",
         "24", "--optimizer", "momentum", "--no-check", "--no-report", "--patience", "0",
         "--seed", "3", "--epochs", "12"]  # fmt: skip


def begun(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start ``chainrule`` in `folder`, each process with one device."""
    usual = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "CHAINRULE_ENGINE")}
    return subprocess.Popen(
        [sys.executable, "-m", "chainrule", *words], cwd=folder, text=True, env=usual,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    told, errors = process.communicate(timeout=120)
    return process.returncode, told, errors


def two_by_hand(folder: Path, code: str, *words: str) -> tuple[list[int], str]:
    """Run the processes of a launch after some `code`; return how they end, and what they tell."""
    code += "; import runpy; runpy.run_module('chainrule.cli.launched', run_name='__main__')"
    more = ["--engine", "xla", "--devices", "all"] if words else []
    usual = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "CHAINRULE_ENGINE")}
    with (folder / "errors").open("w") as errors, held_port() as port:
        plan = {"address": f"127.0.0.1:{port}", "count": 2, "file": os.devnull}
        started = [
            subprocess.Popen(
                [sys.executable, "-c", code, *words, *more], cwd=folder,
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors,
                env={**usual, PLAN: json.dumps({**plan, "number": number})},
            )
            for number in range(2)
        ]  # fmt: skip
        try:
            statuses = [process.wait(timeout=120) for process in started]
        finally:
            for process in started:
                process.kill()
                process.communicate()
    return statuses, (folder / "errors").read_text()


def assert_same(ours: Path, theirs: Path) -> None:
    """Hold history and weights of two runs together."""
    one, other = load(str(ours)), load(str(theirs))
    for name in ("loss", "val_loss", "accuracy"):
        a, b = ([record[name] for record in run.history] for run in (one, other))
        np.testing.assert_allclose(a, b, rtol=1e-5, err_msg=name)
    rows = np.random.default_rng(0).normal(size=(20, *one.features)).astype(np.float32)
    np.testing.assert_allclose(one.outputs(rows), other.outputs(rows), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run of one process."""
    folder = tmp_path_factory.mktemp("one")
    status, _, errors = ended(begun(folder, *TRAIN, "--engine", "xla", "--out", "one"))
    assert status == 0, errors
    return folder / "one"


def followers(launcher: int) -> list[int]:
    """Return the processes that a launcher started, but for the first."""
    text = Path(f"/proc/{launcher}/task/{launcher}/children").read_text()
    return list(map(int, text.split()))[1:]


@needs_jax
@pytest.mark.xla
@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_are_one(tmp_path: Path, one: Path, count: int) -> None:
    # The state is divided, too: each process has a part of the weights.
    words = ["--shard", "parameters", "--json", "--out", "several"]
    launched = begun(tmp_path, "launch", "--processes", str(count), "--", *TRAIN, *words)
    status, told, errors = ended(launched)
    assert status == 0, errors
    assert json.loads(told)["epochs"] == 12  # nothing else is printed, by either process
    assert sorted(path.name for path in tmp_path.iterdir()) == ["several"]
    assert_same(tmp_path / "several", one)


@needs_jax
@pytest.mark.xla
def test_each_process_reads_its_rows_of_a_streamed_table(tmp_path: Path) -> None:
    iris = load_dataset("iris")  # less one row, so that the last batch is not divided
    pairs = zip(iris.X[1:], iris.y[1:], strict=True)
    lines = [",".join(map(str, (*row, f"kind {y}"))) for row, y in pairs]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c,d,kind", *lines]))
    words = ["train", "t.csv", *TRAIN[2:], "--target", "kind", "--epochs", "3", "--stream"]
    one = begun(tmp_path, *words, "--out", "one")  # at once
    sends = "from chainrule.run.xla.hosts import Hosts; Hosts.tell_one = lambda *_: 1 // 0"
    statuses, errors = two_by_hand(tmp_path, sends, *words, "--out", "two")
    assert statuses == [0, 0], errors
    status, _, errors = ended(one)
    assert status == 0, errors
    assert load(str(tmp_path / "two")).settings["rows"] % 24 % 2
    assert_same(tmp_path / "two", tmp_path / "one")


@needs_jax
@pytest.mark.xla
def test_data_that_are_too_large_for_the_devices_are_sent(tmp_path: Path, one: Path) -> None:
    small = "from chainrule.run.xla.placement import Placement; Placement.fits = lambda *_: False"
    statuses, errors = two_by_hand(tmp_path, small, *TRAIN, "--out", "two")
    assert statuses == [0, 0], errors
    assert_same(tmp_path / "two", one)


@needs_jax
@pytest.mark.xla
def test_an_unexpected_error_ends_all_processes(tmp_path: Path) -> None:
    wrong = (
        "from chainrule.cli.commands import command_line; "
        "command_line.main = lambda *words, **more: 1 // 0"
    )
    statuses, errors = two_by_hand(tmp_path, wrong)
    assert statuses == [1, 0]
    assert "ZeroDivisionError" in errors


@needs_jax
@pytest.mark.xla
@pytest.mark.skipif(sys.platform != "linux", reason="children are read from /proc")
def test_one_is_killed_and_the_rest_go_on(tmp_path: Path, one: Path) -> None:
    launcher = begun(
        tmp_path, "launch", "--processes", "4", "--", *TRAIN, "--checkpoint-every", "1",
        "--out", "killed",
    )  # fmt: skip
    deadline = time.monotonic() + 100
    while not list(tmp_path.glob("killed/checkpoints/step-*")):
        assert launcher.poll() is None, ended(launcher)
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(followers(launcher.pid)[1], signal.SIGKILL)
    killed = time.monotonic()
    status, _, errors = ended(launcher)
    assert time.monotonic() - killed < 60
    assert status == 1
    assert "process 2 of 4, from 0, was killed by signal 9 (SIGKILL)" in errors
    found = re.search(
        r"Go on with: chainrule (launch --processes) 4 (-- train --resume \S+);", errors
    )
    assert found, errors
    first, last = found.group(1).split(), found.group(2).split()
    status, _, errors = ended(begun(tmp_path, *first, "3", *last))
    assert status == 0, errors
    assert len(load(str(tmp_path / "killed")).history) == 12
    assert_same(tmp_path / "killed", one)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--processes", "2", "--", "predict", "x"], "give the training after --"),
        (["--processes", "2", "--", "train", "iris", "--engine", "native"], "leave --engine out"),
        (["--", "train", "iris", "--devices=2"], "leave --devices=2 out"),
    ],
)
def test_what_cannot_be_launched(words: Sequence[str], told: str) -> None:
    result = CliRunner().invoke(launch, list(words))
    assert result.exit_code == 2
    assert told in result.output


def test_the_port_is_given_to_no_other_program() -> None:
    with held_port() as port, socket.socket() as other:
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        with held_port() as second:
            assert second != port
