"""Arrays of other libraries: read where they lie, through ``__array__`` or DLPack.

Read next: :mod:`chainrule.data.frames`, which reads their tables.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.core.errors import ChainruleError, DataError

__all__ = ["as_array", "is_masked"]

_OURS = (np.ndarray, np.generic, list, tuple, bool, int, float, str)


def as_array(values: Any, name: str = "the array") -> Any:
    """Return an array of another library as a NumPy array, which shares its memory if it can.

    Such are the tensors of PyTorch and the arrays of JAX and pyarrow: whatever has ``__array__``
    (https://numpy.org/doc/stable/user/basics.interoperability.html) or ``__dlpack__``
    (https://dmlc.github.io/dlpack/latest/).  A pyarrow array of lists of one length, (n,) with k
    numbers each, becomes (n, k).  What NumPy reads by itself is returned as it is: its arrays,
    numbers and lists.  `name` names the array in messages.
    Raises DataError for an array that can't be read here, such as one on a GPU.

    >>> class Lent:
    ...     def __dlpack__(self, **options):
    ...         return np.arange(3.0).__dlpack__(**options)
    ...     def __dlpack_device__(self):
    ...         return 1, 0
    >>> as_array(Lent())
    array([0., 1., 2.])
    """
    if isinstance(values, _OURS):
        return values
    try:
        size = getattr(getattr(values, "type", None), "list_size", 0)  # pyarrow's, of one length
        if size and not values.null_count:
            values = values.combine_chunks() if hasattr(values, "chunks") else values
            return np.asarray(values.flatten()).reshape(len(values), size)
        if hasattr(values, "to_numpy_ndarray"):  # pyarrow's, of tensors of one shape
            return values.to_numpy_ndarray()
        if hasattr(values, "__array__"):
            return np.asarray(values)
        if hasattr(values, "__dlpack__"):
            return np.from_dlpack(values)
    except ChainruleError:  # a tensor of our own that has no value yet
        raise
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(
            f"{name} is a {type(values).__module__}.{type(values).__qualname__} that can't be read "
            f"as a NumPy array: {error}"
        ) from error
    return values


def is_masked(values: Any) -> bool:
    """Whether `values` is an array of ``np.ma`` in which a value is masked.

    Does not import ``np.ma``, which takes 0.03 s, for arrays that can't be masked.

    >>> is_masked(np.ma.masked_equal([1, 2], 2)), is_masked(np.array([1, 2]))
    (True, False)
    """
    return hasattr(values, "mask") and bool(np.ma.is_masked(values))
