"""Let a training end at the next step when it is interrupted or terminated.

Read next: :mod:`chainrule.train.loop`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from threading import current_thread, main_thread
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Signals"]


class Signals:
    """A context in which Ctrl-C, and SIGTERM if `terminate`, only set `asked`, to the signal.

    A second one has its usual effect at once.  A SIGTERM has it at the end of the context, too,
    so that a process that is told to end does end.  Signals that are ignored, or that a program
    handles in its own way (SIGINT), are left alone; only the main thread receives any.
    """

    def __init__(self, terminate: bool):
        self.asked: int | None = None
        self._terminate = terminate
        self._usual: dict[int, Callable[..., Any] | int] = {}

    def __enter__(self) -> Signals:
        if current_thread() is main_thread():
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                self._take(signal.SIGINT)
            if self._terminate and signal.getsignal(signal.SIGTERM) not in (None, signal.SIG_IGN):
                self._take(signal.SIGTERM)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._give_back()
        if self.asked == signal.SIGTERM:
            signal.raise_signal(signal.SIGTERM)

    def _take(self, number: int) -> None:
        usual = signal.signal(number, self._note)
        assert usual is not None
        self._usual[number] = usual

    def _give_back(self) -> None:
        for number, usual in self._usual.items():
            signal.signal(number, usual)
        self._usual.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked is None:
            self.asked = number
            return
        self._give_back()
        signal.raise_signal(number)
