"""Numbers as JSON has them, without NaN and infinity.

Read next: :mod:`chainrule.core.options`.
"""

from __future__ import annotations

import math
from typing import Any

__all__ = ["as_plain"]


def as_plain(value: Any) -> Any:
    """Return `value` for a JSON file, which has no NaN and no infinity: they become null."""
    if isinstance(value, dict):
        return {name: as_plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
