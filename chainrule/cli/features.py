"""``chainrule features``: statistics of the hidden layers of a saved run on its data.

Without DATA, the training data of the run are read again with the options in its
``config.toml``: probes are fitted on the training rows and scored on the test rows.

Read next: :mod:`chainrule.insight.hidden.learned`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from chainrule.cli.files import check_extension, write_whole
from chainrule.cli.output import emit, tell
from chainrule.cli.train import train
from chainrule.cli.train_options import HOW_READ
from chainrule.core.errors import ChainruleError, DataError, OptionError, RunError
from chainrule.data.builtin import Dataset
from chainrule.data.builtin import load as load_data
from chainrule.data.builtin import names as data_names
from chainrule.data.pipeline import Pipeline
from chainrule.data.pixels import PixelPipeline
from chainrule.data.read import read_table
from chainrule.insight.explain.narrate import table as text_table
from chainrule.insight.hidden.learned import Features, features
from chainrule.tabular.problem import Problem, read_problem
from chainrule.train.run import Run, load

__all__ = ["features_command"]

# The options of chainrule train that decide which rows and features there are.
READING = ("target", "task", "test_fraction", "seed", "roles", "preprocess", "weight", "stream",
           *HOW_READ)  # fmt: skip


@click.command("features")
@click.argument("run", metavar="RUN")
@click.argument("data", metavar="[DATA]", required=False)
@click.option(
    "--layer", metavar="L", help="Show the units of this layer, by its name in the table."
)
@click.option("--unit", type=click.IntRange(min=0), metavar="U",
              help="With --layer: show this unit only.")  # fmt: skip
@click.option("--rows", type=click.IntRange(min=10), default=4000, show_default=True, metavar="N",
              help="Use at most N rows, drawn at random.")  # fmt: skip
@click.option("--out", metavar="FILE", help="Write a page with pictures to FILE, as HTML.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def features_command(
    run: str,
    data: str | None,
    layer: str | None,
    unit: int | None,
    rows: int,
    out: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Summarize the hidden layers of the network saved in the directory RUN.

    Reports for each layer how its units vary across the rows, how many are dead, how large the
    gradient of the loss is, and how well a linear probe separates the classes; with --layer, the
    same for each unit.  The page adds the weights of the first layer, maps of the rows, and the
    inputs that activate single units most.  DATA is a file, an SQL query or a built-in data set,
    by default the data of RUN.

    \b
    Examples:
      chainrule features runs/digits-1
      chainrule features runs/digits-1 --out layers.html
      chainrule features runs/digits-1 --layer 1
      chainrule features runs/digits-1 --layer 1 --unit 3
      chainrule features runs/houses-1 new-houses.csv --out layers.html
    """  # noqa: D301 - \b tells click to keep the lines
    if unit is not None and layer is None:
        raise OptionError("a unit needs its layer and its number: give both --layer and --unit.")
    if layer is not None and unit is None and (out is not None or as_json):
        raise OptionError(
            "--layer without --unit prints its units; leave --layer out to write all layers with "
            "--out or --json, or add --unit to write one unit."
        )
    check_extension("--out", out, ".html", ".htm")
    if out is not None and Path(out).exists() and not force:
        raise RunError(f"{out} exists; nothing was written. Give another name, or --force.")
    saved = load(run)
    if saved.pipeline is None:
        raise DataError(
            f"{run} was trained on arrays, so it has no columns to match by name; in Python, "
            f"chainrule.features(chainrule.load({run!r}), X, y) summarizes its layers."
        )
    found = _of_data(saved, data, rows) if data else _of_own(saved, _own(run, saved), rows)
    one = None if layer is None or unit is None else found.unit(layer, unit)
    if as_json:
        emit(json.dumps(found.to_dict() if one is None else one.to_dict(), allow_nan=False) + "\n")
    elif layer is not None and unit is None:
        lines = text_table(found.unit_cells(layer), numbers=range(1, 6))
        emit("\n".join([f"Units of layer {layer} of {found.title}", found.note, "", *lines, ""]))
    elif out is None:
        emit(f"{found if one is None else one}\n")
    if out is not None:
        write_whole(Path(out), found.html(layer, unit))
        tell(f"wrote {out}")


def _from_data(pipeline: Pipeline | PixelPipeline) -> str:
    """Return as text what `pipeline` knows from the data alone.

    Notes say how the target was chosen; the options name it now, so notes may differ.  What
    calibrates prediction intervals is known only after training, and the loss says what counts are.
    """
    saved = pipeline.to_json()
    target = saved["target"]
    for one in (target, *target["parts"]):
        one |= {"errors": [], "widths": [], "counts": False}
    return json.dumps({**saved, "notes": []})


def _of_own(run: Run, problem: Problem, rows: int) -> Features:
    before, now = (_from_data(p) for p in (run.pipeline, problem.pipeline) if p)
    if before != now:
        raise DataError(
            f"the data of {problem.name} have changed since the network was trained; "
            "give DATA to use them anyway."
        )
    called = None if problem.train_rows is None else problem.train_rows + 1
    return features(run, *problem.train, held_out=problem.test, rows=rows, row_numbers=called)


def _own(place: str, run: Run) -> Problem:
    """Read the training data of the run again; DataError asking for DATA if that fails."""
    config = Path(place) / "config.toml"
    name = run.settings.get("data")
    try:
        if config.is_file():
            asked = train.make_context("train", ["--config", str(config)]).params
            options = {option: asked[option] for option in READING}
            options["test_fraction"] = options["test_fraction"] or 0.2
            return read_problem(asked["source"], **options)
        if name is not None and name in data_names():
            assert run.pipeline is not None
            return read_problem(name, run.pipeline.target.name, seed=run.settings.get("seed", 0))
    except (ChainruleError, click.ClickException) as error:
        told = error.message if isinstance(error, click.ClickException) else str(error)
        raise DataError(f"the data of {place} can't be read again: {told} Give DATA.") from error
    raise DataError(f"{place} does not record where its data are; give DATA after it.")


def _of_data(run: Run, data: str, rows: int) -> Features:
    """Summarize the layers on the rows of DATA, with probes if it has the target."""
    found: Any = load_data(data) if data in data_names() and not Path(data).is_file() else None
    if isinstance(found, Dataset) and found.X_test is not None:
        held_out, called = (found.X_test, found.y_test), np.arange(1, len(found.X) + 1)
        return features(run, found.X, found.y, held_out=held_out, rows=rows, row_numbers=called)
    writing = getattr(run.pipeline, "writing", None)
    table = read_table(data, writing=writing) if found is None else found.to_table()
    return features(run, table, rows=rows, row_numbers=np.arange(1, len(table) + 1))
