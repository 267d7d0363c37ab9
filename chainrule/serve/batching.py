"""Predict requests that wait together: one call for all, and no waiting for others to come.

Requests that arrive in one turn of the event loop are answered by one prediction at its end, and
those that arrive during a prediction by the next one.  A short prediction runs in the event loop,
since the way to another thread and back takes longer; a long one runs in a thread, so that the
loop goes on answering.

Read next: :mod:`chainrule.serve.service`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from chainrule.serve.predicting import Asked
from chainrule.serve.request_error import RequestError

__all__ = ["Batching"]

Answer = bytes | RequestError
Waiting = tuple[Asked, "asyncio.Future[Answer]"]


class Batching:
    """The queue before a function that answers several requests at once.

    Up to `short` rows are predicted in the event loop, more in a thread.  At most `most` rows are
    predicted at once, unless one request has more, and at most `waiting` rows wait; further
    requests are refused with 503.
    """

    def __init__(
        self,
        answers: Callable[[Sequence[Asked]], list[Answer]],
        short: int,
        most: int = 4096,
        waiting: int = 100_000,
    ):
        self._answers, self._short, self._most, self._limit = answers, short, most, waiting
        self._queue: deque[Waiting] = deque()
        self._rows, self._active = 0, False
        self.thread = ThreadPoolExecutor(1, "chainrule-serve")
        self.batches = self.requests = 0

    async def answer(self, asked: Asked) -> Answer:
        """Return the answer to `asked`, predicted with whatever else waits."""
        if self._rows + len(asked) > self._limit and self._queue:
            return RequestError(503, "too many rows are waiting; try again in a second.")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._queue.append((asked, future))
        self._rows += len(asked)
        if not self._active:
            self._active = True
            loop.call_soon(self._next)
        return await future

    def _next(self) -> None:
        """Predict the next batch, in the event loop or in the thread."""
        batch: list[Waiting] = []
        rows = 0
        while self._queue and (not batch or rows + len(self._queue[0][0]) <= self._most):
            one = self._queue.popleft()
            self._rows -= len(one[0])
            if not one[1].done():  # nobody waits for it any more
                batch.append(one)
                rows += len(one[0])
        if not batch:
            self._active = False
            return
        self.batches += 1
        self.requests += len(batch)
        loop = asyncio.get_running_loop()
        if rows <= self._short:
            self._give(batch, self._found([asked for asked, _ in batch]))
            if self._queue:
                loop.call_soon(self._next)
            else:
                self._active = False
            return

        def predicted(found: asyncio.Future[list[Answer] | Exception]) -> None:
            self._give(batch, found.result())
            self._next()

        running = loop.run_in_executor(self.thread, self._found, [asked for asked, _ in batch])
        running.add_done_callback(predicted)

    def _found(self, asked: list[Asked]) -> list[Answer] | Exception:
        try:
            return self._answers(asked)
        except Exception as error:  # it is raised where the request is answered
            return error

    @staticmethod
    def _give(batch: list[Waiting], found: list[Answer] | Exception) -> None:
        for place, (_, future) in enumerate(batch):
            if future.done():
                continue
            if isinstance(found, Exception):
                future.set_exception(found)
            else:
                future.set_result(found[place])
