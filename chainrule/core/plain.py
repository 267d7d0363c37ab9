"""Numbers as JSON has them: without NaN and infinity, and those of NumPy as Python's.

Read next: :mod:`chainrule.core.options`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["as_plain", "as_python"]


def as_plain(value: Any) -> Any:
    """Return `value` for a JSON file, which has no NaN and no infinity: they become null."""
    if isinstance(value, dict):
        return {name: as_plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_python(value: Any) -> Any:
    """Return a number or an array of NumPy as those of Python; the ``default`` of json.dumps.

    Raises TypeError for anything else.
    """
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} can't be written as JSON")
