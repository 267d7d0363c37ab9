"""Progress is a bar on a terminal, a line now and then in a pipe, and nothing when quick."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from chainrule.train import progress
from chainrule.train.progress import Progress

RECORD = {
    "epoch": 2, "loss": 0.25, "accuracy": 0.9, "learning_rate": 0.001, "seconds": 1.0,
    "samples_per_second": 12345.6,
}  # fmt: skip


def show(shown: bool = True) -> None:
    with Progress(shown, 4, 100) as bar:
        bar.advance(2, 50)
        bar.finish_epoch(RECORD)


def test_a_quick_training_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    show()
    assert capsys.readouterr() == ("", "")


def test_a_pipe_gets_plain_lines_on_standard_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", -1.0)
    monkeypatch.setattr(progress, "LINE_SECONDS", -1.0)
    show()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("epoch 2/4  loss 0.25  accuracy 0.9  12,346 rows/s  ")
    assert err.endswith(" s left\n")
    assert "\x1b" not in err
    show(False)
    assert capsys.readouterr() == ("", "")


def test_lines_in_a_pipe_keep_their_distance(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", -1.0)
    show()  # sooner than LINE_SECONDS after the start
    assert capsys.readouterr().err == ""


def test_what_is_left_of_a_training_that_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The epochs of before took none of its time."""
    monkeypatch.setattr(progress, "QUIET_SECONDS", -1.0)
    monkeypatch.setattr(progress, "LINE_SECONDS", -1.0)
    monkeypatch.setattr(progress.time, "perf_counter", iter([100.0, 200.0]).__next__)
    bar = Progress(True, 40, 100)
    bar.begin(31, 50)
    bar.finish_epoch(RECORD | {"epoch": 31})
    assert capsys.readouterr().err.endswith("  1,800 s left\n")


SCRIPT = """
import time
from chainrule.train import progress
progress.QUIET_SECONDS = -1.0
with progress.Progress(True, 2, 100) as bar:
    for epoch in (1, 2):
        for done in (50, 100):
            bar.advance(epoch, done)
        bar.finish_epoch({"epoch": epoch, "loss": 0.5, "samples_per_second": 100.0})
        bar.advance(epoch, 100)
        time.sleep(0.3)
"""


LONG = """
import time
from chainrule.train import progress
progress.QUIET_SECONDS = -1.0
with progress.Progress(True, 200, 54_000) as bar:
    bar.finish_epoch({
        "epoch": 100, "loss": 0.0001234, "accuracy": 0.9992, "learning_rate": 0.001,
        "samples_per_second": 123456.7, "val_loss": 0.02887, "val_accuracy": 0.9907,
    })
    bar.advance(101, 27_000)
    time.sleep(0.3)
"""


def on_terminal(script: str, columns: int) -> tuple[str, bytes]:
    """Run `script` with a terminal as standard error; return what it and its output got."""
    master, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns)}
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=terminal, env=environment
    )
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
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return shown.decode(), output


def test_a_bar_fits_eighty_columns() -> None:
    shown, _ = on_terminal(LONG, 80)
    assert "…" not in shown
    for part in ("101/200", "━━", "loss 0.0001234", "val_accuracy 0.9907", "rows/s", "left"):
        assert part in shown


def test_a_reader_that_went_away_does_not_end_a_training() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    quick = LONG.replace("QUIET_SECONDS", "LINE_SECONDS = progress.QUIET_SECONDS", 1)
    process = subprocess.run(
        [sys.executable, "-c", quick + "print('done')"], stdout=subprocess.PIPE, stderr=writing
    )
    os.close(writing)
    assert process.stdout == b"done\n"


def test_a_terminal_gets_a_bar() -> None:
    text, out = on_terminal(SCRIPT, 100)
    assert out == b""
    assert "1/2" in text
    assert "loss 0.5" in text
    assert "rows/s" in text
    assert "\x1b[" in text
