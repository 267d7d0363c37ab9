"""Run compiled code: memory, threads, and stops for the interpreter.

Read next: :mod:`chainrule.run.llvm.native`.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Barrier, current_thread, main_thread
from time import perf_counter
from typing import Any

import numpy as np

from chainrule.core.errors import ShapeError
from chainrule.core.graph import Node
from chainrule.core.spec import Dim, dims_in, resolve
from chainrule.core.wording import counted
from chainrule.run.arena import Arena
from chainrule.run.llvm.code import NativeCode
from chainrule.run.llvm.pace import Pace
from chainrule.run.plan.fuse import WATCH_EVERY
from chainrule.run.plan.slots import SCALAR_BYTES, SCALARS_A_THREAD, Slots

__all__ = ["Caller"]

Array = np.ndarray[Any, Any]


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Defer Ctrl-C until the end of the block; only the main thread receives it."""
    if current_thread() is not main_thread():
        yield
        return
    usual = signal.getsignal(signal.SIGINT)
    if usual is None:  # a handler that was not set from Python and can't be restored
        yield
        return
    held: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        for number in held:  # a second one may mean more than the first
            signal.raise_signal(number)


def address_of(array: Array) -> int:
    """Return the address of the first element, a microsecond faster than ``array.ctypes``."""
    address: int = array.__array_interface__["data"][0]
    return address


def _run_steps(
    steps: Callable[..., None], given: tuple[int, ...], threads: int, place: int, thread: int
) -> None:
    steps(*given, thread, threads, place)


def _timed(work: Callable[[int], None], thread: int) -> float:
    """Call ``work(thread)`` and return when it began."""
    began = perf_counter()
    work(thread)
    return began


def _on_thread(
    level: Callable[..., None], given: tuple[int, ...], threads: int
) -> Callable[[int], None]:
    return lambda i: level(*given, i, threads)


