"""Encode a table larger than memory into memory-mapped arrays for training.

The table is encoded once, block by block.  Training can then read rows in a random order over
the whole table, which is not possible if the file is read in blocks.

Read next: :mod:`chainrule.data.pipeline`.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import DataError
from chainrule.data.columns import Roles, as_said, choose_target, said_writing
from chainrule.data.encode import CategoryEncoder
from chainrule.data.fitting import CHUNK
from chainrule.data.pipeline import Pipeline, fit_encoders
from chainrule.data.preprocess import Preprocessing, plan
from chainrule.data.read import StoredTable, check_source, is_query, store_table
from chainrule.data.scaling import Scaler
from chainrule.data.splits import split_parts
from chainrule.data.table import Column, column_from_text
from chainrule.data.target import (
    Target,
    check_learnable,
    in_order,
    make_target,
    order_of,
    settle_task,
    told_if_chosen,
)
from chainrule.data.unread import Settled, Unread, held_out_notes
from chainrule.data.writing import Writing

__all__ = ["Stream", "choose_folder", "stream", "too_large_for_memory"]

Array = NDArray[Any]
SAMPLE_ROWS = 100_000  # training rows used for means, medians and categories
_SAMPLE_CELLS = 5_000_000  # fewer rows if there are many columns, but at least 10,000
_BLOCK_CELLS = 1_000_000  # cells in memory while the table is encoded
_TARGETS_AT_ONCE = 250_000
_MEMORY_SHARE = 4  # by default, a file larger than a quarter of the memory is streamed


@dataclass(frozen=True)
class Stream:
    """The parts of a table, each (features, target), with features memory-mapped from disk.

    `train`, `validation` (None if there are too few rows) and `test` can be passed to
    :func:`chainrule.fit`.  The disk space is freed when the arrays are no longer used, or when
    the process ends for any reason.
    """

    source: str
    pipeline: Pipeline
    train: tuple[Array, Array]
    validation: tuple[Array, Array] | None
    test: tuple[Array, Array]


def stream(
    source: str | os.PathLike[str],
    target: str | None = None,
    *,
    task: str | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    roles: Roles | None = None,
    preprocess: Preprocessing = None,
    folder: str | os.PathLike[str] | None = None,
    watch: Callable[[int, int], None] | None = None,
    skip: int | None = None,
) -> Stream:
    """Encode a file or SQL query of any size to disk, and return its parts for training.

    The rows are split by `seed`, as for a table in memory.  The classes, or the mean and standard
    deviation of the target, are computed from all training rows.  Each column's role, mean,
    standard deviation, median and most frequent categories are computed from a random sample of
    at most 100,000 training rows (fewer for very wide tables), so they are approximate if there
    are more rows.  A projection in `preprocess` is fitted to the features of all training rows.
    Validation and test rows are not used for any of these.  In training, the order of rows is a
    new random permutation of all rows in each epoch.  `roles` and `preprocess` are as in
    :meth:`chainrule.data.pipeline.Pipeline.fit`, and `skip` as in
    :func:`chainrule.data.read.read_table`.

    Memory: about half a gigabyte (above 130 columns, 4 MB per column), and 50 bytes per row (130
    if every value of the target is different).
    Disk space, in `folder` (default: ``TMPDIR``, or ``/var/tmp``): one copy of the table while it
    is encoded, and 4 bytes per feature and row until the arrays are freed; while a projection is
    applied, both its input and its output are stored.  `watch` is called with the number of rows
    done and of all rows.  Raises DataError, with row and column, for cells that can't be read or
    encoded, and if the disk is too small.
    """
    text, planned = os.fspath(source), plan(preprocess)
    check_source(text)
    with tempfile.TemporaryDirectory(prefix="chainrule-", dir=choose_folder(folder)) as name:
        place = Path(name)
        if not is_query(text):
            _check_space(place, Path(text).stat().st_size, f"a copy of {text}")
        with store_table(text, place, skip) as table:
            found = _Targets.read(table, target, task, roles)
            if found.target.ordered:
                roles = {name: role for name, role in (roles or {}).items()
                         if name != found.target.name}  # fmt: skip
            train, validation, test = found.split(test_fraction, seed)
            pipeline, read, decided = _fit(table, found, train, seed, roles, planned.scaler)
            parts = [train, np.array([], np.intp) if validation is None else validation, test]
            arrays, unread = _encode(
                table, pipeline, [found.rows[part] for part in parts], place, watch
            )
            lines = (settled.note(unread[0].get(settled.column.name)) for settled in read)
            told = tuple(line for line in lines if line)
            pipeline = replace(pipeline, notes=(*pipeline.notes, *told, *decided))
            if planned.projector is not None:
                pipeline = pipeline.with_projection(planned.projector, [arrays[0]])
                arrays = _project(arrays, pipeline, place)
            pipeline = replace(pipeline, notes=(*pipeline.notes, *held_out_notes(unread[1])))
        # The files are unlinked here; their space is freed with the arrays.
    y = found.encode(pipeline.target)
    pairs = [(X, y[part]) for X, part in zip(arrays, parts, strict=True)]
    return Stream(text, pipeline, pairs[0], None if validation is None else pairs[1], pairs[2])


def too_large_for_memory(source: str | os.PathLike[str]) -> bool:
    """Whether `source` is a file larger than a quarter of the machine's memory."""
    path = Path(source)
    if is_query(os.fspath(source)) or not path.is_file():
        return False
    return path.stat().st_size > _physical_memory() / _MEMORY_SHARE


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@dataclass(frozen=True)
class _Targets:
    """The `rows` with a target, and for each of them its position in the values `distinct`."""

    distinct: Column
    rows: NDArray[np.intp]
    places: NDArray[np.int32]
    target: Target
    notes: tuple[str, ...]
    source: str

    @classmethod
    def read(
        cls, table: StoredTable, target: str | None, task: str | None, roles: Roles | None
    ) -> _Targets:
        """Read the target column in blocks, and determine the task."""
        name, chosen = choose_target(table.block(0, 1, table.names), target)
        order = order_of(name, roles, task)
        task = task if order is None else "classification"
        column, places = _read_column(
            table, name, said_writing(roles).get(name) or table.writing[name]
        )
        rows = np.flatnonzero(places >= 0)
        _, first, places, counts = np.unique(
            places[rows], return_index=True, return_inverse=True, return_counts=True
        )
        distinct = replace(column, origin=rows[first])
        every = distinct.take(places) if column.kind == "number" else distinct
        # Each value at most twice: enough to detect classes of one row and invalid targets.
        few = distinct.take(np.repeat(np.arange(len(counts)), np.minimum(counts, 2)))
        with told_if_chosen(chosen):
            settled, notes = settle_task(every, len(table) - len(rows), task, table.source)
            made = make_target(few, settled, table.source, whole=True)
        if order is not None:
            made, note = in_order(made, few, order, table.source)
            notes = (*notes, note)
        check_learnable(made, distinct, len(rows), table.source)
        told = (*table.notes, *((chosen,) if chosen else ()), *notes)
        return cls(distinct, rows, places.astype(np.int32), made, told, table.source)

    def split(self, fraction: float, seed: int) -> tuple[Any, Any, Any]:
        """Return (train, validation or None, test), indices into `rows`."""
        if self.target.task == "regression":
            return split_parts(len(self.rows), fraction, seed)
        return split_parts(self.encode(self.target), fraction, seed)

    def fit(self, train: NDArray[np.intp]) -> Target:
        """Return the target fitted to the rows `train`."""
        places = self.places[train].astype(np.intp)
        return self.target.fitted(self.distinct.take(places), self.source)

    def encode(self, target: Target) -> Array:
        """Return the encoded target of `rows`."""
        return target.encode(self.distinct, self.source)[self.places]


