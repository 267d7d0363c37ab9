"""Read IDX files, the format of MNIST and similar data sets.

The size of the file is checked, so that a truncated download is reported as one.
Source: http://yann.lecun.com/exdb/mnist/, "The IDX file format".

Read next: :mod:`chainrule.data.builtin`.
"""

from __future__ import annotations

import gzip
import math
import os
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import DataError

__all__ = ["read_idx"]

MOST = 1 << 32  # bytes of an unpacked file: a few that are gzipped may become any number
MOST_AXES = 32  # NumPy has arrays of 64, from version 2
_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Return the array of an IDX file, plain or gzipped, in native byte order.

    The file consists of two zero bytes, a type byte, the number of dimensions, each
    dimension as a big-endian uint32, then the values.  Raises DataError on another magic
    number, a truncated file, and bytes beyond the last value.
    """
    content = _read(Path(path))
    if len(content) < 4:
        raise DataError(f"{path} is too short for an IDX file: {len(content)} bytes.")
    zero, code, ndim = int.from_bytes(content[:2], "big"), content[2], content[3]
    if zero != 0 or code not in _DTYPES or not 1 <= ndim <= MOST_AXES:
        raise DataError(
            f"{path} is not an IDX file: its first bytes are {content[:4].hex(' ')}, "
            "not 00 00, a type, and a number of dimensions."
        )
    start = 4 + 4 * ndim
    if len(content) < start:
        raise DataError(f"{path} is truncated: it ends inside its {ndim} dimensions.")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", ndim, 4))
    dtype = np.dtype(_DTYPES[code])
    needed, found = math.prod(shape) * dtype.itemsize, len(content) - start
    if found != needed:
        word = "is truncated" if found < needed else "has bytes after its last value"
        raise DataError(
            f"{path} {word}: shape {shape} needs {needed} bytes of values, but it has {found}."
        )
    # Beside a size of 0, the others may be of any size, and NumPy multiplies them all the same.
    if math.prod(max(size, 1) for size in shape) * dtype.itemsize > sys.maxsize:
        raise DataError(f"{path} is damaged: no array can have the shape {shape}.")
    values = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="), copy=False)


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        # Check the content: a browser may have unpacked the file and kept its name.
        if content[:2] != b"\x1f\x8b":
            return content
        with gzip.open(path) as file:
            content = file.read(MOST + 1)
        if len(content) > MOST:
            raise DataError(f"{path} unpacks to more than the {MOST:,} bytes that are read.")
        return content
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path} is truncated or damaged: {error}.") from error
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.") from error
