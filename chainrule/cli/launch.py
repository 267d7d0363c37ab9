"""``chainrule launch``: one training by several processes, on this machine or on a cluster.

It starts the processes and watches them: when one dies, the others are ended, too.

Read next: :mod:`chainrule.cli.launched`.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import click

from chainrule.cli.output import tell
from chainrule.train.checkpoint import steps
from chainrule.train.directory import CHECKPOINTS

__all__ = ["GONE", "PLAN", "held_port", "launch"]

PLAN = "CHAINRULE_LAUNCHED"  # the variable with the address, count and number, and a file
GONE = 75  # the status of a process that ended because another had
LOOK_SECONDS = 0.05  # between looks at the processes
GRACE_SECONDS = 10.0  # in which the others end by themselves when one has, and then once more
SETTLED = ("--engine", "--devices")
NOTE = "place"  # the file with the directory of the run


@click.command("launch", context_settings={"ignore_unknown_options": True})
@click.option("--processes", type=click.IntRange(min=1), metavar="N", help="How many to start on "
              "this machine  [default: those of Slurm, Open MPI or Kubernetes]")  # fmt: skip
@click.argument("words", metavar="-- train OPTIONS", nargs=-1, type=click.UNPROCESSED)
def launch(processes: int | None, words: tuple[str, ...]) -> int:
    """Train by several processes, each with its part of every batch.

    With --processes, they are started on this machine.  Without, this is one of the
    processes that Slurm, Open MPI or Kubernetes has started, each with the same
    command.  The engine is xla, on all devices of all processes.  The first process
    reads the table, prints, and saves the run; the others compute with it.  If one
    dies, all end, and the training can be resumed, by any number of processes.

    \b
    Examples:
      chainrule launch --processes 2 -- train digits
      chainrule launch --processes 4 -- train --resume runs/digits-1
      srun --ntasks 8 chainrule launch -- train houses.csv --target price
    """  # noqa: D301 - \b tells click to keep the lines
    if words[:1] != ("train",):
        raise click.UsageError("give the training after --, as in launch --processes 2 -- train X.")
    for word in words:
        if word.partition("=")[0] in SETTLED:
            raise click.UsageError(f"leave {word} out: the engine is xla, on all devices.")
    words = (*words, "--engine", "xla", "--devices", "all")
    with tempfile.TemporaryDirectory(prefix="chainrule-launch-") as folder, held_port() as port:
        started = _started(processes, words, Path(folder), port)
        try:
            with _signals_to(started[0]):
                return _watched(started, processes, Path(folder))
        finally:
            _end(started, signal.SIGTERM, GRACE_SECONDS)


def _started(
    count: int | None, words: Sequence[str], folder: Path, port: int
) -> list[subprocess.Popen[bytes]]:
    """Start the processes; the messages of all but the first go to files in `folder`."""
    address = f"127.0.0.1:{port}" if count else None
    started = []
    for number in range(count or 1):
        plan = {
            "address": address, "count": count, "number": number if count else None,
            "file": str(folder / NOTE),
        }  # fmt: skip
        with open(os.devnull if number == 0 else folder / str(number), "wb") as file:
            told = None if number == 0 else file
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "chainrule.cli.launched", *words],
                    stdin=subprocess.PIPE, stdout=told, stderr=told,
                    env={**os.environ, PLAN: json.dumps(plan)},
                    start_new_session=True,  # signals are for the first process alone
                )
            )  # fmt: skip
    return started


@contextmanager
def held_port() -> Iterator[int]:
    """Give a port at which the processes can meet, and which no other program is given meanwhile.

    JAX would crash if it were taken.  JAX itself can bind it, because gRPC shares its ports, too.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextmanager
def _signals_to(first: subprocess.Popen[bytes]) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM go to the first process, which saves the training."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        first.send_signal(number)

    usual = {n: signal.signal(n, pass_on) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def _watched(started: Sequence[subprocess.Popen[bytes]], count: int | None, folder: Path) -> int:
    """Return the status of the first process when all have ended, 1 if one of them died."""
    first = started[0]
    while first.poll() is None and not any(process.poll() for process in started):
        time.sleep(LOOK_SECONDS)
    time.sleep(LOOK_SECONDS)
    died = [(p.returncode, n) for n, p in enumerate(started) if p.poll()]
    # Those that were killed come first, and those that ended because another did come last.
    status, number = min(died, key=lambda d: (d[0] >= 0, d[0] == GONE), default=(0, 0))
    _await(started, GRACE_SECONDS)  # each may tell what it was doing
    _end(started, signal.SIGTERM, GRACE_SECONDS)
    if number == 0 and status >= 0 and status != GONE:  # it has told why
        return status
    with suppress(OSError):
        if number and status != GONE:
            tell((folder / str(number)).read_text(errors="replace").rstrip())
    how = f"ended with status {status}"
    if status < 0:
        how = f"was killed by signal {-status} ({signal.Signals(-status).name})"
    which = f"process {number} of {len(started)}, from 0, {how}"
    tell(f"error: {'another process has ended' if status == GONE else which}, so all have "
         f"ended. {_advice(folder, count)}")  # fmt: skip
    return 1


def _await(started: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
    """Return when all processes have ended, or after some `seconds`."""
    end = time.monotonic() + seconds
    for process in started:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, end - time.monotonic()))


def _end(started: Sequence[subprocess.Popen[bytes]], number: int, seconds: float) -> None:
    """Send a signal to the processes that have not ended, and kill them after some `seconds`."""
    for process in started:
        if process.poll() is None:
            process.send_signal(number)
    _await(started, seconds)
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def _advice(folder: Path, count: int | None) -> str:
    """Return how to go on, from the note of the first process on where it saves the run."""
    note = folder / NOTE
    place = note.read_text() if note.exists() else None
    if place is None or not steps(Path(place) / CHECKPOINTS):
        return "No checkpoint was saved: begin again."
    words = ["chainrule", "launch", *(["--processes", str(count)] if count else [])]
    return (
        f"Go on with: {shlex.join([*words, '--', 'train', '--resume', place])}; another number of "
        "processes is as good."
    )
