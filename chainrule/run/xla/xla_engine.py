"""What the XLA engine offers to :mod:`chainrule.run.program`.

Read next: :mod:`chainrule.run.program`, which chooses between the engines.
"""

from __future__ import annotations

import jax

from chainrule.run.xla.compiled import values
from chainrule.run.xla.xla_function import XlaFunction
from chainrule.run.xla.xla_program import XlaProgram

__all__ = ["XlaFunction", "XlaProgram", "device_names", "values"]


def device_names() -> list[str]:
    """Return the kinds of the devices that JAX finds, with their numbers."""
    return [f"{device.device_kind} {device.id}" for device in jax.devices()]
