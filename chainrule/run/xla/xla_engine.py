"""What the XLA engine offers to :mod:`chainrule.run.program`.

Read next: :mod:`chainrule.run.program`, which chooses between the engines.
"""

from __future__ import annotations

from chainrule.run.xla.compiled import values

__all__ = ["values"]
