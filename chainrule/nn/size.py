"""The check that every layer makes of the sizes it is given.

Enters what the user wrote, leaves a plain integer; it stands alone so that layers and
activations refuse with the same words.

Read next: :mod:`chainrule.nn.layer`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.core.errors import OptionError

__all__ = ["check_size"]


def check_size(name: str, size: Any, least: int = 1) -> int:
    """Return `size` as a plain integer, which JSON holds; NumPy's integers are welcome.

    Raises OptionError with the `name` for what is no integer of at least `least`.
    """
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < least:
        kind = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise OptionError(f"{name} must be {kind}, not {size!r}.")
    return int(size)
