"""``chainrule tune``: search the settings of chainrule train for one table.

Read next: :mod:`chainrule.search.tune`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from chainrule.cli.config_file import as_options, as_toml, from_anywhere
from chainrule.cli.files import write_whole
from chainrule.cli.output import emit, tell
from chainrule.cli.show import progress_bar
from chainrule.cli.train_options import (
    as_in_train,
    positive,
    stream_option,
    take_reading,
    test_fraction_option,
)
from chainrule.core.errors import OptionError
from chainrule.search.space import parse_space
from chainrule.search.study import optuna_library
from chainrule.search.tune import tune
from chainrule.tabular.build import check_settings
from chainrule.tabular.problem import read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.suit_target import task_of

__all__ = ["tune_command"]


@click.command("tune")
@as_in_train
@click.option("--trials", type=positive, default=100, show_default=True, metavar="N",
              help="Trainings in all; those of an earlier call count.")  # fmt: skip
@click.option("--jobs", type=positive, default=1, show_default=True, metavar="N",
              help="Trainings at once, each in a process of its own.")  # fmt: skip
@click.option("--space", multiple=True, metavar="NAME[=VALUES]",
              help="Search only this setting, as in lr, lr=1e-4..1e-1, hidden=64|128,64 or "
              "activation=relu|tanh.  May be repeated.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
              help="Seed of the split, the trainings and the search.")  # fmt: skip
@test_fraction_option
@stream_option
@click.option("--threads", type=positive, metavar="N", help="Threads of all jobs together.")
@click.option("--out", metavar="DIR", help="Where to write  [default: runs/NAME-tune]")
@click.option("--json", "as_json", is_flag=True, help="Print all trials as one JSON object.")
def tune_command(
    source: str | None,
    config: str | None,
    target: str | None,
    task: str | None,
    trials: int,
    jobs: int,
    space: tuple[str, ...],
    seed: int,
    test_fraction: float | None,
    stream: bool | None,
    threads: int | None,
    out: str | None,
    preprocess: list[str] | None,
    roles: dict[str, str | list[str]],
    weight: str | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Search settings of chainrule train for SOURCE by many trainings.

    Tries learning rates, hidden layers, dropout, weight decay, batch sizes, optimizers and
    activations; --space limits this.  Settings that are given as options are not searched.
    Trainings that fall behind are stopped early.  The network with the lowest validation loss
    wins; test rows are not looked at.

    DIR gets config.toml, which chainrule train --config trains with, tune.html, a page with
    charts and the trials, and study.db, a study of Optuna.  The same command goes on from it.

    \b
    Examples:
      chainrule tune digits --jobs 2
      chainrule tune houses.csv --target price --trials 200
      chainrule tune digits --space lr --space "hidden=64|128|128,64" --optimizer adam
      chainrule train --config runs/digits-tune/config.toml
    """  # noqa: D301 - \b tells click to keep the lines
    if source is None:
        raise click.UsageError("give SOURCE: a file, a data set or SQL; or --config with a source.")
    optuna_library()
    if stream and jobs > 1:  # before the table is encoded
        raise OptionError(
            "--jobs needs the rows in memory, and --stream puts them on disk; leave one of them "
            "out."
        )
    wanted = parse_space(space) or None
    reading = take_reading(asked)
    task = task or task_of(asked.get("loss"))
    check_settings(choose_settings(1, **asked), task)  # before a file is read
    problem = read_problem(
        source, target, task=task, seed=seed, roles=roles, preprocess=preprocess, weight=weight,
        test_fraction=0.2 if test_fraction is None else test_fraction, stream=stream, **reading,
    )  # fmt: skip
    place = Path(out or f"runs/{problem.name}-tune")
    if (place / "run.json").exists():
        raise OptionError(f"--out {place} holds a run; give another directory.")
    with progress_bar("trials") as bar:
        found = tune(
            problem, trials=trials, jobs=jobs, space=wanted, file=place / "study.db", seed=seed,
            threads=threads, watch=bar, **asked,
        )  # fmt: skip
    several = bool(problem.pipeline.target.parts)
    told = {
        "source": from_anywhere(source), "target": problem.pipeline.target.name,
        "task": None if several else problem.pipeline.task, "preprocess": preprocess,
        "weight": weight, "test_fraction": test_fraction, "stream": stream, **reading,
        "role": [f"{k}={'<'.join(v) if isinstance(v, list) else v}" for k, v in roles.items()],
    }  # fmt: skip
    heading = (
        f"The best of {len(found.trials)} trials, validation loss {found.best.loss:.6g}.\n"
        "chainrule train --config THIS_FILE trains with it."
    )
    write_whole(place / "config.toml", as_toml(told | as_options(found.settings), heading))
    found.save(place / "tune.html")
    if as_json:
        best = found.best.number
        trials_of = [asdict(t) for t in found.trials]
        emit(json.dumps({"best": best, "trials": trials_of, "config": str(place / "config.toml"),
                         "importances": found.importances}) + "\n")  # fmt: skip
    else:
        emit(f"{found}\n")
        for name, share in found.importances.items():
            emit(f"importance of {name}: {share:.0%}\n")
    tell(f"To train with the best: chainrule train --config {place / 'config.toml'}")
    tell(f"wrote {place / 'tune.html'}")
