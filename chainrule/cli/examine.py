"""``chainrule doctor``: check a training before its first step.

Read next: :mod:`chainrule.doctor.preflight`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from chainrule.cli.cured_config import remedies_in_options
from chainrule.cli.output import emit
from chainrule.cli.train_options import as_in_train, take_reading
from chainrule.core.errors import OptionError
from chainrule.data.read import is_query
from chainrule.tabular.build import check_settings
from chainrule.tabular.problem import read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.suit_target import task_of
from chainrule.tabular.table_training import preflight_table, settings_for
from chainrule.train.run import load

__all__ = ["doctor"]


@click.command("doctor")
@as_in_train
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
              help="Seed of the split and the initial weights.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(
    source: str | None,
    config: str | None,
    target: str | None,
    task: str | None,
    seed: int,
    preprocess: list[str] | None,
    roles: dict[str, str | list[str]],
    weight: str | None,
    as_json: bool,
    **asked: Any,
) -> int:
    """Check the training that chainrule train would start for SOURCE, without training.

    If SOURCE is the directory of a saved run, prints what was found when it was trained.
    Otherwise looks at the data, the output and the loss, the initial weights and signals, and
    takes a few steps on one batch.  Each finding names its cause, the numbers it rests on and what
    to change.  The exit status is 1 if there is a warning or a fault.

    \b
    Examples:
      chainrule doctor digits --lr 3
      chainrule doctor houses.csv --target price --activation sigmoid --hidden 32,32,32,32,32,32
      chainrule doctor --config runs/digits-1/config.toml --json
      chainrule doctor runs/digits-1
    """  # noqa: D301 - \b tells click to keep the lines
    if source is None:
        raise click.UsageError("give SOURCE: a file, a data set or SQL; or --config with a source.")
    if not is_query(source) and (Path(source) / "run.json").is_file():
        ctx = click.get_current_context()
        given = [name for name in ctx.params if name not in ("source", "as_json")
                 and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]  # fmt: skip
        if given:
            raise OptionError(
                f"{source} is a saved run, and what was found in its training is printed as it "
                f"is: leave --{given[0].replace('_', '-')} out."
            )
        return _tell_saved(source, as_json)
    reading = take_reading(asked)
    task = task or task_of(asked.get("loss"))
    asked |= {"seed": seed}
    # Report an unknown name before reading a large file.
    check_settings(choose_settings(1, **asked), task)
    problem = read_problem(
        source, target, task=task, seed=seed, roles=roles, preprocess=preprocess, weight=weight,
        **reading,
    )  # fmt: skip
    settings = settings_for(problem, **asked)
    found = preflight_table(problem, settings)
    told = [str(found), *remedies_in_options(found, settings, problem, preprocess)]
    emit((json.dumps(found.to_json()) if as_json else "\n".join(told)) + "\n")
    return 1 if found.serious else 0


def _tell_saved(place: str, as_json: bool) -> int:
    run = load(place)
    if run.findings is None:
        raise OptionError(
            f"{place} was trained without checks. Train it again with chainrule train, which "
            "checks by default, or with fit(..., check=True) in Python."
        )
    if as_json:
        emit(json.dumps(run.findings.to_json()) + "\n")
    else:
        emit(f"{run.findings}\n" + (f"\n{run.remedies}\n" if run.remedies else ""))
    return 1 if run.findings.serious else 0
