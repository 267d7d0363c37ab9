"""Checkpoints of a training: written beside it, checked, and read to go on from.

A folder of checkpoints holds ``training/``, which says what is trained, on which data and from
which weights, and ``step-.../`` for each checkpoint that is kept.  Each appears whole or not at
all, and with the digests of its files, so that a damaged one is told from a whole one.

Read next: :mod:`chainrule.train.resuming`.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.core.claim import claimed
from chainrule.core.durable import Content, read_folder, recover, write_file, write_folder
from chainrule.core.errors import OptionError, RunError
from chainrule.core.options import check_whole
from chainrule.core.plain import as_python
from chainrule.train.directory import (
    BREAK,
    LOCK,
    START,
    check_parent,
    how_to_go_on,
    unpack_weights,
    weights_in_parts,
)
from chainrule.train.saved_files import reading

__all__ = [
    "TABLE",
    "Checkpoint",
    "Kept",
    "Saver",
    "check_folder",
    "held",
    "newest",
    "read_start",
    "remove_all",
    "steps",
]

Array = np.ndarray[Any, Any]
TABLE = "table.txt"  # in the folder START, the name or file of the table, if one is trained on
_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often :func:`chainrule.fit` saves a training, so that it can be resumed.

    No other training can use `folder` meanwhile.  `every` is a number of epochs, or a
    time such as ``"30s"``, ``"5m"`` or ``"1h"``: then one is written in the middle of an epoch,
    too.  The newest `keep` are kept, and the newest one that had the best score of all so far.
    With `resume`, training goes on from the newest checkpoint in `folder`, if there is one.

    One is also written when training is interrupted, and when it ends; without `at_end`, a
    training that ended before its first checkpoint was due leaves none.

    `told` is how to go on, for the warning of an interruption; `files` are texts by name to keep
    beside the training.  Raises OptionError for an `every` that is neither, or not above 0.

    >>> Checkpoint("checkpoints", every="5m").seconds
    300.0
    """

    folder: str | os.PathLike[str]
    every: int | str = "60s"
    keep: int = 2
    resume: bool = False
    at_end: bool = True
    told: str | None = None
    files: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        check_whole("Checkpoint: keep", self.keep)
        if self.seconds is None:
            check_whole("Checkpoint: every", self.every)

    @property
    def seconds(self) -> float | None:
        """The time between checkpoints in seconds, None where `every` is a number of epochs."""
        if not isinstance(self.every, str):
            return None
        number = self.every.rstrip("abcdefghijklmnopqrstuvwxyz ")
        unit = self.every[len(number) :].strip()
        try:
            seconds = float(number) * _UNITS[unit]
        except (ValueError, KeyError):
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            raise OptionError(
                f"Checkpoint: every must be a number of epochs, or a time such as '30s', '5m' or "
                f"'1h', not {self.every!r}."
            )
        return seconds


@dataclass(frozen=True)
class Kept:
    """The state of a training after `step` steps: numbers `about` it, and arrays by name."""

    step: int
    about: dict[str, Any]
    arrays: dict[str, Array]
    best: bool = False  # it had just reached the best score so far

    def part(self, kind: str) -> dict[str, Array]:
        """Return the arrays whose names begin with ``kind/``, without it."""
        mark = f"{kind}/"
        return {n.removeprefix(mark): a for n, a in self.arrays.items() if n.startswith(mark)}

    def files(self) -> dict[str, Content]:
        """Return the content of the files of a checkpoint."""
        # JSON of Python: it has infinity, and floats that are read back to the last bit.
        about = {"step": self.step, "is_best": self.best, **self.about}
        return {
            "state.safetensors": weights_in_parts(self.arrays),
            "progress.json": json.dumps(about, default=as_python).encode(),
        }

    @classmethod
    def read(cls, folder: Path) -> Kept:
        """Return the checkpoint in `folder`; raises RunError if it is not whole."""
        files = read_folder(folder, ["state.safetensors", "progress.json"])
        with reading(folder / "progress.json"):
            about = json.loads(files["progress.json"])
            step, best = about.pop("step"), about.pop("is_best")
            if type(step) is not int:
                raise ValueError(f"'step' must be a number, not {step!r:.40}")
        arrays = unpack_weights(files["state.safetensors"], folder / "state.safetensors")
        return cls(step, about, arrays, best)


