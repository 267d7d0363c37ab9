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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import DataError
from chainrule.data.columns import Roles, as_said
from chainrule.data.encode import CategoryEncoder
from chainrule.data.fitting import CHUNK
from chainrule.data.gaps import said_gaps, with_gaps
from chainrule.data.leaks import Leak, find_leaks
from chainrule.data.pipeline import Pipeline, fit_encoders
from chainrule.data.preprocess import Preprocessing, plan
from chainrule.data.read import StoredTable, check_source, is_query, store_table
from chainrule.data.scaling import Scaler
from chainrule.data.stored_targets import StoredTargets
from chainrule.data.target import without_orders
from chainrule.data.unread import Settled, Unread, held_out_notes

__all__ = ["Stream", "choose_folder", "sharing", "stream", "too_large_for_memory"]

Array = NDArray[Any]
SAMPLE_ROWS = 100_000  # training rows used for means, medians and categories
_SAMPLE_CELLS = 5_000_000  # fewer rows if there are many columns, but at least 10,000
_BLOCK_CELLS = 1_000_000  # cells in memory while the table is encoded
sharing: list[Callable[[Array], None]] = []  # given the encoded training rows before unlinking
_MEMORY_SHARE = 4  # by default, a file larger than a quarter of the memory is streamed


@dataclass(frozen=True)
class Stream:
    """The parts of a table, each (features, target), with features memory-mapped from disk.

    `train`, `validation` (None if there are too few rows) and `test` can be passed to
    :func:`chainrule.fit`.  The disk space is freed when the arrays are no longer used, or when
    the process ends for any reason.  `weights` are those of the training and the validation rows,
    if a column gives them, and `leaks` the columns that give the target away.
    """

    source: str
    pipeline: Pipeline
    train: tuple[Array, Array]
    validation: tuple[Array, Array] | None
    test: tuple[Array, Array]
    weights: tuple[Array | None, Array | None] = (None, None)
    leaks: tuple[Leak, ...] = ()