def _read_column(
    table: StoredTable, name: str, writing: Writing
) -> tuple[Column, NDArray[np.int64]]:
    """Return the sorted distinct values of a column, and each row's index in them (-1: missing)."""
    seen: dict[str, int] = {}
    pieces = []
    for start in range(0, len(table), _TARGETS_AT_ONCE):
        column = table.block(start, start + _TARGETS_AT_ONCE, (name,), (name,))[name]
        if column.kind == "text":
            codes = [seen.setdefault(cell, len(seen)) for cell in column.values.tolist()]
            piece = np.array(codes, np.float64)
        else:
            piece = column.values.astype(np.float64)
        piece[column.missing] = np.nan
        pieces.append(piece)
    values = np.concatenate(pieces)
    gone = np.isnan(values)
    distinct, places = np.unique(values[~gone], return_inverse=True)
    whole = np.full(len(values), -1, np.int64)
    none = np.zeros(len(distinct), bool)
    if column.kind != "text":
        whole[~gone] = places
        kinds: dict[str, Any] = {"boolean": bool, "date": "datetime64[us]"}
        return Column(
            name, column.kind, distinct.astype(kinds.get(column.kind, float)), none
        ), whole
    words = [word for word, code in seen.items()]
    kept = column_from_text(name, [words[int(code)] for code in distinct], writing)
    order = np.argsort(kept.values.astype(str) if kept.kind == "text" else kept.values)
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    whole[~gone] = ranks[places]
    return kept.take(order), whole


