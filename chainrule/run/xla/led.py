"""Steps that several processes compute together: the first one leads, and the others follow.

What the first process makes and runs is told to the others, which make and run the same, each with
its own rows of every batch on its own devices.  It reads them from a file that all have opened, or
is told them.  So they agree on every step, whatever the clock,
the signals and the callbacks of the first process decide.

Read next: :mod:`chainrule.run.xla.xla_engine`.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from itertools import count
from typing import Any

import jax
import numpy as np

from chainrule.core.errors import ChainruleError, RunError
from chainrule.core.graph import Graph
from chainrule.run.xla.hosts import Hosts
from chainrule.run.xla.on_disk import Place, opened, place_of, placed
from chainrule.run.xla.placement import Placement
from chainrule.run.xla.xla_program import XlaProgram, stay

__all__ = ["LeadingProgram", "follow"]

Array = np.ndarray[Any, Any]
ALL = "all"  # devices, those of every process

_numbers = count()
_dropped: list[int] = []  # numbers of programs that are no longer used, which is not told yet


class LeadingProgram(XlaProgram):
    """A step of the first process, which the others compute with it."""

    def __init__(
        self,
        hosts: Hosts,
        graph: Graph,
        state: Mapping[str, Array],
        data: Mapping[str, Array],
        batch_size: int,
        shard: str | None = None,
        precision: str | None = None,
    ):
        self.hosts, self.number = hosts, next(_numbers)
        self.known: dict[str, Array] = {}  # the memory of the state, as the others have it
        stays = stay(data, Placement(ALL, shard))
        places = {name: place_of(hosts, array) for name, array in data.items()}
        # Beside an array in a file, there are only a few numbers for each row.
        self.sends = not stays and not any(places.values())
        shown = {n: (a.shape, a.dtype) if self.sends else places[n] or a for n, a in data.items()}
        more = (batch_size, ALL, stays, shard, precision)
        with hosts.lock:
            gone = [_dropped.pop() for _ in range(len(_dropped))]
            hosts.tell("make", self.number, gone, (graph, dict(state), shown, more))
            try:
                super().__init__(graph, state, data, *more)
            finally:
                heard = hosts.hear()
        weakref.finalize(self, _dropped.append, self.number)
        for (error,) in heard:
            if error is not None:
                raise RunError(f"another process can't make the step: {error}")

    def run(
        self, order: Array, batch_size: int, sums: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Run one step for each `batch_size` rows of `order`, together with the others."""
        rows = self._checked(order, batch_size)
        with self.hosts.lock:
            return self._run_with_others(rows, batch_size, sums)

    def _run_with_others(
        self, rows: Array, batch_size: int, sums: Mapping[str, float] | None
    ) -> dict[str, float]:
        held = {kind: arena.buffer for kind, arena in self.arenas.items()}
        news = {
            kind: buffer
            for kind, buffer in held.items()
            if kind not in self.known or not np.array_equal(buffer, self.known[kind])
        }
        self.known = {}
        self.hosts.tell("run", self.number, news, (rows, batch_size, sums))
        try:
            found = super().run(rows, batch_size, sums)
        except ChainruleError:  # which are ValueErrors, too, and are raised in every process
            raise
        except (ValueError, jax.errors.JaxRuntimeError) as error:  # as Gloo and NCCL tell it
            self.hosts.lost = True
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise RunError(f"another process has ended in the middle of a step ({why}).") from error
        self.known = {kind: buffer.copy() for kind, buffer in held.items()}
        return found

    def _gathered(self, rows: Array) -> dict[str, Array]:
        """Return this process's rows of the batches, and tell the others theirs if need be."""
        for number in range(1, self.hosts.count if self.sends else 0):
            own = rows[:, self.placement.own(rows.shape[1], number)]
            self.hosts.tell_one(number, {name: array[own] for name, array in self.data.items()})
        return super()._gathered(rows)


class FollowingProgram(XlaProgram):
    """The same step in another process, which reads its rows or is told them."""

    def __init__(self, hosts: Hosts, graph: Graph, state: Any, data: Any, more: tuple[Any, ...]):
        self.hosts = hosts
        self.told = any(isinstance(array, tuple) for array in data.values())
        super().__init__(graph, state, {n: self._array(a) for n, a in data.items()}, *more)

    def _array(self, told: Any) -> Array:
        if isinstance(told, Place):
            return placed(self.hosts, told)
        if isinstance(told, tuple):  # of a shape and a dtype: the first process has the rows
            return np.broadcast_to(np.zeros((), told[1]), told[0])
        array: Array = told
        return array

    def _gathered(self, rows: Array) -> dict[str, Array]:
        if not self.told:
            return super()._gathered(rows)
        (told,) = self.hosts.hear()
        found: dict[str, Array] = told
        return found


def follow(hosts: Hosts) -> None:
    """Make and run what the first process makes and runs, until it ends or tells so.

    Raises RunError if it ended without telling.
    """
    programs: dict[int, FollowingProgram] = {}
    while True:
        (told,) = hosts.hear()
        if told[0] == "end":
            return
        if told[0] == "open":
            hosts.tell(opened(hosts, *told[1:]))
            continue
        what, number, news, given = told
        if what == "make":
            for gone in news:
                programs.pop(gone, None)
            error = None
            try:
                programs[number] = FollowingProgram(hosts, *given)
            except ChainruleError as found:  # the first process raises it, too, or is told
                error = str(found)
            hosts.tell(error)
            continue
        program = programs[number]
        for kind, buffer in news.items():
            program.arenas[kind].buffer[:] = buffer
        try:
            program.run(*given)
        except ChainruleError:  # of a wrong index, which the first process raises, too
            continue
