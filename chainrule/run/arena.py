"""Store named arrays in one contiguous block of memory.

All arrays of one kind, such as all parameters, are views of one buffer.  They can then be
copied, saved or averaged across machines in a single operation.

Read next: :mod:`chainrule.run.program`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["Arena", "group"]

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


class Arena:
    """One aligned buffer with a copy of each of `arrays`; ``views[name]`` is a view of its copy.

    >>> arena = Arena({"w": np.ones(2), "b": np.zeros(1)})
    >>> snapshot = arena.buffer.copy()
    >>> arena.views["w"][:] = 7
    >>> arena.buffer[:] = snapshot
    >>> arena.views["w"]
    array([1., 1.])
    """

    buffer: np.ndarray[Any, np.dtype[np.uint8]]
    views: dict[str, np.ndarray[Any, Any]]

    def __init__(self, arrays: Mapping[str, np.ndarray[Any, Any]]):
        offsets, total = {}, 0
        for name, array in arrays.items():
            offsets[name] = total
            total += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        block = np.zeros(total + ALIGNMENT, np.uint8)
        start = -block.ctypes.data % ALIGNMENT
        self.buffer = block[start : start + total]
        self.views = {}
        for name, array in arrays.items():
            at = offsets[name]
            view = self.buffer[at : at + array.nbytes].view(array.dtype).reshape(array.shape)
            view[...] = array
            self.views[name] = view


def group(
    state: Mapping[str, np.ndarray[Any, Any]],
) -> tuple[dict[str, Arena], dict[str, np.ndarray[Any, Any]]]:
    """Return one arena per kind (the part of a name before the slash), and all views by name."""
    kinds: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
    for name, array in state.items():
        kinds.setdefault(name.split("/")[0], {})[name] = array
    arenas = {kind: Arena(arrays) for kind, arrays in kinds.items()}
    return arenas, {name: v for arena in arenas.values() for name, v in arena.views.items()}
