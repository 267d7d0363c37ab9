"""``chainrule export``: write a saved run as an ONNX model.

Read next: :mod:`chainrule.interop.export`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from chainrule.cli.files import check_extension
from chainrule.cli.output import emit, tell
from chainrule.core.errors import DataError, RunError
from chainrule.core.wording import counted
from chainrule.data.builtin import load as load_data
from chainrule.data.builtin import names
from chainrule.data.read import read_table
from chainrule.interop.export import export
from chainrule.train.run import Run, load

__all__ = ["export_run"]


@click.command("export")
@click.argument("run", metavar="RUN")
@click.argument("data", metavar="[DATA]", required=False)
@click.option("--out", metavar="FILE", default="model.onnx", show_default=True,
              help="Write to FILE, which ends in .onnx.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def export_run(run: str, data: str | None, out: str, force: bool) -> None:
    """Write the network saved in the directory RUN as an ONNX model.

    The model contains the preprocessing and the probabilities, so that other programs give it
    the columns of a table, or rows of numbers, as they are.  Before it is written, onnxruntime
    computes it for the rows of DATA, a file, a SQL query or the name of a built-in data set,
    and its results are compared with those of RUN.  Without DATA, these are the rows of the
    built-in data set that RUN was trained on, or random ones in the range of the training data.

    \b
    Examples:
      chainrule export runs/digits-1
      chainrule export runs/houses-1 new-houses.csv --out houses.onnx
    """  # noqa: D301 - \b tells click to keep the lines
    check_extension("--out", out, ".onnx")
    if Path(out).exists() and not force:
        raise RunError(f"{out} exists; nothing was written. Give another name, or --force.")
    saved = load(run)
    made = export(saved, out, _known_rows(saved) if data is None else _rows(data))
    for kind, parts in (("input", made.inputs), ("output", made.outputs)):
        for name, shape in parts.items():
            emit(f"{kind:6}  {name}: {shape}\n")
    emit(
        f"onnxruntime agrees on {counted(made.rows, 'random row' if made.drawn else 'row')}: "
        f"the largest difference is {made.difference:.1e}\n"
    )
    tell(f"wrote {out}: {made.size:,} bytes")


def _rows(source: str) -> Any:
    """Return the rows of a built-in data set, a file or a query."""
    if source in names() and not Path(source).is_file():
        found = load_data(source)
        return found.to_table() if found.X_test is None else found.X_test
    return read_table(source)


def _known_rows(run: Run) -> Any:
    """Return the rows of the built-in data set that `run` was trained on, or None."""
    name = str(run.settings.get("data"))
    try:
        return _rows(name) if name in names() else None
    except DataError:  # it has to be downloaded first
        return None
