"""The devices that XLA computes on, what is placed where, and whether there is memory for it.

Rows of a batch are split over a mesh of devices, and everything else is on each of them, unless
parameters and the state of the optimizer are split too; XLA divides the computation accordingly.
Sums over rows, such as the gradients and the mean of a batch, are therefore those of the whole
batch.

Read next: :mod:`chainrule.run.xla.compiled`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from chainrule.core.errors import OptionError, RunError
from chainrule.core.wording import counted
from chainrule.run.xla.translate import all_bits

__all__ = ["Placement", "size_of", "told_of_memory"]

Array = np.ndarray[Any, Any]
SHARE = 0.5  # of the memory of a device, which data that stay on it may take


class Placement:
    """Where arrays are: on one device, or on several, "all" or the first `devices` of them.

    With `shard` "parameters", arrays of the state are split as :meth:`of_state` says.
    """

    def __init__(self, devices: int | str | None = None, shard: str | None = None):
        if shard not in (None, "parameters"):
            raise OptionError(f"shard must be 'parameters', not {shard!r}.")
        if shard is not None and devices is None:
            raise OptionError(
                "shard='parameters' splits them among devices; give devices='all' or a number."
            )
        found = jax.devices()
        count = len(found) if devices == "all" else 1 if devices is None else devices
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise OptionError(f"devices must be 'all' or a number of devices, not {devices!r}.")
        if count > len(found):
            raise OptionError(
                f"devices={count}, but JAX finds {counted(len(found), 'device')}: "
                f"{', '.join(map(str, found[:8]))}."
            )
        self.devices = found[:count]
        self.whole: Sharding = SingleDeviceSharding(found[0])
        self.rows: Sharding = self.whole
        self.batches: Sharding = self.whole
        self.shard = shard
        self.sizes: dict[str, int] = {}  # what a device is given, for an error
        if count > 1:
            self.mesh = Mesh(np.array(self.devices), ("rows",))
            self.whole = NamedSharding(self.mesh, PartitionSpec())
            self.rows = NamedSharding(self.mesh, PartitionSpec("rows"))
            self.batches = NamedSharding(self.mesh, PartitionSpec(None, "rows"))

    def __str__(self) -> str:
        kind = self.devices[0].device_kind
        split = ", parameters split" if self.shard else ""
        return f"{counted(len(self.devices), 'device')} ({kind}{split})"

    def put(
        self,
        arrays: Mapping[str, Array],
        reads: bool = False,
        where: Mapping[str, Sharding] | None = None,
    ) -> dict[str, Any]:
        """Return `arrays` on every device: copies, which may be given away to a function.

        With `reads` they are only read, and a processor does so where they are.  `where` says how
        they are split, by name.
        """
        with all_bits(), told_of_memory(self.sizes or {"arrays": size_of(arrays)}):
            if not self.whole.is_fully_addressable:  # each process puts it on devices of its own
                return {
                    name: jax.make_array_from_callback(
                        array.shape,
                        self.whole if where is None else where[name],
                        lambda part, a=array: a[part] if reads else a[part].copy(),
                    )
                    for name, array in arrays.items()
                }
            alias = None if reads else False
            to = self.whole if where is None else dict(where)
            placed: dict[str, Any] = jax.device_put(dict(arrays), to, may_alias=alias)
        return placed

    def of_state(self, shape: tuple[int, ...]) -> Sharding:
        """Return how an array of the state is placed: the last axis that divides is split.

        These are the columns of a weight (inputs, outputs), so the units of a layer.
        """
        count = len(self.devices)
        axes = [k for k, length in enumerate(shape) if length and length % count == 0]
        if self.shard is None or count == 1 or not axes:
            return self.whole
        return NamedSharding(self.mesh, PartitionSpec(*[None] * axes[-1], "rows"))

    def read(self, placed: Any) -> Array:
        """Return an array of the devices, those of other processes included."""
        if placed.is_fully_addressable or placed.is_fully_replicated:
            return np.asarray(placed)
        return np.asarray(process_allgather(placed, tiled=True))

    def own(self, size: int, process: int | None = None) -> slice:
        """Return which rows of a batch of `size` are on devices of a `process`, None: this one."""
        count = len(self.devices)
        if size % count:
            return slice(0, size)
        process = jax.process_index() if process is None else process
        own = [i for i, d in enumerate(self.devices) if d.process_index == process]
        return slice(own[0] * size // count, (own[-1] + 1) * size // count)

    def put_batches(self, arrays: Mapping[str, Array], size: int) -> dict[str, Any]:
        """Return batches of `size` rows with each device having its own rows of each batch.

        `arrays` have the shape (batches, own rows, ...): those that :meth:`own` names.
        """
        sharding = self.whole if size % len(self.devices) else self.batches
        with all_bits(), told_of_memory(self.sizes or {"arrays": size_of(arrays)}):
            return {
                name: jax.make_array_from_process_local_data(
                    sharding, a, (len(a), size, *a.shape[2:])
                )
                for name, a in arrays.items()
            }

    def split(self, rows: Any) -> Any:
        """Return an array of rows with each device having some; with all, if it does not divide."""
        if len(self.devices) == 1:
            return rows
        divides = rows.shape[0] % len(self.devices) == 0
        return jax.lax.with_sharding_constraint(rows, self.rows if divides else self.whole)

    def fits(self, size: int) -> bool:
        """Whether `size` bytes may stay on each device."""
        known = self.devices[0].memory_stats() or {}  # none for a processor
        return bool(size <= SHARE * known.get("bytes_limit", np.inf))


@contextmanager
def told_of_memory(sizes: Mapping[str, int]) -> Iterator[None]:
    """Raise RunError if a device has too little memory; `sizes` are bytes of what it is given."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        given = ", ".join(f"{size / 1e6:,.1f} MB of {what}" for what, size in sizes.items())
        raise RunError(
            f"a device has not enough memory: it is given {given}, and XLA needs more for what it "
            f"computes from them ({str(error).splitlines()[0]}). Use smaller batches or a smaller "
            "network; where the parameters and the optimizer take most, divide them among devices "
            "(devices='all', shard='parameters')."
        ) from error


def size_of(arrays: Any) -> int:
    """Return the bytes of all `arrays`, at any depth of lists and dicts."""
    return sum(
        a.size * a.dtype.itemsize
        for a in jax.tree.leaves(dict(arrays) if isinstance(arrays, Mapping) else arrays)
        if hasattr(a, "dtype")
    )