class Saver:
    """Write the checkpoints of one training, by a `plan`, in a thread of its own.

    `start` returns the files of the folder ``training/``; it is called before a checkpoint is
    written to a folder that lacks it.  `resumed` is the checkpoint to go on from, or None.
    """

    def __init__(
        self,
        plan: Checkpoint,
        start: Callable[[], Mapping[str, bytes]],
        resumed: Kept | None = None,
    ):
        # Absolute, because on_epoch may change the working directory.
        self.plan, self.folder, self.resumed = plan, Path(os.path.abspath(plan.folder)), resumed
        self._seconds, self._start = plan.seconds, start
        self._begun = resumed is not None
        self._last = time.monotonic()
        self._thread = ThreadPoolExecutor(1, "chainrule-checkpoint")
        self._writing: Future[None] | None = None
        self._failures = 0

    def path(self, kept: Kept) -> Path:
        """Return the folder of a checkpoint."""
        return self.folder / f"step-{kept.step:012d}"

    def due(self, epoch: int | None = None) -> bool:
        """Whether it is time for a checkpoint; `epoch` is the one that has just ended, if any."""
        if self._seconds is None:
            return epoch is not None and epoch % int(self.plan.every) == 0
        return time.monotonic() - self._last >= self._seconds

    def save(self, kept: Kept) -> None:
        """Begin to write a checkpoint, when the one before it is written."""
        if kept.about["ended"] and not self.plan.at_end and not steps(self.folder):
            return
        self.wait()
        self._last = time.monotonic()
        self._writing = self._thread.submit(self._write, kept)

    def wait(self) -> None:
        """Return when the last checkpoint is written; warn if that failed.

        Training goes on in memory then, because hours of it are worth more than the checkpoint.
        Only the first failure is told here; :meth:`close` counts them.
        """
        if self._writing is None:
            return
        writing, self._writing = self._writing, None
        try:
            writing.result()
        except Exception as error:  # on_epoch may put anything into a record
            self._failures += 1
            if self._failures > 1:
                return
            why = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}."
            warnings.warn(
                f"a checkpoint was not saved: {why} Training goes on, and earlier checkpoints "
                "are as they were.",
                stacklevel=2,
            )

    def close(self) -> None:
        """Return when the last checkpoint is written; warn of how many were not."""
        self.wait()
        if self._failures > 1:
            warnings.warn(f"{self._failures} checkpoints were not saved.", stacklevel=5)

    def advice(self) -> str:
        """Return how to go on from the last checkpoint."""
        self.wait()
        if not steps(self.folder):
            return "no checkpoint was saved."
        folder = os.fspath(self.plan.folder)
        told = self.plan.told or f"go on with chainrule.resume({folder!r})"
        return f"saved in {folder}; {told}."

    def note_break(self, epoch: int, step: int, rows: tuple[int, ...]) -> None:
        """Write down in which step, and on which rows, the numbers became infinite or undefined."""
        self.wait()
        if not steps(self.folder):
            return  # there is nothing beside which to keep it
        try:
            told = json.dumps({"epoch": epoch, "step": step, "rows": rows})
            write_file(self.folder / BREAK, told.encode())
        except OSError:
            return  # the error that is about to be raised says it, too

    def _write(self, kept: Kept) -> None:
        # One that is there at first is of a training that was killed before its first checkpoint.
        if not (self._begun and (self.folder / START).is_dir()):
            write_folder(self._start(), self.folder / START)
            self._begun = True
        write_folder(kept.files(), self.path(kept))
        self._forget()

    def _forget(self) -> None:
        """Delete all checkpoints but the newest, and the newest of those that were the best."""
        found = steps(self.folder)
        kept = found[-self.plan.keep :]
        for path in reversed(found):
            if _was_best(path):
                kept.append(path)
                break
        for path in found:
            if path not in kept:
                shutil.rmtree(path, ignore_errors=True)


