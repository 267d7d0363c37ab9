"""The weights of a model alone, as a safetensors file that other libraries read and write.

Read next: :mod:`chainrule.train.directory`, which writes whole runs.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from chainrule.core.durable import read_file, write_file
from chainrule.nn.layer import Layer, parameters
from chainrule.train.directory import set_weights, unpack_weights, weights_in_parts

__all__ = ["load_weights", "save_weights"]


def save_weights(model: Layer, path: str | os.PathLike[str]) -> Path:
    """Write the parameters of `model` by their names, such as ``0.weight``, to a safetensors file.

    The file appears whole or not at all, and replaces another one.  Matrices of a Linear are
    (inputs, outputs); ``safetensors.numpy.load_file`` reads them.  Returns the path.
    Raises RunError where it can't be written.

    >>> import tempfile
    >>> import chainrule as cr
    >>> file = tempfile.mkdtemp() + "/weights.safetensors"
    >>> first, second = cr.nn.Linear(2, 1), cr.nn.Linear(2, 1)
    >>> first.weight.value = [[2.0], [3.0]]
    >>> load_weights(second, save_weights(first, file))
    >>> second.weight.value.tolist()
    [[2.0], [3.0]]
    """
    # Not ascontiguousarray, which would give a single number an axis.
    arrays = {name: np.asarray(p.value, order="C") for name, p in parameters(model).items()}
    write_file(Path(path), weights_in_parts(arrays))
    return Path(path)


def load_weights(model: Layer, path: str | os.PathLike[str]) -> None:
    """Set the parameters of `model` to the arrays of the same names in a safetensors file.

    Raises DamagedError, a RunError, for a file that is missing or can't be read, and where a name,
    a shape or a dtype does not fit; the model is then unchanged.
    """
    file = Path(path)
    set_weights(model, unpack_weights(read_file(file), file), file)
