"""The graph rewrites that are applied before native compilation, in order.

Read next: :mod:`chainrule.run.plan.fuse`, which turns the last graph into kernels.
"""

from __future__ import annotations

from collections.abc import Callable

from chainrule.core.graph import Graph
from chainrule.run.plan.lower import lower
from chainrule.run.plan.moves import spread
from chainrule.transform.simplify import simplify

__all__ = ["PASSES"]

PASSES: tuple[Callable[[Graph], Graph], ...] = (lower, simplify, spread)
