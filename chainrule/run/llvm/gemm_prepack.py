"""Arrange a matrix B for products once, so that they need not copy it again in each call.

The panels of columns, which a product reads from the first row to the last, follow one another in
memory.  The last one is filled up with zeros to whole vectors.

Read next: :mod:`chainrule.run.llvm.gemm`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.run.llvm.gemm_plan import Plan

__all__ = ["arranged", "restored"]

Array = np.ndarray[Any, Any]


def arranged(plan: Plan, matrix: Array) -> Array:
    """Return the elements of a matrix [k, n] in the order in which the product reads them."""
    parts = []
    for run in plan.panels:
        width = run.vectors * plan.lanes
        columns = matrix[:, run.start : run.start + run.count * width]
        missing = run.count * width - columns.shape[1]
        whole = np.pad(columns, ((0, 0), (0, missing))).reshape(plan.k, run.count, width)
        parts.append(whole.transpose(1, 0, 2).ravel())
    return np.concatenate(parts)


def restored(plan: Plan, elements: Array) -> Array:
    """Return the matrix [k, n] that :func:`arranged` was given."""
    parts, start = [], 0
    for run in plan.panels:
        width = run.vectors * plan.lanes
        end = start + run.count * plan.k * width
        whole = elements[start:end].reshape(run.count, plan.k, width)
        parts.append(whole.transpose(1, 0, 2).reshape(plan.k, run.count * width))
        start = end
    return np.concatenate(parts, axis=1)[:, : plan.n]
