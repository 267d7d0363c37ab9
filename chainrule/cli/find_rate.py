"""``chainrule find-lr``: suggest a learning rate for a network on a table.

Read next: :mod:`chainrule.insight.range_finder`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from chainrule.cli.files import check_extension, write_whole
from chainrule.cli.output import emit, tell
from chainrule.cli.train_options import as_in_train, take_reading
from chainrule.insight.range_finder import find_learning_rate
from chainrule.tabular.build import check_settings
from chainrule.tabular.problem import read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.suit_target import suited, task_of
from chainrule.tabular.table_training import build, settings_for

__all__ = ["find_rate"]


@click.command("find-lr")
@as_in_train
@click.option("--steps", type=click.IntRange(min=20), default=120, show_default=True, metavar="N",
              help="Steps from the lowest rate, 1e-6, to the highest, 10.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
              help="Seed of the split, the initial weights and the order of rows.")  # fmt: skip
@click.option("--svg", metavar="FILE", help="Write a chart of the losses to FILE, as SVG.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def find_rate(
    source: str | None,
    config: str | None,
    target: str | None,
    task: str | None,
    steps: int,
    seed: int,
    preprocess: list[str] | None,
    roles: dict[str, str | list[str]],
    weight: str | None,
    svg: str | None,
    as_json: bool,
    **asked: Any,
) -> int:
    """Find a learning rate for the network that chainrule train would build for SOURCE.

    Trains the network for a few steps while the learning rate rises, and measures the loss on
    held-out rows.  If this is not conclusive, nothing is suggested and the exit status is 1.  The
    options are those of chainrule train; schedule, epochs and weights of rows are ignored.

    \b
    Examples:
      chainrule find-lr digits
      chainrule find-lr houses.csv --target price --optimizer momentum --svg rates.svg
      chainrule find-lr --config runs/digits-1/config.toml
    """  # noqa: D301 - \b tells click to keep the lines
    if source is None:
        raise click.UsageError("give SOURCE: a file, a data set or SQL; or --config with a source.")
    check_extension("--svg", svg, ".svg")
    reading = take_reading(asked)
    # The range test sets the learning rate of each step itself.
    task = task or task_of(asked.get("loss"))
    asked |= {"seed": seed, "schedule": "constant", "warmup": None}
    # Report an unknown name before reading a large file.
    check_settings(choose_settings(1, **asked))
    problem = read_problem(
        source, target, task=task, seed=seed, roles=roles, preprocess=preprocess, weight=weight,
        **reading,
    )  # fmt: skip
    settings = settings_for(problem, **asked)
    problem = suited(problem, settings)
    made = build(settings, problem)
    found = find_learning_rate(
        made.model,
        problem.train,
        loss=made.loss,
        optimizer=made.optimizer,
        steps=steps,
        batch_size=settings.batch_size,
        seed=seed,
    )
    emit(json.dumps(found.to_dict(), allow_nan=False) + "\n" if as_json else f"{found!r}\n")
    if svg is not None and len(found.rates):
        write_whole(Path(svg), found.svg())
        tell(f"wrote {svg}")
    return 0 if found.suggestion is not None else 1
