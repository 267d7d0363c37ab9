"""Show how training goes: a bar on a terminal, a line now and then when piped, nothing when quick.

Everything goes to standard error, so standard output stays the program's own.

Read next: :mod:`chainrule.train.fit`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

__all__ = ["Progress"]

QUIET_SECONDS = 1.0  # a training over sooner than this shows nothing
LINE_SECONDS = 10.0  # the least time between lines when standard error is no terminal


class Progress:
    """Tell about `epochs` epochs of `rows` rows, when `shown`; use it as a context manager."""

    def __init__(self, shown: bool, epochs: int, rows: int):
        self.shown, self.epochs, self.rows = shown, epochs, rows
        self.started = time.perf_counter()
        self.last_line = self.started
        self.epoch, self.text = 1, ""
        self.bar: Any = None
        self.task: Any = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def advance(self, epoch: int, rows_done: int) -> None:
        """Note that `rows_done` rows of `epoch` are behind us."""
        self.epoch = epoch
        if not self.shown or time.perf_counter() - self.started < QUIET_SECONDS:
            return
        if not sys.stderr.isatty():
            return
        if self.bar is None:
            self._open()
        done = (epoch - 1) * self.rows + rows_done
        rate = done / (time.perf_counter() - self.started)
        self.bar.update(
            self.task,
            completed=done,
            description=f"epoch {epoch}/{self.epochs}",
            text=self.text,
            rate=f"{rate:,.0f} rows/s",
        )

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=Console(stderr=True),
            transient=True,
        )
        self.task = self.bar.add_task("", total=self.epochs * self.rows, text="", rate="")
        self.bar.start()

    def finish_epoch(self, record: Mapping[str, Any]) -> None:
        """Show the numbers of an epoch that has ended."""
        shown = [k for k in record if k not in ("epoch", "seconds", "samples_per_second")]
        self.text = "  ".join(f"{key} {record[key]:.4g}" for key in shown if key != "learning_rate")
        now = time.perf_counter()
        late = now - self.started > QUIET_SECONDS and now - self.last_line > LINE_SECONDS
        if self.shown and late and not sys.stderr.isatty():
            self.last_line = now
            left = (now - self.started) / record["epoch"] * (self.epochs - record["epoch"])
            sys.stderr.write(
                f"epoch {record['epoch']}/{self.epochs}  {self.text}  "
                f"{record['samples_per_second']:,.0f} rows/s  {left:,.0f} s left\n"
            )
            sys.stderr.flush()
