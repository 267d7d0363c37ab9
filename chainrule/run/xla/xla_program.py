"""A training step as one loop that XLA compiles, over batches of rows that it gathers.

State is given away to the loop and comes back from it, so its memory is used again.  Data stay on
the devices if they fit; otherwise, the rows of the next batches are gathered and sent while the
present ones are computed.

Read next: :mod:`chainrule.run.xla.xla_function`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from chainrule.core.errors import OptionError, RunError
from chainrule.core.graph import Graph
from chainrule.core.spec import Dim
from chainrule.core.wording import counted
from chainrule.run.arena import group
from chainrule.run.plan.fuse import WATCH_EVERY, is_watched
from chainrule.run.xla.compiled import Compiled
from chainrule.run.xla.placement import Placement, size_of
from chainrule.run.xla.translate import Tracing, nodes_for, takes_bf16

__all__ = ["XlaProgram", "stay"]

Array = np.ndarray[Any, Any]
PIECE_BYTES = 2**26  # of rows that are sent at once, where the data do not stay on the devices
TOTALS = "the sums"  # among the names of the state
AHEAD = 2  # pieces that are sent before the first of them is computed


class XlaProgram:
    """A step with its state and data; see :class:`~chainrule.run.program.Program`.

    `devices` is "all" or a number; batches are split over so many, and the state, too, with `shard`
    "parameters".  `stays` says whether the data stay on them; None: if they fit.  With `precision`
    "bf16", products are computed in bfloat16.
    """

    engine = "xla"

    def __init__(
        self,
        graph: Graph,
        state: Mapping[str, Array],
        data: Mapping[str, Array],
        batch_size: int,
        devices: int | str | None = None,
        stays: bool | None = None,
        shard: str | None = None,
        precision: str | None = None,
    ):
        self.graph, self.data, self.batch_size = graph, dict(data), batch_size
        self.placement = Placement(devices, shard)
        if batch_size % len(self.placement.devices):
            raise OptionError(
                f"batch_size={batch_size} can't be divided among "
                f"{counted(len(self.placement.devices), 'device')}; choose a multiple of it."
            )
        self.arenas, self.state = group(state)
        self.where = {name: self.placement.of_state(a.shape) for name, a in self.state.items()}
        self.rows = min((len(array) for array in self.data.values()), default=0)
        self.sums = [name for name in graph.outputs if name not in state]
        self.usual = nodes_for(graph, (n for n in graph.outputs if not is_watched(n)))
        self.watched = nodes_for(graph, filter(is_watched, graph.outputs))
        self.bf16 = self._in_bf16(precision)
        stays = stay(self.data, self.placement) if stays is None else stays
        self.taken = 0
        self.placement.sizes = self._sizes(stays)
        self.placed = self.placement.put(self.data, reads=True) if stays else None
        self.codes: dict[int, Compiled] = {}
        self._code(batch_size)

    def run(
        self, order: Array, batch_size: int, sums: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Run one step for each `batch_size` rows of `order`; the last batch may be smaller."""
        rows = self._checked(order, batch_size)
        if "step" in self.state:  # which continues where a training was interrupted
            self.taken = int(self.state["step"])
        totals = np.array([sums[name] if sums else 0.0 for name in self.sums])
        if len(rows):
            totals = self._run(rows, batch_size, totals)
        return dict(zip(self.sums, totals.tolist(), strict=True))

    def explain(self) -> str:
        """Return a description of how the step is run."""
        data = f"{size_of(self.data) / 1e6:,.1f} MB of data"
        where = "stay there" if self.placed is not None else "are sent there, batches ahead"
        products = ", products in bfloat16" if self.bf16 else ""
        return (
            f"XLA on {self.placement}; one step is {len(self.usual) + len(self.watched)} "
            f"operations, which it fuses{products}; {data} {where}."
        )

    def _in_bf16(self, precision: str | None) -> bool:
        """Return whether products are to be in bfloat16; raise OptionError if none can be."""
        if precision not in (None, "bf16"):
            raise OptionError(f"precision must be 'bf16', not {precision!r}.")
        if precision and not any(takes_bf16(node) for node in (*self.usual, *self.watched)):
            raise OptionError(
                "precision='bf16' is for products of float32 numbers, and this step has none."
            )
        return precision is not None

    def made_with(self) -> dict[str, str]:
        """Return the versions that the last bits of a result may depend on."""
        return {"JAX": jax.__version__, "device": str(self.placement)}

    def _checked(self, order: Array, batch_size: int) -> Array:
        rows = np.asarray(order)
        if batch_size < 1:
            raise OptionError(f"batch_size must be positive, not {batch_size}.")
        if self.data and len(rows) and not (rows.min() >= 0 and rows.max() < self.rows):
            raise RunError(f"order contains row numbers outside 0..{self.rows - 1}.")
        return rows.astype(np.int32 if self.rows < 2**31 else np.int64)

    def _run(self, rows: Array, size: int, totals: Array) -> Array:
        """Run the steps for `rows`, set the state, and return the sums continued from `totals`."""
        whole = len(rows) // size * size
        parts = [(size, rows[start : start + self._at_once(size)])
                 for start in range(0, whole, self._at_once(size))]  # fmt: skip
        if whole < len(rows):
            parts.append((len(rows) - whole, rows[whole:]))
        state, sums = self._put(totals)
        found: list[tuple[Compiled, Any]] = []
        for size, part in parts:
            code = self._code(size)
            data, order = self._given(part, size)
            steps = len(part) // size
            (state, sums), reports = code(state, sums, data, order, steps, self.taken)
            self.taken += steps
            found.append((code, reports))
            if self.placed is None and len(found) >= AHEAD:  # or all data would be on their way
                jax.block_until_ready(found[-AHEAD][1])
        for code, reports in found:
            code.check(reports)
        for name, view in self.state.items():
            view[...] = self.placement.read(state[name])
        return np.asarray(sums)

    def _put(self, totals: Array) -> tuple[dict[str, Any], Any]:
        """Return copies of the state and of `totals` on the devices."""
        where = {**self.where, TOTALS: self.placement.whole}
        placed = self.placement.put({**self.state, TOTALS: totals}, where=where)
        return placed, placed.pop(TOTALS)

    def _sizes(self, stays: bool) -> dict[str, int]:
        """Return the bytes of what a device is given, in words."""
        found = {"parameters": 0, "state of the optimizer": 0}
        for name, array in self.state.items():
            kind = "parameters" if name.startswith("parameter/") else "state of the optimizer"
            part = self.where[name].shard_shape(array.shape)
            found[kind] += math.prod(part) * array.dtype.itemsize
        data = size_of(self.data)
        return found | {"data": data if stays else min(data, AHEAD * PIECE_BYTES)}

    def _at_once(self, size: int) -> int:
        """Return the most rows of one call, whole batches of `size`."""
        batches = max(1, -(-self.rows // size))
        if self.placed is None:
            row = max(1, size_of(self.data) // max(1, self.rows))
            last = size < self.batch_size  # the smaller batch at the end, of which there is one
            batches = 1 if last else min(batches, max(1, PIECE_BYTES // row // size))
        return batches * size

    def _given(self, part: Array, size: int) -> tuple[Any, Array]:
        """Return the data and the order of a call, as long as for all calls with this `size`."""
        order = np.zeros(self._at_once(size), part.dtype)
        order[: len(part)] = part
        if self.placed is not None:
            return self.placed, order
        return self.placement.put_batches(self._gathered(order.reshape(-1, size)), size), order

    def _gathered(self, rows: Array) -> dict[str, Array]:
        """Return the data of batches of `rows`, (batches, size): those that this process sends."""
        own = rows[:, self.placement.own(rows.shape[1])]
        return {name: array[own] for name, array in self.data.items()}

    def _code(self, size: int) -> Compiled:
        """Return the compiled loop over batches of `size` rows."""
        if size not in self.codes:
            (state, sums), placed = self._put(np.zeros(len(self.sums))), self.placed
            if placed is None:
                rows = np.zeros((self._at_once(size) // size, size), np.int32)
                placed = self.placement.put_batches(XlaProgram._gathered(self, rows), size)
            order = np.zeros(self._at_once(size), self._checked(np.zeros(0, int), 1).dtype)
            loop = self._loop(size)
            examples = [state, sums, placed, order, 0, 0]
            self.codes[size] = Compiled(loop, examples, (0, 1), self.placement.sizes)
        return self.codes[size]

    def _loop(self, size: int) -> Any:
        """Return the function that runs a number of steps, as :class:`Compiled` takes it."""
        inputs, outputs = self.graph.inputs, self.graph.outputs
        lengths: dict[Dim, int] = {}
        for name, array in self.data.items():
            like = jax.ShapeDtypeStruct((size, *array.shape[1:]), array.dtype)
            inputs[name].spec.bind(like, lengths, name)
        most = sum(node.primitive.indexed for node in self.usual)
        split, where, keep = self.placement.split, self.where, lax.with_sharding_constraint
        stays = self.placed is not None

        def step(state: Any, batch: Any, watching: Any) -> tuple[Any, Any, Tracing]:
            given = {inputs[name]: value for name, value in (state | batch).items()}
            tracing = Tracing(given, lengths, self.bf16)
            tracing.evaluate(self.usual)
            fresh = {
                name: keep(jnp.broadcast_to(tracing.output(outputs[name]), old.shape), where[name])
                for name, old in state.items()
            }
            added = {n: self._number(tracing, n) for n in self.sums if not is_watched(n)}
            if self.watched:
                names = [name for name in self.sums if is_watched(name)]

                def look() -> dict[str, Any]:
                    seen = Tracing(dict(tracing.table), lengths, self.bf16)
                    seen.evaluate(self.watched)
                    return {name: self._number(seen, name) for name in names}

                nothing = dict.fromkeys(names, jnp.zeros((), np.float64))
                added |= lax.cond(watching, look, lambda: nothing)
            return fresh, added, tracing

        def loop(
            state: Any, sums: Any, data: Any, order: Any, steps: Any, taken: Any
        ) -> tuple[Any, Tracing, Any]:
            tracings: list[Tracing] = []

            def body(k: Any, carried: Any) -> Any:
                state, sums, reports = carried
                if stays:
                    rows = split(lax.dynamic_slice_in_dim(order, k * size, size))
                    batch = {n: a.at[rows].get(mode="promise_in_bounds") for n, a in data.items()}
                else:  # the batches of the call, in their order
                    batch = {n: lax.dynamic_index_in_dim(a, k, 0, False) for n, a in data.items()}
                fresh, added, tracing = step(state, batch, (taken + k) % WATCH_EVERY == 0)
                tracings.append(tracing)
                sums += jnp.array([added[name] for name in self.sums], np.float64)
                new = jnp.full((most, 2), -1).at[: len(tracing.checks)].set(tracing.reports)
                return fresh, sums, jnp.where(reports[:, :1] >= 0, reports, new)

            carried = state, sums, jnp.full((most, 2), -1)
            state, sums, reports = lax.fori_loop(0, steps, body, carried)
            tracing = tracings[-1]
            return (state, sums), tracing, reports[: len(tracing.checks)]

        return loop

    def _number(self, tracing: Tracing, name: str) -> Any:
        """Return an output that is summed over steps, as float64."""
        return tracing.output(self.graph.outputs[name]).reshape(()).astype(np.float64)


def stay(data: Mapping[str, Array], placement: Placement) -> bool:
    """Return whether `data` stay on the devices: if they fit, and are not on disk."""
    disk = any(map(_on_disk, data.values()))
    return not disk and placement.fits(size_of(data))


def _on_disk(array: Any) -> bool:
    """Return whether an `array` is memory-mapped, or a view of one that is, as of `asarray`."""
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    return isinstance(array, np.memmap)
