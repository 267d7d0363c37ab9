"""``chainrule show`` and ``chainrule compare``: summaries of saved runs in the terminal.

Read next: :mod:`chainrule.insight.report.overview`.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from chainrule.cli.output import emit, tell
from chainrule.core.errors import OptionError
from chainrule.insight.report.card import card
from chainrule.insight.report.overview import REPORT, compare, overview
from chainrule.insight.report.report import report
from chainrule.tabular.problem import Problem
from chainrule.train.run import Run, load
from chainrule.train.saved_files import edited_files, saved_with

__all__ = ["compare_command", "show_command", "write_report"]


def write_report(run: Run, problem: Problem) -> dict[str, str]:
    """Return the report of `run` by its file name; empty, with a note to the user, if that fails.

    Every error is caught, so that a failing report never loses a long training.
    """
    try:
        return {REPORT: report(run, problem).html()}
    except (Exception, KeyboardInterrupt) as error:
        tell(f"note: there will be no {REPORT}: {type(error).__name__}: {error}".rstrip(": "))
        return {}


@click.command("show")
@click.argument("run", metavar="RUN")
@click.option("--card", "as_card", is_flag=True, help="Print a model card, in Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show_command(run: str, as_card: bool, as_json: bool) -> None:
    """Summarize the run in the directory RUN: scores, curves, settings, network.

    The curves are drawn from the first epoch to the last, each on its own scale.  A run that
    chainrule train saved also has a report.html for the browser.

    \b
    Examples:
      chainrule show runs/digits-1
      chainrule show runs/digits-1 --json
      chainrule show runs/houses-1 --card > MODEL_CARD.md
    """  # noqa: D301 - \b tells click to keep the lines
    if as_card and as_json:
        raise OptionError("--card prints Markdown, --json an object: give one of them.")
    saved = load(run)
    if as_card:
        emit(card(saved, saved_with(Path(run))))
        return
    found = overview(saved, run)
    for name in edited_files(Path(run)):
        tell(f"note: {name} was changed after the run was saved.")
    emit(json.dumps(found.to_dict(), allow_nan=False) + "\n" if as_json else f"{found}\n")


@click.command("compare")
@click.argument("runs", metavar="RUN RUN...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def compare_command(runs: tuple[str, ...], as_json: bool) -> None:
    """Compare saved runs side by side: scores, the settings that differ, curves.

    If all runs were scored on the same rows, the best of each score is marked with a star.

    \b
    Examples:
      chainrule compare runs/digits-1 runs/digits-2
      chainrule compare runs/* --json
    """  # noqa: D301 - \b tells click to keep the lines
    if len(set(runs)) < 2:
        raise OptionError(f"compare needs two runs or more; got {', '.join(sorted(set(runs)))}.")
    found = compare({run: load(run) for run in runs})
    emit(json.dumps(found.to_dict(), allow_nan=False) + "\n" if as_json else f"{found}\n")
