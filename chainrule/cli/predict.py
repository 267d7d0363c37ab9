"""``chainrule predict``: add the predictions of a saved run to a table.

Read next: :mod:`chainrule.cli.files`.
"""

from __future__ import annotations

from pathlib import Path

import click

from chainrule.cli.files import as_csv_text, as_json_text, check_out, write_whole
from chainrule.cli.output import emit, tell
from chainrule.core.errors import DataError
from chainrule.core.wording import counted
from chainrule.data.read import read_table
from chainrule.tabular.table_prediction import predict_table
from chainrule.train.run import load

__all__ = ["predict"]


@click.command("predict")
@click.argument("run", metavar="RUN")
@click.argument("data", metavar="DATA")
@click.option("--out", metavar="FILE", help="Write to FILE, as .csv, .tsv, .parquet, or .json "
              "(as --json)  [default: CSV to standard output]")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object instead of CSV.")
@click.option("--skip", type=click.IntRange(min=0), metavar="N",
              help="Lines above the header of DATA  [default: found by their look]")  # fmt: skip
def predict(
    run: str, data: str, out: str | None, force: bool, as_json: bool, skip: int | None
) -> None:
    """Predict the target for the rows of DATA with the network saved in the directory RUN.

    DATA is a file or SQL query, as for train.  Its columns are matched by name; the
    target is optional.  Writes every column of DATA, then prediction, and for
    classification one probability_CLASS per class.  Cells are normalized: 1.50 is
    written as 1.5, dates as 2024-01-31, missing values as empty cells.
    With --json, columns of DATA that the network does not use and whose values are
    unique are "ids".

    \b
    Examples:
      chainrule predict runs/houses-1 new-houses.csv
      chainrule predict runs/houses-1 new-houses.csv --out prices.csv
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
    table = read_table(data, skip=skip, writing=getattr(saved.pipeline, "writing", None))
    for note in table.notes:
        tell(f"note: {note}.")
    predicted = predict_table(saved, table, tell=lambda line: tell(f"note: {line}."))
    twice = sorted(set(predicted) & set(table.names))
    if twice and form != ".json":
        raise DataError(f"{data} already has a column {twice[0]!r}; rename or leave it out.")
    if form == ".json":
        text = as_json_text(saved, table, predicted)
    else:
        text = as_csv_text(table, predicted, "\t" if form == ".tsv" else ",")
    if out is None:
        emit(text)
    else:
        write_whole(Path(out), text)
        tell(f"wrote {out}: {counted(len(table), 'row')}")