def steps(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder`, the oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def remove_all(folder: Path) -> None:
    """Remove all checkpoints, the oldest first, and then `folder` with the start of the training.

    While a checkpoint is left, the training can be resumed, and so removed by its end.
    """
    for path in steps(folder):
        shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _was_best(path: Path) -> bool:
    try:
        return bool(json.loads((path / "progress.json").read_bytes())["is_best"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def check_folder(plan: Checkpoint) -> None:
    """Raise RunError if the checkpoints of a `plan` can't be written, or would mix with others."""
    folder = Path(plan.folder)
    check_parent(folder)
    if not plan.resume and ((folder / START).exists() or (folder.is_dir() and steps(folder))):
        raise RunError(
            f"{str(folder)!r} holds checkpoints of another training. Go on with that one by "
            f"chainrule.resume({str(folder)!r}), or give another folder, or delete this one."
        )


@contextmanager
def held(plan: Checkpoint | None) -> Iterator[None]:
    """Keep other trainings away from the folder of a `plan`, which is made for it.

    Raises RunError if another is under way there.  The folder is removed if nothing was saved.
    """
    if plan is None:
        yield
        return
    folder = Path(os.path.abspath(plan.folder))
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    with suppress(OSError):  # the first checkpoint says why
        folder.mkdir(parents=True, exist_ok=True)
    refusal = (
        f"another training is under way that saves its checkpoints in {os.fspath(plan.folder)!r}. "
        "Wait for its end, or give another folder."
    )
    try:
        with claimed(folder / LOCK, refusal):
            check_folder(plan)  # another may have begun and ended since it was checked first
            yield
    finally:
        with suppress(OSError):
            for path in made:
                path.rmdir()


def newest(folder: Path) -> Kept | None:
    """Return the newest whole checkpoint in `folder`, None if there is none at all.

    Warns of newer ones that are damaged.  Raises RunError if all are.
    """
    for old in folder.glob(".step-*.old"):  # put aside by a writer that was killed just then
        recover(folder / old.name[1 : -len(".old")])
    damaged: list[str] = []
    for path in reversed(steps(folder)):
        try:
            found = Kept.read(path)
        except RunError as error:
            damaged.append(str(error))
            continue
        for told in damaged:
            warnings.warn(f"{told} Going on from the one before it, {path.name}.", stacklevel=2)
        return found
    if damaged:
        config = folder / START / "config.toml"
        how = "in another folder"
        if config.is_file():
            words = shlex.join(["--config", str(config), "--out", str(folder.parent), "--force"])
            how = f"by chainrule train {words}"
        raise RunError(
            f"no checkpoint in {str(folder)!r} is whole. {damaged[0]} Begin again {how}."
        )
    return None


def read_start(folder: Path) -> dict[str, bytes]:
    """Return the files that say what is trained; raises RunError if they are missing."""
    recover(folder)
    if not (folder / START).is_dir():
        if not folder.is_dir():
            raise RunError(f"nothing can be resumed: there is no such directory, {str(folder)!r}.")
        if (how := how_to_go_on(folder)) is not None:
            raise RunError(f"{str(folder)!r} holds a training. Go on with it by {how}.")
        if (folder / "run.json").is_file():
            raise RunError(
                f"the training in {str(folder)!r} has ended; chainrule.load({str(folder)!r}) reads "
                "it."
            )
        raise RunError(
            f"{str(folder)!r} holds no checkpoint of a training: it has no folder {START!r}."
        )
    return read_folder(folder / START)