def _fit(
    table: StoredTable,
    found: _Targets,
    train: NDArray[np.intp],
    seed: int,
    roles: Roles | None,
    scaler: Scaler | None,
) -> tuple[Pipeline, list[Settled], tuple[str, ...]]:
    """Fit the encoders to a sample of the training rows, and the target to all of them.

    Returns the pipeline, how its columns were read, and the notes on the roles of columns.
    """
    rows = found.rows[train]
    most = min(SAMPLE_ROWS, max(10_000, _SAMPLE_CELLS // len(table.names)))
    notes = found.notes
    if len(rows) > most:
        rng = np.random.Generator(np.random.Philox(seed))
        rows = np.sort(rng.choice(rows, most, replace=False))
        notes += (f"the roles of columns were chosen from a random {most:,} of the training rows",)
    names = [name for name in table.names if name != found.distinct.name]
    if not names:
        raise DataError(f"{table.source} has no column besides the target {found.distinct.name!r}.")
    sample, roles = as_said(table.take(rows, names), roles, found.distinct.name)
    encoders, read, decided = fit_encoders(
        list(sample), found.distinct.name, table.source, roles, scaler
    )
    return Pipeline(encoders, found.fit(train), notes), read, decided


def _encode(
    table: StoredTable,
    pipeline: Pipeline,
    parts: list[NDArray[np.intp]],
    place: Path,
    watch: Callable[[int, int], None] | None,
) -> tuple[list[Array], tuple[dict[str, Unread], dict[str, Unread]]]:
    """Write the features of each part to a separate file, and return them memory-mapped.

    Also returns the cells that could not be read, in the first part and in the others.
    """
    width = len(pipeline.feature_names)
    needed = 4 * width * sum(len(part) for part in parts)
    _check_space(place, needed, f"{width:,} features of {sum(map(len, parts)):,} rows")
    side = np.full(len(table), -1, np.int8)
    files, done = [], [0] * len(parts)
    unread: tuple[dict[str, Unread], dict[str, Unread]] = ({}, {})
    for i, rows in enumerate(parts):
        side[rows] = i
        files.append(_file(place / f"{i}.npy", len(rows), width))
    names = [encoder.name for encoder in pipeline.encoders]
    words = [e.name for e in pipeline.encoders if isinstance(e, CategoryEncoder) or e.levels]
    step = max(1_000, _BLOCK_CELLS // max(width, len(names)))
    # Blocks have equal sizes, because each block decides whether a column can be read.
    ends = np.linspace(0, len(table), -(-len(table) // step) + 1).astype(int).tolist()
    for start, stop in pairwise(ends):
        block = table.block(start, stop, names, words)
        X = pipeline.transform(block)
        for name, rows in pipeline.unread_rows(block).items():
            sides = side[start:stop][rows]
            for seen, chosen in zip(unread, (rows[sides == 0], rows[sides > 0]), strict=True):
                if len(chosen):
                    slips = Unread.of(block[name], chosen)
                    seen[name] = seen[name] + slips if name in seen else slips
        for i, file in enumerate(files):
            chosen = X[side[start:stop] == i]
            file[done[i] : done[i] + len(chosen)] = chosen
            done[i] += len(chosen)
        if watch is not None:
            watch(stop, len(table))
    for file in files:
        file.flags.writeable = False
    return files, unread


def _project(arrays: list[Array], pipeline: Pipeline, place: Path) -> list[Array]:
    """Write the projected features of each part to a file, and return them memory-mapped."""
    width, rows = len(pipeline.feature_names), sum(map(len, arrays))
    _check_space(place, 4 * width * rows, f"{width:,} projected features of {rows:,} rows")
    files = []
    for i, X in enumerate(arrays):
        file = _file(place / f"projected-{i}.npy", len(X), width)
        for start in range(0, len(X), CHUNK):
            file[start : start + CHUNK] = pipeline.project(X[start : start + CHUNK])
        file.flags.writeable = False
        files.append(file)
    return files


def _file(path: Path, rows: int, width: int) -> Array:
    if rows == 0:
        return np.empty((rows, width), np.float32)
    return np.lib.format.open_memmap(path, "w+", np.float32, (rows, width))


def choose_folder(folder: str | os.PathLike[str] | None) -> str:
    """Return the directory for large files; /tmp is often in memory, /var/tmp is not."""
    if folder is not None:
        if not os.path.isdir(folder):
            raise DataError(f"{os.fspath(folder)} is not a directory for the encoded table.")
        return os.fspath(folder)
    if "TMPDIR" not in os.environ and sys.platform == "linux" and os.access("/var/tmp", os.W_OK):
        return "/var/tmp"
    return tempfile.gettempdir()


def _check_space(place: Path, needed: int, what: str) -> None:
    free = shutil.disk_usage(place).free
    if free < needed:
        raise DataError(
            f"{place.parent} has {free / 1e9:.3g} GB free, but {what} needs {needed / 1e9:.3g} GB; "
            "set TMPDIR to a directory on a larger disk."
        )
