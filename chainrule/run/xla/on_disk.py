"""Arrays in files that every process reads by itself, so that their rows need not be sent.

Read next: :mod:`chainrule.run.xla.led`.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.errors import RunError
from chainrule.run.xla.hosts import Hosts

__all__ = ["Place", "opened", "place_of", "placed", "share"]

Array = np.ndarray[Any, Any]
LOOKED_AT = 64  # rows that are compared when a process has opened a file


@dataclass(frozen=True)
class Place:
    """Where an array is: at so many bytes after the start of the array of a file."""

    path: str
    start: int
    shape: tuple[int, ...]
    kind: str


def share(hosts: Hosts, array: Array) -> None:
    """Let all other processes open the file of an `array`, if it is memory-mapped from one.

    The file may be unlinked afterwards, and stays on disk until the processes end.

    Raises RunError, with path and process, if one of them can't read it.
    """
    if not isinstance(array, np.memmap) or array.filename is None:
        return
    array.flush()  # to where other machines read it
    path = os.fspath(array.filename)
    with hosts.lock:
        hosts.tell("open", path, (array.offset, array.shape, array.dtype.str), _mark(array))
        heard = hosts.hear()
    for number, (error,) in zip(hosts.connections, heard, strict=True):
        if error is not None:
            raise RunError(
                f"process {number} of {hosts.count}, from 0, can't read its rows of the encoded "
                f"table in {path}: {error}. Set TMPDIR to a folder that all processes see, or "
                "train without --stream."
            )
    hosts.files[path] = array


def opened(
    hosts: Hosts, path: str, what: tuple[int, tuple[int, ...], str], mark: int
) -> str | None:
    """Open the file that the first process shares; return why it can't be read, None if it can."""
    offset, shape, kind = what
    try:
        array = np.memmap(path, kind, "r", offset, shape)
    except (OSError, ValueError) as error:  # ValueError for a file that is too short
        return getattr(error, "strerror", None) or str(error)
    if _mark(array) != mark:
        return "its content is not that of the first process"
    hosts.files[path] = array
    return None


def place_of(hosts: Hosts, array: Array) -> Place | None:
    """Return where an `array` is in a file that all processes have opened, None if in none."""
    if not array.flags.c_contiguous:
        return None
    for path, whole in hosts.files.items():
        start = array.ctypes.data - whole.ctypes.data
        if 0 <= start <= whole.nbytes - array.nbytes:
            return Place(path, start, array.shape, array.dtype.str)
    return None


def placed(hosts: Hosts, place: Place) -> Array:
    """Return the array at a `place`, memory-mapped."""
    return np.ndarray(place.shape, place.kind, hosts.files[place.path], place.start)


def _mark(array: Array) -> int:
    """Return a checksum of some rows, the first and the last among them."""
    some = np.linspace(0, len(array) - 1, min(LOOKED_AT, len(array))).astype(int)
    return zlib.crc32(np.ascontiguousarray(array[some]).tobytes())
