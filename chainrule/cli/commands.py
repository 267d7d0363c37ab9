"""The commands: words in, one call into the library, results out.

Each is thin: it reads options, refuses what can't work before anything is trained, and
hands the work to :mod:`chainrule.train.table`.

Read next: :mod:`chainrule.train.table`, :mod:`chainrule.cli.show`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from typing import Any

import click

from chainrule.cli.activations import activations_command
from chainrule.cli.config import as_options, as_toml, read_config
from chainrule.cli.environment import as_lines, clear_cache, describe
from chainrule.cli.errors import CommandLine
from chainrule.cli.explain import explain_command
from chainrule.cli.features import features_command
from chainrule.cli.find_rate import find_rate
from chainrule.cli.output import SavingError, emit, tell
from chainrule.cli.pictures import draw_run
from chainrule.cli.predictions import as_csv_text, as_json_text, check_out, write_whole
from chainrule.cli.runs import compare_command, show_command, write_report
from chainrule.cli.show import show_datasets, show_problem, show_results, warn_of_guess
from chainrule.cli.train_options import method_options, network_options, parse_fraction, positive
from chainrule.core.errors import DataError, RunError
from chainrule.data.builtin import names
from chainrule.data.read import read_table
from chainrule.train.architecture import check_settings
from chainrule.train.run import Run, check_writable, load
from chainrule.train.settings import choose_settings
from chainrule.train.table import (
    Problem,
    fit_table,
    predict_table,
    read_problem,
    unseen_categories,
)

__all__ = ["command_line", "main"]


def main() -> None:
    """Run ``chainrule`` on the words of the command line, and exit."""
    command_line.main()


def _print_version(ctx: click.Context, option: click.Parameter, asked: bool) -> None:
    if not asked:
        return
    try:
        emit(f"chainrule {version('chainrule')}\n")
    except PackageNotFoundError:
        emit("chainrule (not installed: run from its source)\n")
    ctx.exit(0)


@click.group("chainrule", cls=CommandLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False,
              callback=_print_version, help="Show the version and exit.")  # fmt: skip
def command_line() -> None:
    """Train neural networks on tables and images, and predict with them.

    \b
    Examples:
      chainrule train digits
      chainrule train houses.csv --target price
      chainrule predict runs/houses-1 new-houses.csv --out prices.csv
    """  # noqa: D301 - \b tells click to keep the lines


@command_line.command()
@click.argument("source", required=False)
@click.option("--config", metavar="FILE", is_eager=True, callback=read_config,
              help="TOML file of options, as each run has one in config.toml.")  # fmt: skip
@click.option("--target", metavar="COLUMN", help="Column to predict  [default: the column called "
              "target, label, class or y, else the last]")  # fmt: skip
@click.option("--task", type=click.Choice(["classification", "regression"]), metavar="TASK",
              help="classification or regression  [default: told from the target]")  # fmt: skip
@network_options
@method_options
@click.option("--test-fraction", type=float, metavar="X", callback=parse_fraction,
              help="Share of rows held out to score on  [default: 0.2]")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
              help="Decides the split, the first weights and the order of rows.")  # fmt: skip
@click.option("--threads", type=positive, metavar="N", help="Threads of the native engine.")
@click.option("--stream/--no-stream", default=None, help="Encode SOURCE to disk instead of memory  "
              "[default: for a file over a quarter of the memory]")  # fmt: skip
@click.option("--out", metavar="DIR", help="Where to save the run  [default: runs/NAME-1, -2, ...]")
@click.option("--force", is_flag=True, help="Replace the finished run in --out.")
@click.option("--report/--no-report", "wanted", default=True, help="Whether to write report.html "
              "into the run  [default: report]")  # fmt: skip
@click.option("--quiet", is_flag=True, help="Print only where the run was saved.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON object.")
def train(
    source: str | None,
    config: str | None,
    target: str | None,
    task: str | None,
    test_fraction: float | None,
    seed: int,
    threads: int | None,
    out: str | None,
    force: bool,
    wanted: bool,
    quiet: bool,
    as_json: bool,
    preprocess: list[str] | None,
    roles: dict[str, str | list[str]],
    weight: str | None,
    stream: bool | None,
    **asked: Any,
) -> int:
    """Train a network to predict one column of SOURCE, and score it on rows held out.

    SOURCE is a built-in data set (see chainrule datasets), a CSV, TSV, Parquet or
    JSON file, plain or gzipped, or an SQL query over such files.  Every option has a
    sensible default, chosen by the size of the data.  Ctrl-C ends training early and
    saves the best network so far.

    \b
    Examples:
      chainrule train digits
      chainrule train houses.csv --target price
      chainrule train "select * from 'log.parquet' where year > 2020" --target failed
      chainrule train iris --hidden 16,16 --activation tanh --epochs 50 --out runs/small
      chainrule train digits --dropout 0.2 --schedule cosine --l2 1e-4
      chainrule train --config runs/digits-1/config.toml --seed 1
    """  # noqa: D301 - \b tells click to keep the lines
    if source is None:
        raise click.UsageError("give SOURCE: a file, a data set, SQL; or --config with a source.")
    asked |= {"seed": seed}
    check_settings(choose_settings(1, **asked), task)  # before a file is read
    if out is not None:
        check_writable(out, force)
    problem = read_problem(
        source,
        target,
        task=task,
        test_fraction=test_fraction or 0.2,
        seed=seed,
        roles=roles,
        preprocess=preprocess,
        weight=weight,
        stream=stream,
        progress=not quiet,
    )
    place = Path(out) if out is not None else next(_free(problem.name))
    check_writable(place, force)
    settings = choose_settings(
        problem.rows["train"],
        task=problem.pipeline.task,
        validated=problem.validation is not None,
        **asked,
    )
    check_settings(settings, problem.pipeline.task)
    if problem.own_test and test_fraction is not None:
        tell(f"note: {problem.name} brings its own test rows; --test-fraction is not used.")
    if as_json and settings.batch_size > problem.rows["train"]:
        tell(f"note: the batch is larger than the {problem.rows['train']} training rows.")
    if not (quiet or as_json):
        show_problem(problem, settings)
    run = fit_table(problem, settings, threads=threads, progress=not quiet)
    if not run.history:
        tell("interrupted before the first epoch ended; nothing was saved.")
        return 130
    told = {
        "source": source, "target": problem.pipeline.target.name, "task": problem.pipeline.task,
        "test_fraction": test_fraction, "threads": threads, "stream": stream,
        "preprocess": preprocess, "weight": weight,
        "report": None if wanted else False,
        "role": [f"{k}={'<'.join(v) if isinstance(v, list) else v}" for k, v in roles.items()],
    }  # fmt: skip
    written = as_toml(told | as_options(settings), "chainrule train --config THIS_FILE repeats it.")
    files = {"config.toml": written} | (write_report(run, problem) if wanted else {})
    saved, failure = _save(run, place, problem, out is None, force, files)
    if as_json:
        emit(json.dumps(_summary(run, problem, saved)) + "\n")
        if warning := warn_of_guess(run.scores):
            tell(f"warning: {warning}.")
    elif quiet:
        emit(f"{saved}\n" if saved else "")
    else:
        show_results(run, saved)
    if failure is not None:
        raise SavingError(f"the network was trained but not saved: {failure}") from failure
    return 130 if run.stopped == "interrupted" else 0


def _free(name: str) -> Iterator[Path]:
    """Yield the directories ``runs/NAME-1``, ``-2``, ... that do not exist."""
    for k in count(1):
        path = Path("runs") / f"{name}-{k}"
        if not path.exists():
            yield path


def _save(
    run: Run, place: Path, problem: Problem, numbered: bool, force: bool, extra: Mapping[str, str]
) -> tuple[str | None, RunError | None]:
    """Save the run; return its place, or why it could not be saved."""
    if numbered and place.exists():  # another training took the number meanwhile
        place = next(_free(problem.name))
    try:
        return str(run.save(place, force, extra)), None
    except RunError as error:
        return None, error


def _summary(run: Run, problem: Problem, saved: str | None) -> dict[str, Any]:
    return {
        "run": saved,
        "data": problem.name,
        **run.scores,
        "settings": run.settings,
        "notes": list(problem.pipeline.notes),
        "epochs": len(run.history),
        "best_epoch": run.best_epoch,
        "stopped": run.stopped,
        "seconds": round(sum(record["seconds"] for record in run.history), 3),
    }


@command_line.command()
@click.argument("run", metavar="RUN")
@click.argument("data", metavar="DATA")
@click.option("--out", metavar="FILE", help="Write to FILE, as .csv, .tsv, .parquet, or .json "
              "(as --json)  [default: CSV to standard output]")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object instead of CSV.")
def predict(run: str, data: str, out: str | None, force: bool, as_json: bool) -> None:
    """Predict for the rows of DATA with the network saved in the directory RUN.

    DATA is a file or SQL as for train.  Its columns are matched by name; the target
    need not be among them.  Writes every column of DATA, then prediction, and for
    classes probability_CLASS for each.  Cells are written in one form whatever they
    were: 1.50 as 1.5, dates as 2024-01-31, missing ones empty.

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
            f"{run} was trained on arrays, so it has no columns to match; in Python, "
            f"chainrule.load({run!r}).predict(X) predicts for arrays."
        )
    table = read_table(data)
    predicted = predict_table(saved, table)
    for name, (rows, example, other) in unseen_categories(saved, table).items():
        why = (
            "was rare in training or not there: it counts as 'other'"
            if other
            else ("training did not have")
        )
        tell(
            f"note: {rows:,} {'row has' if rows == 1 else 'rows have'} a `{name}` that {why}, "
            f"such as {example!r}."
        )
    twice = sorted(set(predicted) & set(table.names))
    if twice and form != ".json":
        raise DataError(f"{data} already has a column {twice[0]!r}; rename or leave it out.")
    if form == ".json":
        text = as_json_text(saved, predicted)
    else:
        text = as_csv_text(table, predicted, "\t" if form == ".tsv" else ",")
    if out is None:
        emit(text)
    else:
        write_whole(Path(out), text)
        tell(f"wrote {out}: {len(table):,} {'row' if len(table) == 1 else 'rows'}")


command_line.add_command(draw_run)


@command_line.command()
def datasets() -> None:
    """List the data sets that chainrule train knows by name.

    \b
    Example:
      chainrule datasets
    """  # noqa: D301 - \b tells click to keep the lines
    show_datasets(names().values())


@command_line.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--clear-cache", "clear", is_flag=True, help="Delete the compiled code on disk.")
def env(as_json: bool, clear: bool) -> None:
    """Describe the machine, the engine and the versions, for a bug report.

    \b
    Examples:
      chainrule env
      chainrule env --clear-cache
    """  # noqa: D301 - \b tells click to keep the lines
    if clear:
        entries, freed = clear_cache()
        tell(f"deleted {entries} {'entry' if entries == 1 else 'entries'}, {freed / 1e6:.1f} MB.")
        return
    sections = describe()
    emit(json.dumps(sections) + "\n" if as_json else as_lines(sections))


command_line.add_command(explain_command)
command_line.add_command(features_command)
command_line.add_command(find_rate)
command_line.add_command(activations_command)
command_line.add_command(show_command)
command_line.add_command(compare_command)
