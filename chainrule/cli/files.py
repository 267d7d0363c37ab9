"""Write predictions as CSV, Parquet or JSON, and files atomically.

A file is written completely or not at all, so that an existing file is never left half
overwritten.

Read next: :mod:`chainrule.tabular.table_prediction`, where predictions come from.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.cli.output import SavingError
from chainrule.core.durable import write_file
from chainrule.core.errors import DataError, OptionError, RunError
from chainrule.data.pass_through import PassThrough
from chainrule.train.run import Run

__all__ = ["check_extension", "check_out", "copy_whole", "write_answers", "write_whole"]


FORMATS = (".csv", ".tsv", ".json", ".parquet")
PROBABILITY = "probability_"  # starts the names of columns with the probability of a class


def check_out(path: Path, force: bool, as_json: bool = False) -> str:
    """Return the format of `path` by its extension; called before predicting.

    Raises OptionError for an unknown extension or, with `as_json`, for one other than .json, and
    RunError if `path` can't be written.
    """
    if path.is_dir():
        raise RunError(f"{path} is a directory; give the name of a file in it.")
    if path.exists() and not force:
        raise RunError(f"{path} exists; nothing was written. Give another name, or --force.")
    if not path.absolute().parent.is_dir():
        raise RunError(f"{path} can't be written: there is no directory {path.parent}.")
    if not os.access(path.absolute().parent, os.W_OK):
        raise RunError(f"{path} can't be written: {path.parent} is not writable.")
    form = path.suffix.lower()
    known = (".json",) if as_json else FORMATS
    if form not in known:
        written = "--json writes" if as_json else "predictions are written as"
        raise OptionError(
            f"--out {path}: {written} {', '.join(known)}, not {form or 'a file without extension'}."
        )
    return form


def check_extension(option: str, file: str | None, *extensions: str) -> None:
    """Raise OptionError unless `file`, given as `option`, is None or has one of `extensions`.

    Called before the work is done, so that the extension of a file always matches its format.
    """
    if file is not None and Path(file).suffix.lower() not in extensions:
        raise OptionError(
            f"{option} {file}: the file is written as {extensions[0][1:].upper()}; give a name "
            f"that ends in {extensions[0]}, as in {Path(file).stem or 'picture'}{extensions[0]}."
        )


def write_whole(path: Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    _write(path, text.encode())


def copy_whole(made: Path, path: Path) -> None:
    """Copy the file `made` to `path` atomically; memory does not grow with its size."""
    with (
        made.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as view,
    ):
        _write(path, view)


def _write(path: Path, content: bytes | memoryview) -> None:
    try:
        write_file(path, content)
    except (OSError, DataError) as error:
        raise SavingError(f"can't write {path}: {error}") from error


def write_answers(run: Run, rows: PassThrough, form: str, path: Path) -> None:
    """Write `rows` with the predictions of `run`, which were added to them, to the new file `path`.

    `form` is one of `FORMATS`.
    """
    if form == ".json":
        with path.open("w", encoding="utf-8") as file:
            file.writelines(_json_parts(run, rows))
    elif form == ".parquet":
        rows.write_parquet(path)
    else:
        rows.write_csv(path, "\t" if form == ".tsv" else ",")


def _json_parts(run: Run, rows: PassThrough) -> Iterator[str]:
    """Yield target, classes, predictions and probabilities as the parts of one JSON object.

    Of several targets, it has the predicted columns as they are.  Columns of `rows` that the
    network does not use and whose values are unique are "ids".
    """
    target = run.pipeline.target if run.pipeline else None
    several = bool(target and target.parts)
    about: dict[str, Any] = (
        {"target": target.names}
        if target and several
        else {
            "target": target.name if target else None,
            "classes": list(target.classes) if target else [],
        }
    )
    yield json.dumps(about)[:-1]
    listed = [name for name in rows.added if several or not name.startswith(PROBABILITY)]
    for name in listed:
        key = "predictions" if name == "prediction" else name
        yield f", {json.dumps(key)}: "
        yield from _json_list(rows.cells(name))
    if ids := [name for name in rows.table.names if _is_id(run, rows, name)]:
        for i, name in enumerate(ids):
            yield (", " if i else ', "ids": {') + f"{json.dumps(name)}: "
            yield from _json_list(rows.cells(name))
        yield "}"
    shares = [rows.cells(name) for name in rows.added if name not in listed]
    if shares:
        yield ', "probabilities": '
        yield from _json_list(
            np.stack(block, axis=1).astype(np.float64).round(7).tolist()
            for block in zip(*shares, strict=True)
        )
    yield "}\n"


def _json_list(blocks: Iterable[list[Any]]) -> Iterator[str]:
    yield "["
    for i, block in enumerate(blocks):
        yield (", " if i else "") + json.dumps(block)[1:-1]
    yield "]"


def _is_id(run: Run, rows: PassThrough, name: str) -> bool:
    """Whether the network does not use the column and its values are unique."""
    pipeline = run.pipeline
    used = {encoder.name for encoder in getattr(pipeline, "encoders", ())}
    used |= set(getattr(pipeline, "feature_names", ()))
    if name in used or (pipeline and name in pipeline.target.names):
        return False
    return rows.distinguishes(name)
