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
        self.offsets: dict[str, int] = {}
        total = 0
        for name, array in arrays.items():
            self.offsets[name] = total
            total += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        block = np.zeros(total + ALIGNMENT, np.uint8)
        start = -block.ctypes.data % ALIGNMENT
        self.buffer = block[start : start + total]
        self.views = dict(arrays)
        self.views = self.named(self.buffer)
        for name, array in arrays.items():
            self.views[name][...] = array

    def named(self, buffer: np.ndarray[Any, np.dtype[np.uint8]]) -> dict[str, np.ndarray[Any, Any]]:
        """Return the arrays in `buffer`, a copy of the memory of this arena, by name."""
        found = {}
        for name, like in self.views.items():
            at = self.offsets[name]
            found[name] = buffer[at : at + like.nbytes].view(like.dtype).reshape(like.shape)
        return found


def group(
    state: Mapping[str, np.ndarray[Any, Any]],
) -> tuple[dict[str, Arena], dict[str, np.ndarray[Any, Any]]]:
    """Return one arena per kind (the part of a name before the slash), and all views by name."""
    kinds: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
    for name, array in state.items():
        kinds.setdefault(name.split("/")[0], {})[name] = array
    arenas = {kind: Arena(arrays) for kind, arrays in kinds.items()}
    return arenas, {name: v for arena in arenas.values() for name, v in arena.views.items()}
