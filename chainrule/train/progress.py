"""Show the progress of a training: a bar on a terminal, occasional lines when piped.

Everything goes to standard error, so standard output stays the program's own.

Read next: :mod:`chainrule.train.fit`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

__all__ = ["Progress"]

QUIET_SECONDS = 1.0  # a training over sooner than this shows nothing
BESIDE_THE_BAR = 74  # columns for epoch, loss, score, rate and time left
LINE_SECONDS = 10.0  # the least time between lines when standard error is not a terminal


class Progress:
    """Tell about `epochs` epochs of `rows` rows, when `shown`; use it as a context manager."""

    def __init__(self, shown: bool, epochs: int, rows: int):
        self.shown = shown and sys.stderr is not None
        self.epochs, self.rows = epochs, rows
        self.started = time.perf_counter()
        self.last_line = self.started
        self.epoch, self.text, self.brief = 1, "", ""
        self.before = 0  # rows that were done before, in a training that goes on
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
            with self._telling():
                self.bar.stop()

    def begin(self, epoch: int, rows_done: int) -> None:
        """Note that a training goes on where `rows_done` rows of `epoch` are done."""
        self.before = (epoch - 1) * self.rows + rows_done

    def advance(self, epoch: int, rows_done: int) -> None:
        """Note that `rows_done` rows of `epoch` are done."""
        self.epoch = epoch
        if not self.shown or time.perf_counter() - self.started < QUIET_SECONDS:
            return
        if not sys.stderr.isatty():
            return
        if self.bar is None:
            with self._telling():
                self._open()
        if self.bar is None:
            return
        done = (epoch - 1) * self.rows + rows_done
        rate = (done - self.before) / (time.perf_counter() - self.started)
        with self._telling():
            self.bar.update(
                self.task,
                completed=done,
                description=f"{epoch}/{self.epochs}",
                text=self.brief,
                rate=f"{_short(rate)} rows/s",
            )

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        console = Console(stderr=True)
        bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=max(6, min(40, console.width - BESIDE_THE_BAR))),
            TextColumn("{task.fields[text]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            transient=True,
        )
        total = self.epochs * self.rows
        self.task = bar.add_task("", total=total, completed=self.before, text="", rate="")
        bar.start()
        self.bar = bar

    def finish_epoch(self, record: Mapping[str, Any]) -> None:
        """Show the numbers of an epoch that has ended."""
        if not self.shown:
            return
        aside = ("epoch", "learning_rate", "seconds", "samples_per_second", "layers")
        scores = {key: f"{key} {record[key]:.4g}" for key in record if key not in aside}
        self.text = "  ".join(scores.values())
        # Beside a bar there is room for two: the loss, and the score that comes last.
        self.brief = "  ".join(dict.fromkeys([*scores.values()][:1] + [*scores.values()][-1:]))
        now = time.perf_counter()
        late = now - self.started > QUIET_SECONDS and now - self.last_line > LINE_SECONDS
        if late and not sys.stderr.isatty():
            self.last_line = now
            done = record["epoch"] - self.before / self.rows  # since the start
            left = (now - self.started) / done * (self.epochs - record["epoch"])
            self._say(
                f"epoch {record['epoch']}/{self.epochs}  {self.text}  "
                f"{record['samples_per_second']:,.0f} rows/s  {left:,.0f} s left\n"
            )

    def tell(self, findings: Iterable[object]) -> None:
        """Print findings above the bar, whole lines each."""
        for finding in findings if self.shown else ():
            if self.bar is not None:
                with self._telling():
                    self.bar.console.print(str(finding), markup=False, highlight=False)
            else:
                self._say(f"{finding}\n")

    def remark(self, line: str) -> None:
        """Print a line for someone who waits at the terminal; a file needs none."""
        if self.shown and sys.stderr.isatty():
            self.tell([line])

    def _say(self, line: str) -> None:
        with self._telling():
            sys.stderr.write(line)
            sys.stderr.flush()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Say nothing more where that fails: no training ends because its reader went away."""
        try:
            yield
        except OSError:
            self.shown = False


def _short(rate: float) -> str:
    """Write a rate in five characters or so, because a bar's line is narrow."""
    if rate >= 999_500:
        return f"{rate / 1e6:.1f}M"
    return f"{rate:,.0f}" if rate < 10_000 else f"{rate / 1e3:.0f}k"
