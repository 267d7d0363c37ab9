"""What the XLA engine offers to :mod:`chainrule.run.program`.

Read next: :mod:`chainrule.run.program`, which chooses between the engines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from chainrule.core.graph import Graph
from chainrule.run.xla.compiled import values
from chainrule.run.xla.hosts import joined, leading
from chainrule.run.xla.led import LeadingProgram, follow
from chainrule.run.xla.on_disk import share
from chainrule.run.xla.xla_function import XlaFunction
from chainrule.run.xla.xla_program import XlaProgram

__all__ = [
    "XlaFunction", "XlaProgram", "device_names", "follow", "joined", "program", "share", "values",
]  # fmt: skip

Array = np.ndarray[Any, Any]


def device_names() -> list[str]:
    """Return the kinds of the devices that JAX finds, with their numbers."""
    return [f"{device.device_kind} {device.id}" for device in jax.devices()]


def program(
    graph: Graph,
    state: Mapping[str, Array],
    data: Mapping[str, Array],
    batch_size: int,
    devices: int | str | None = None,
    shard: str | None = None,
    precision: str | None = None,
) -> XlaProgram:
    """Return the step on `devices`; on all those of every process if this one leads others."""
    hosts = leading()
    if hosts is None or devices is None:
        return XlaProgram(graph, state, data, batch_size, devices, shard=shard, precision=precision)
    return LeadingProgram(hosts, graph, state, data, batch_size, shard, precision)
