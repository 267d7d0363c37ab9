"""Format predictions as CSV or JSON, and write files atomically.

A file is written completely or not at all, so that an existing file is never left half
overwritten.

Read next: :mod:`chainrule.tabular.table_prediction`, where predictions come from.
"""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.cli.output import SavingError
from chainrule.core.durable import write_file
from chainrule.core.errors import DataError, OptionError, RunError
from chainrule.data.read import write_parquet
from chainrule.data.table import Column, Table
from chainrule.train.run import Run

__all__ = ["as_csv_text", "as_json_text", "check_extension", "check_out", "write_whole"]


FORMATS = (".csv", ".tsv", ".json", ".parquet")


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
    """Write `text` to `path` atomically; convert CSV text to Parquet if `path` ends in .parquet."""
    try:
        write_file(path, _as_parquet(text) if path.suffix.lower() == ".parquet" else text.encode())
    except (OSError, DataError) as error:
        raise SavingError(f"can't write {path}: {error}") from error


def _as_parquet(text: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "table"
        file.write_text(text, encoding="utf-8", newline="")
        write_parquet(file)
        return file.read_bytes()


def as_csv_text(table: Table, predicted: dict[str, Any], separator: str = ",") -> str:
    """Return the columns of `table`, followed by the predicted ones, as CSV with a header."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=separator, lineterminator="\n")
    writer.writerow([*table.names, *predicted])
    columns = [column.as_text().tolist() for column in table]
    writer.writerows(zip(*columns, *map(_numbers, predicted.values()), strict=True))
    return file.getvalue()


def _numbers(values: Any) -> list[str]:
    """Format floats with seven significant digits, the precision of float32."""
    if values.dtype.kind != "f":
        return [str(value) for value in values]
    return [_digits(value) for value in values]


def _digits(value: float) -> str:
    if value != 0 and abs(value) < 1e-4:  # 2.8e-11 rather than ten zeros
        return np.format_float_scientific(value, precision=6, trim="-")
    return np.format_float_positional(value, precision=7, fractional=False, trim="-")


def as_json_text(run: Run, table: Table, predicted: dict[str, Any]) -> str:
    """Return target, classes, predictions and probabilities as one JSON object.

    Of several targets, it has the predicted columns as they are.
    Columns of `table` that the network does not use and whose values are unique are "ids".
    """
    target = run.pipeline.target if run.pipeline else None
    ids = {column.name: column.as_text().tolist() for column in table if _is_id(run, column)}
    if target and target.parts:
        columns = {name: values.tolist() for name, values in predicted.items()}
        return (
            json.dumps({"target": target.names, **columns, **({"ids": ids} if ids else {})}) + "\n"
        )
    result: dict[str, Any] = {
        "target": target.name if target else None,
        "classes": list(target.classes) if target else [],
        "predictions": predicted["prediction"].tolist(),
    }
    if ids:
        result["ids"] = ids
    numbers = [name for name in predicted if name in ("low", "high") or name[:9] == "quantile_"]
    result |= {name: predicted[name].astype(np.float64).tolist() for name in numbers}
    more = [name for name in predicted if name not in ("prediction", *numbers)]
    probabilities = [predicted[name] for name in more]
    if probabilities:
        rows = np.stack(probabilities, axis=1).astype(np.float64)
        result["probabilities"] = rows.round(7).tolist()
    return json.dumps(result) + "\n"


def _is_id(run: Run, column: Column) -> bool:
    """Whether the network does not use `column` and its values are unique."""
    pipeline = run.pipeline
    used = {encoder.name for encoder in getattr(pipeline, "encoders", ())}
    used |= set(getattr(pipeline, "feature_names", ()))
    if column.name in used or (pipeline and column.name in pipeline.target.names):
        return False
    cells = column.as_text().tolist()
    return not column.missing.any() and len(set(cells)) == len(cells)