class Caller:
    """Compiled code with its memory and its threads.

    `choices` are numbers of threads, of which the fastest is used; the results are the same
    for each.
    """

    def __init__(self, code: NativeCode, *choices: int):
        self.code, self.threads = code, max(choices)
        self._choices = choices
        self.pace = Pace(choices, code.fastest.get(choices))
        self.taken = 0  # steps so far; watched outputs are computed in every tenth
        self._starting = 0.0  # seconds until all threads of the last turn had started
        threads = self.threads
        self.arrays: dict[str, Array] = {}
        self.leaf_names = {node: name for name, node in code.graph.inputs.items()}
        slots: Slots = code.slots
        block = Arena({"buffers": np.zeros(code.memory.size, np.uint8)}).buffer
        self.buffers: dict[Node, Array] = {}
        for node, at in code.memory.offsets.items():
            shape = [code.capacity if isinstance(d, Dim) else d for d in node.spec.shape]
            size = math.prod(shape) * node.spec.dtype.itemsize
            self.buffers[node] = block[at : at + size].view(node.spec.dtype).reshape(shape)
        self.sums = np.zeros(max(1, len(slots.sums)))
        self.scratch = Arena(
            {
                "scalars": np.zeros(threads * SCALARS_A_THREAD * SCALAR_BYTES, np.uint8),
                "workspace": np.zeros(threads * max(64, slots.workspace), np.uint8),
            }
        )
        arrays = [self.buffers[node] for node in slots.buffers]
        arrays += [getattr(wiring, name) for wiring, name in slots.tables]
        arrays += [self.sums, self.scratch.views["scalars"], self.scratch.views["workspace"]]
        self.faults = np.zeros((max(1, len(slots.checked)), 3), np.int64)
        arrays.append(self.faults)
        places = [address_of(a) for a in arrays]
        self.table = np.array([0] * len(slots.arrays) + places, np.uint64)
        self.arrivals = Arena({"arrivals": np.zeros(64, np.int32)}).views["arrivals"]
        self.places = (address_of(self.table), address_of(self.arrivals))
        self.natural = np.arange(code.capacity)  # row numbers in their original order
        self.natural_at = address_of(self.natural)
        self._pool: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    def give(self, name: str, array: Array) -> None:
        """Make `array` the input `name`, which the code reads and, for state, writes."""
        if self.arrays.get(name) is not array:
            self.arrays.pop(name, None)  # a Ctrl-C in between must not leave a wrong pair
            self.table[self.code.slots.arrays[name]] = address_of(array)
            self.arrays[name] = array

    def __call__(
        self, order: Array, batch_size: int, sums: Mapping[str, float] | None = None
    ) -> None:
        """Run one step for each `batch_size` row numbers of `order` (int64); continue `sums`."""
        self.sums.fill(0)
        if sums:
            for name, at in self.code.slots.sums.items():
                self.sums[at] = sums[name]
        for start, rows, threads in self._turns(len(order), batch_size):
            if self.code.steps is None:
                self._step_with_stops(order[start : start + rows], threads)
            else:
                self.arrivals.fill(0)
                place = address_of(order) + start * order.itemsize
                given = (self.places[0], place, rows, batch_size, self.taken)
                steps, arrivals = self.code.steps, self.places[1]
                work = partial(_run_steps, steps, given, threads, arrivals)
                self._starting = self._together(work, threads)
                self.taken += -(-rows // batch_size)
        self.check_faults()

    def _turns(self, rows: int, batch_size: int) -> Iterator[tuple[int, int, int]]:
        """Divide `rows` into runs of whole batches: the start, the rows and the threads of each."""
        start, steps = 0, -(-rows // batch_size)
        while start < rows:
            threads, most = self.pace.turn(steps)
            if self.code.steps is None:
                most = 1
            count = min(most * batch_size, rows - start)
            began = perf_counter()
            yield start, count, threads
            self.pace.note(-(-count // batch_size), perf_counter() - began, self._starting)
            start += count
        if self.pace.decided:
            self.code.fastest[self._choices] = self.pace.chosen

    def step(self, rows: int) -> None:
        """Run one step for the first `rows` rows on this thread, with the least overhead."""
        if self.code.steps is None:
            self(self.natural[:rows], max(1, rows))
            return
        if self.code.slots.sums:
            self.sums.fill(0)
        table, arrivals = self.places
        self.code.steps(table, self.natural_at, rows, self.code.capacity, 0, 0, 1, arrivals)
        self.check_faults()

    def check_faults(self) -> None:
        """Raise ShapeError for an index that was out of range."""
        if not (self.code.slots.checked and self.faults[:, 0].any()):
            return
        at = int(np.flatnonzero(self.faults[:, 0])[0])
        node, (_, index, rows) = self.code.slots.checked[at], self.faults[at].tolist()
        self.faults.fill(0)
        layer = f" in layer {node.scope!r}" if node.scope else ""
        raise ShapeError(
            f"{node.primitive.name}{layer}: index {index} is out of range for "
            f"{counted(rows, 'row')}. Recorded at {node.line}."
        )

    def _together(self, work: Callable[[int], None], threads: int) -> float:
        """Call ``work(thread)`` on all threads, wait for them, and return how late they began."""
        if threads == 1:
            work(0)
            return 0.0
        # An interrupt here would leave the threads waiting for one another forever.
        with _interrupts_later():
            began = perf_counter()
            helpers = [self._crew().submit(_timed, work, i) for i in range(1, threads)]
            work(0)
            return max(helper.result() for helper in helpers) - began

    # --- steps that stop for the interpreter -------------------------------------------------

    def _step_with_stops(self, rows: Array, threads: int) -> None:
        """Run one step level by level; the interpreter computes nodes without native code."""
        known: dict[Node, Array] = {}
        given = (self.places[0], address_of(rows), len(rows))
        watching = self.taken % WATCH_EVERY == 0
        self.taken += 1
        kernels = [*self.code.schedule.levels, []]
        entries = zip(self.code.levels, self.code.watched_levels, kernels, strict=True)
        for level, watched, members in entries:
            for entry in (level, watched) if watching else (level,):
                self._together(_on_thread(entry, given, threads), threads)
            for kernel in members:
                if kernel.kind == "reference" and (watching or not kernel.watched):
                    node = kernel.nodes[0]
                    known[node] = self._interpret(node, rows, known)
                    if node in kernel.stores:
                        self._block(node, len(rows))[...] = known[node]

    def _interpret(self, root: Node, rows: Array, known: dict[Node, Array]) -> Array:
        """Evaluate `root` from `known` values and values in memory."""
        values = dict(known)
        pending, needed = [root], set()
        while pending:
            node = pending.pop()
            if node in needed or node in values:
                continue
            found = self._in_memory(node, rows) if node is not root else None
            if found is not None:
                values[node] = found
                continue
            needed.add(node)
            pending.extend(node.inputs)
        dims = {d: len(rows) for n in self.code.graph.nodes for d in dims_in(n.spec.shape)}
        with np.errstate(all="ignore"):
            for node in sorted(needed, key=lambda n: n.serial):
                params = {key: resolve(value, dims) for key, value in node.params.items()}
                meaning = node.primitive.meaning(*(values[i] for i in node.inputs), **params)
                values[node] = np.asarray(meaning, node.spec.dtype)
        return values[root]

    def _in_memory(self, node: Node, rows: Array) -> Array | None:
        """Return the value of a leaf or of a stored node; None for any other node."""
        name = self.leaf_names.get(node)
        if name is not None:
            array = self.arrays[name]
            return array[rows] if dims_in(node.spec.shape) else array
        stored = node in self.code.slots.buffers or node in self.code.schedule.in_place
        return self._block(node, len(rows)) if stored else None

    def _block(self, node: Node, rows: int) -> Array:
        """Return the memory of a stored node in the node's shape, for a batch of `rows`."""
        shape = tuple(rows if isinstance(d, Dim) else d for d in node.spec.shape)
        if node in self.code.schedule.in_place:
            return self.arrays[self.code.schedule.in_place[node][0]].reshape(shape)
        return self.buffers[node].reshape(-1)[: math.prod(shape)].reshape(shape)

    def totals(self) -> dict[str, float]:
        """Return the sums of the last call by name."""
        return {name: float(self.sums[at]) for name, at in self.code.slots.sums.items()}

    def _crew(self) -> ThreadPoolExecutor:
        # A forked child inherits the pool object, but not its threads.
        if self._pool is None or self._process != os.getpid():
            count = max(1, self.threads - 1)
            self._pool = ThreadPoolExecutor(count, "chainrule")
            self._process = os.getpid()
            # Start all threads before one of them can wait for the others.
            started = Barrier(count + 1)
            try:
                for _ in range(count):
                    self._pool.submit(started.wait)
            except RuntimeError:
                started.abort()
                self._pool = None
                raise
            started.wait()
        return self._pool
