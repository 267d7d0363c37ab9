"""``chainrule predict``: add the predictions of a saved run to a table.

Read next: :mod:`chainrule.cli.files`.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import click

from chainrule.cli.files import check_out, copy_whole, write_answers
from chainrule.cli.output import emit, tell
from chainrule.core.errors import DataError
from chainrule.core.wording import counted
from chainrule.data.pass_through import PassThrough
from chainrule.data.read import read_table, store_table
from chainrule.data.streaming import choose_folder
from chainrule.insight.explain.reasons import reasons_of
from chainrule.tabular.table_prediction import predict_rows
from chainrule.train.run import load

__all__ = ["predict"]


@click.command("predict")
@click.argument("run", metavar="RUN")
@click.argument("data", metavar="DATA")
@click.option("--out", metavar="FILE", help="Write to FILE, as .csv, .tsv, .parquet, or .json "
              "(as --json)  [default: CSV to standard output]")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--explain", is_flag=True, help="Add the three columns that most moved each "
              "prediction, and by how much.")  # fmt: skip
@click.option("--interval", type=float, metavar="X", help="Add low and high, the ends of an "
              "interval that contains this share of the targets, such as 0.9.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object instead of CSV.")
@click.option("--skip", type=click.IntRange(min=0), metavar="N",
              help="Lines above the header of DATA  [default: found by their look]")  # fmt: skip
def predict(
    run: str,
    data: str,
    out: str | None,
    force: bool,
    explain: bool,
    interval: float | None,
    as_json: bool,
    skip: int | None,
) -> None:
    """Predict the target for the rows of DATA with the network saved in the directory RUN.

    DATA is a file or SQL query, as for train.  Its columns are matched by name; the
    target is optional.  Writes every column of DATA, then prediction, and for
    classification one probability_CLASS per class.  With --interval, low and high
    follow, calibrated on the validation rows of the training.  Cells are
    normalized: 1.50 is written as 1.5, dates as 2024-01-31, missing values as
    empty cells.
    With --explain, reason_1 to reason_3 follow, such as area=142.7 (+12,345): the share
    of a column in the value, or in the log odds of the predicted class.
    With --json, columns of DATA that the network does not use and whose values are
    unique are "ids".

    \b
    Examples:
      chainrule predict runs/houses-1 new-houses.csv
      chainrule predict runs/houses-1 new-houses.csv --out prices.csv
      chainrule predict runs/houses-1 new-houses.csv --explain
      chainrule predict runs/houses-1 new-houses.csv --interval 0.9
    """  # noqa: D301 - \b tells click to keep the lines
    form = ".json" if as_json else ".csv"
    if out is not None:
        form = check_out(Path(out), force, as_json)
    saved = load(run)
    if saved.pipeline is None:
        raise DataError(
            f"{run} was trained on arrays, so it has no columns to match by name; in Python, "
            f"chainrule.load({run!r}).predict(X) predicts from arrays."
        )
    written = getattr(saved.pipeline, "writing", None)
    with (
        tempfile.TemporaryDirectory(prefix="chainrule-", dir=choose_folder(None)) as folder,
        store_table(data, Path(folder), skip) as table,
    ):
        rows = PassThrough(table, partial(read_table, data, skip=skip, writing=written))
        for note in table.notes:
            tell(f"note: {note}.")
        more = reasons_of(saved) if explain else None
        predict_rows(saved, rows, lambda line: tell(f"note: {line}."), interval=interval, more=more)
        twice = sorted(set(rows.added) & set(table.names))
        if twice and form != ".json":
            raise DataError(f"{data} already has a column {twice[0]!r}; rename or leave it out.")
        file = Path(folder) / f"predicted{form}"
        write_answers(saved, rows, form, file)
        if out is not None:
            copy_whole(file, Path(out))
            tell(f"wrote {out}: {counted(len(rows), 'row')}")
            return
        with file.open(encoding="utf-8", newline="") as text:
            while part := text.read(2**20):
                emit(part)
