"""Whether a checkpoint fits a training, found out before anything of the training is set to it.

Read next: :mod:`chainrule.train.checkpoint`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from chainrule.train.checkpoint import Kept

__all__ = ["check_kept"]

Array = np.ndarray[Any, Any]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_sums(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


def _is_records(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(record, dict) for record in value)


def _is_optional(kind: type) -> Callable[[Any], bool]:
    return lambda value: value is None or isinstance(value, kind)


# The entries of progress.json: what each must be, in words and as a test.
ENTRIES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "ended": ("true or false", lambda value: isinstance(value, bool)),
    "epoch": ("a positive number", lambda value: _is_count(value) and value > 0),
    "done": ("a number of rows", _is_count),
    "sums": ("an object of numbers", _is_sums),
    "seconds": ("a number", _is_number),
    "best": ("a number", _is_number),
    "best_epoch": ("an epoch", _is_count),
    "counted": ("a number", _is_number),
    "counted_epoch": ("an epoch", _is_count),
    "rates": ("an object", lambda value: isinstance(value, dict)),
    "stopped": ("a text or null", _is_optional(str)),
    "history": ("a list of records", _is_records),
    "course": ("an object or null", _is_optional(dict)),
}


def check_kept(
    kept: Kept, arrays: Mapping[str, Array], epochs: int, rows: int, sums: Collection[str]
) -> None:
    """Raise ValueError unless `kept` is of a training of `epochs` epochs of `rows` rows.

    `arrays` are those of its state and its best weights, and `sums` the names of what it sums.
    """
    about = kept.about
    for name, (what, fits) in ENTRIES.items():
        if name not in about or not fits(about[name]):
            raise ValueError(f"{name!r} must be {what}, not {about.get(name)!r:.40}")
    if about["epoch"] > epochs + 1 or about["done"] >= rows:
        raise ValueError(
            f"{about['done']} rows of epoch {about['epoch']} are done, of {rows} rows and {epochs} "
            "epochs"
        )
    if set(about["sums"]) != (set(sums) if about["done"] else set()):
        raise ValueError(f"'sums' has {', '.join(about['sums']) or 'nothing'}")
    found = {n: a for n, a in kept.arrays.items() if not n.startswith("descent/")}
    if odd := sorted(set(found) ^ set(arrays)):
        raise ValueError(f"its arrays do not fit the training: {odd[0]:.60}")
    for name, array in arrays.items():
        there = found[name]
        if (there.shape, there.dtype) != (array.shape, array.dtype):
            raise ValueError(
                f"{name!r} has shape {array.shape} and {array.dtype} in the training, and "
                f"{there.shape} and {there.dtype} in the checkpoint"
            )