def stream(
    source: str | os.PathLike[str],
    target: str | Sequence[str] | None = None,
    *,
    task: str | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    roles: Roles | None = None,
    preprocess: Preprocessing = None,
    folder: str | os.PathLike[str] | None = None,
    watch: Callable[[int, int], None] | None = None,
    skip: int | None = None,
    na: Sequence[str] = (),
    weight: str | None = None,
    group: str | None = None,
    time: str | None = None,
) -> Stream:
    """Encode a file or SQL query of any size to disk, and return its parts for training.

    The rows are split by `seed`, as for a table in memory.  The classes, or the mean and standard
    deviation of the target, are computed from all training rows.  Each column's role, mean,
    standard deviation, median and most frequent categories are computed from a random sample of
    at most 100,000 training rows (fewer for very wide tables), so they are approximate if there
    are more rows.  A projection in `preprocess` is fitted to the features of all training rows.
    Validation and test rows are not used for any of these.  In training, the order of rows is a
    new random permutation of all rows in each epoch.  The other arguments are those of
    :func:`chainrule.tabular.read_problem`, which are the same for a table in memory.

    Memory: about half a gigabyte (above 130 columns, 4 MB per column), and 50 bytes per row (130
    if every value of the target is different), for each target, group, time and weight.
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
            found = StoredTargets.read(table, target, task, roles, na)
            (train, validation, test), told = found.split(
                table, test_fraction, seed, group, time, roles, na
            )
            weights = None if weight is None else found.weights(table, weight, roles, na)
            held: dict[str, Any] = {group: "dropped"} if group is not None else {}
            held |= without_orders(roles, found.target) or {}
            held |= {weight: "dropped"} if weight is not None else {}
            pipeline, read, decided, leaks = _fit(
                table, found, train, seed, held, planned.scaler, na
            )
            parts = [train, np.array([], np.intp) if validation is None else validation, test]
            arrays, unread, gaps = _encode(
                table, pipeline, [found.rows[part] for part in parts], place, watch
            )
            gaps = {name: {**gaps, **found.gaps}.get(name, 0) for name in table.names}
            lines = (settled.note(unread[0].get(settled.column.name)) for settled in read)
            notes = [*table.notes, *said_gaps(gaps, na), *found.notes, *told, *pipeline.notes]
            notes += [line for line in lines if line]
            pipeline = replace(pipeline, notes=(*notes, *decided))
            if planned.projector is not None:
                pipeline = pipeline.with_projection(planned.projector, [arrays[0]])
                arrays = _project(arrays, pipeline, place)
            pipeline = replace(pipeline, notes=(*pipeline.notes, *held_out_notes(unread[1])))
        for share in sharing:
            share(arrays[0])
        # The files are unlinked here; their space is freed with the arrays.
    y = found.encode(pipeline.target)
    pairs = [(X, y[part]) for X, part in zip(arrays, parts, strict=True)]
    weighed = (None, None) if weights is None else (weights[train], weights[parts[1]])
    if validation is None:
        return Stream(text, pipeline, pairs[0], None, pairs[2], (weighed[0], None), leaks)
    return Stream(text, pipeline, pairs[0], pairs[1], pairs[2], weighed, leaks)


def too_large_for_memory(source: str | os.PathLike[str]) -> bool:
    """Whether `source` is a file larger than a quarter of the machine's memory."""
    path = Path(source)
    if is_query(os.fspath(source)) or not path.is_file():
        return False
    return path.stat().st_size > _physical_memory() / _MEMORY_SHARE


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _fit(
    table: StoredTable,
    found: StoredTargets,
    train: NDArray[np.intp],
    seed: int,
    roles: Roles | None,
    scaler: Scaler | None,
    na: Sequence[str],
) -> tuple[Pipeline, list[Settled], tuple[str, ...], tuple[Leak, ...]]:
    """Fit the encoders to a sample of the training rows, and the target to all of them.

    Returns the pipeline, how its columns were read, the notes on the roles of columns, and those
    that give the target away.
    """
    chosen, notes = train, tuple[str, ...]()
    most = min(SAMPLE_ROWS, max(10_000, _SAMPLE_CELLS // len(table.names)))
    if len(train) > most:
        rng = np.random.Generator(np.random.Philox(seed))
        chosen = np.sort(rng.choice(train, most, replace=False))
        notes = (f"the roles of columns were chosen from a random {most:,} of the training rows",)
    targets = found.target.names
    names = [name for name in table.names if name not in targets]
    if not names:
        named = ", ".join(map(repr, targets))
        raise DataError(f"{table.source} has no column besides the target {named}.")
    sample = with_gaps(table.take(found.rows[chosen], names), na)
    sample, plain = as_said(sample, roles, targets[0])
    encoders, read, decided = fit_encoders(
        list(sample), found.target.name, table.source, plain, scaler
    )
    pipeline = Pipeline(encoders, found.fit(train), notes, na=tuple(na))
    y = found.encode(pipeline.target)[chosen]
    every = np.arange(len(chosen))
    leaks = find_leaks(sample, encoders, every, y, tuple(roles or ()), pipeline.target.parts)
    return pipeline, read, decided, leaks


def _encode(
    table: StoredTable,
    pipeline: Pipeline,
    parts: list[NDArray[np.intp]],
    place: Path,
    watch: Callable[[int, int], None] | None,
) -> tuple[list[Array], tuple[dict[str, Unread], dict[str, Unread]], dict[str, int]]:
    """Write the features of each part to a separate file, and return them memory-mapped.

    Also returns the cells that could not be read, in the first part and in the others, and how
    many cells of each column are words that mean "no value".
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
    gaps, plain = dict.fromkeys(names, 0), replace(pipeline, na=())
    step = max(1_000, _BLOCK_CELLS // max(width, len(names)))
    # Blocks have equal sizes, because each block decides whether a column can be read.
    ends = np.linspace(0, len(table), -(-len(table) // step) + 1).astype(int).tolist()
    for start, stop in pairwise(ends):
        whole = table.block(start, stop, names, words)
        block = with_gaps(whole, pipeline.na)
        for old, new in zip(whole, block, strict=True):
            gaps[old.name] += int((new.missing & ~old.missing).sum())
        X = plain.transform(block)
        for name, rows in plain.unread_rows(block).items():
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
    return files, unread, gaps


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
