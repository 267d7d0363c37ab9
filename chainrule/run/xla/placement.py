"""The devices that XLA computes on, what is placed where, and whether there is memory for it.

Rows of a batch are split over a mesh of devices, and everything else is on each of them; XLA
divides the computation accordingly.  Sums over rows, such as the gradients and the mean of a
batch, are therefore those of the whole batch.

Read next: :mod:`chainrule.run.xla.compiled`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from chainrule.core.errors import OptionError, RunError
from chainrule.core.wording import counted
from chainrule.run.xla.translate import all_bits

__all__ = ["Placement", "size_of", "told_of_memory"]

Array = np.ndarray[Any, Any]
SHARE = 0.5  # of the memory of a device, which data that stay on it may take


class Placement:
    """Where arrays are: on one device, or on several, "all" or the first `devices` of them."""

    def __init__(self, devices: int | str | None = None):
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
        if count > 1:
            mesh = Mesh(np.array(self.devices), ("rows",))
            self.whole = NamedSharding(mesh, PartitionSpec())
            self.rows = NamedSharding(mesh, PartitionSpec("rows"))
            self.batches = NamedSharding(mesh, PartitionSpec(None, "rows"))

    def __str__(self) -> str:
        kind = self.devices[0].device_kind
        return f"{counted(len(self.devices), 'device')} ({kind})"

    def put(self, arrays: Mapping[str, Array], reads: bool = False) -> dict[str, Any]:
        """Return `arrays` on every device: copies, which may be given away to a function.

        With `reads` they are only read, and a processor does so where they are.
        """
        with all_bits(), told_of_memory(size_of(arrays)):
            if not self.whole.is_fully_addressable:  # each process puts it on devices of its own
                return {
                    name: jax.make_array_from_process_local_data(
                        self.whole, a if reads else a.copy(), a.shape
                    )
                    for name, a in arrays.items()
                }
            alias = None if reads else False
            placed: dict[str, Any] = jax.device_put(dict(arrays), self.whole, may_alias=alias)
        return placed

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
        with all_bits(), told_of_memory(size_of(arrays)):
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
def told_of_memory(given: int) -> Iterator[None]:
    """Raise RunError if a device has too little memory for arguments of `given` bytes."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise RunError(
            f"a device has not enough memory: {given / 1e6:,.0f} MB of parameters, state and data "
            "are given to it, and XLA needs more for what it computes from them "
            f"({str(error).splitlines()[0]}). Use smaller batches or a smaller network."
        ) from error


def size_of(arrays: Any) -> int:
    """Return the bytes of all `arrays`, at any depth of lists and dicts."""
    return sum(
        a.size * a.dtype.itemsize
        for a in jax.tree.leaves(dict(arrays) if isinstance(arrays, Mapping) else arrays)
        if hasattr(a, "dtype")
    )
