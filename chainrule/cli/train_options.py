"""The options of ``chainrule train`` that say how to train, in groups, and how they are read.

Read next: :mod:`chainrule.cli.commands`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from chainrule.core.errors import OptionError
from chainrule.data.preprocess import NAMES as PREPROCESSING
from chainrule.nn.initializers import BY_NAME as INITIALIZERS
from chainrule.nn.normalize import NORMS
from chainrule.optim.named import optimizer_names, schedule_names
from chainrule.tabular.settings import check_range, loss_names

__all__ = ["method_options", "network_options", "parse_fraction", "positive"]

F = TypeVar("F", bound=Callable[..., Any])
positive = click.IntRange(min=1)


def parse_hidden(
    ctx: click.Context, option: click.Parameter, text: str | None
) -> tuple[int, ...] | None:
    """Read ``128,64``, or none."""
    if text is None:
        return None
    if text.strip().lower() == "none":
        return ()
    sizes = []
    for part in text.split(","):
        if not part.strip().isdecimal() or int(part) == 0:
            raise click.BadParameter(
                f"{part.strip()!r} is no number of units. Give a positive whole number for each "
                "hidden layer, as in --hidden 128,64, or --hidden none",
                ctx,
                option,
            )
        sizes.append(int(part))
    return tuple(sizes)


def parse_number(ctx: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """Read a number in the range that the setting of this name has."""
    if value is not None:
        setting = str(option.name)
        try:
            check_range(setting, value)
        except OptionError as error:
            raise click.BadParameter(str(error).removeprefix(f"{setting} "), ctx, option) from None
    return value


def parse_fraction(
    ctx: click.Context, option: click.Parameter, fraction: float | None
) -> float | None:
    """Read a number between 0 and 1."""
    if fraction is not None and not 0 < fraction < 1:
        raise click.BadParameter(
            f"must lie between 0 and 1, both excluded, not {fraction:g}", ctx, option
        )
    return fraction


def parse_list(ctx: click.Context, option: click.Parameter, text: str | None) -> list[str] | None:
    """Read names with commas between."""
    if text is None:
        return None
    if not text.strip():
        raise click.BadParameter("give a name, such as none", ctx, option)
    return [part.strip() for part in text.split(",") if part.strip()]


def parse_roles(
    ctx: click.Context, option: click.Parameter, given: tuple[str, ...]
) -> dict[str, str | list[str]]:
    """Read ``column=role`` and ``column=low<mid<high``."""
    roles: dict[str, str | list[str]] = {}
    for text in given:
        name, sign, role = text.rpartition("=")
        if not sign or not name or not role:
            raise click.BadParameter(f"{text!r} is not of the form COLUMN=ROLE", ctx, option)
        roles[name] = role.split("<") if "<" in role else role
    return roles


def parse_choice(ctx: click.Context, option: click.Parameter, name: str | None) -> str | None:
    """Read a name as Python spells it: one-cycle is one_cycle."""
    return None if name is None else name.replace("-", "_")


def _together(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _among(names: Any) -> str:
    return f"One of {', '.join(names)}."


network_options = _together(
    click.option("--preprocess", metavar="NAMES", callback=parse_list,
                 help="How features are prepared: one of "
                 f"{', '.join(PREPROCESSING[:5])}, then one of {', '.join(PREPROCESSING[5:])}, as "
                 "in robust,pca."),
    click.option("--role", "roles", metavar="COLUMN=ROLE", multiple=True, callback=parse_roles,
                 help="What a column is used as: number, category, embedded, ordinal, its words "
                 "in order as low<mid<high, date, cyclic or dropped. May be given again."),
    click.option("--embedding", type=positive, metavar="N",
                 help="Size of learned vectors  [default: half the categories, at most 50]"),
    click.option("--weight", metavar="COLUMN", help="Column of how much each row counts."),
    click.option("--hidden", metavar="SIZES", callback=parse_hidden,
                 help="Units of each hidden layer, as in 128,64; or none."),
    click.option("--activation", metavar="NAME", callback=parse_choice,
                 help="One that chainrule activations lists."),
    click.option("--pieces", type=click.IntRange(min=2), metavar="K",
                 help="Products of which a maxout unit takes the largest  [default: 2]"),
    click.option("--norm", type=click.Choice(list(NORMS)),
                 help="Normalize each hidden layer."),
    click.option("--dropout", type=float, metavar="X", callback=parse_number,
                 help="Share of hidden units to drop."),
    click.option("--noise", type=float, metavar="X", callback=parse_number,
                 help="Spread of normal noise on the inputs."),
    click.option("--density", type=float, metavar="X",
                 help="Share of connections that hidden layers have."),
    click.option("--residual", is_flag=True, default=None,
                 help="Add the input of each hidden layer of equal width to its output."),
    click.option("--init", metavar="NAME", callback=parse_choice,
                 help=f"First weights: {', '.join(INITIALIZERS)}  [default: what suits the "
                 "activation]"),
    click.option("--bias-init", type=float, metavar="X", callback=parse_number,
                 help="Where biases of hidden layers start, such as 0.01."),
)  # fmt: skip

method_options = _together(
    click.option("--loss", metavar="NAME", callback=parse_choice,
                 help=f"For classes {', '.join(loss_names('classification'))}; for numbers "
                 f"{', '.join(loss_names('regression'))}  [default: the first]"),
    click.option("--label-smoothing", type=float, metavar="X", callback=parse_number,
                 help="Share of each target spread over all classes."),
    click.option("--class-weight", type=click.Choice(["balanced"]),
                 help="Let every class count alike, however many rows it has."),
    click.option("--l1", type=float, metavar="X", callback=parse_number,
                 help="Penalty on the size of weights."),
    click.option("--l2", type=float, metavar="X", callback=parse_number,
                 help="Penalty on the squares of weights."),
    click.option("--epochs", type=positive, metavar="N", help="Most passes over the rows."),
    click.option("--patience", type=click.IntRange(min=0), metavar="N",
                 help="Epochs without progress after which to stop; 0: never."),
    click.option("--batch-size", type=positive, metavar="N", help="Rows a step."),
    click.option("--accumulate", type=positive, metavar="N",
                 help="Batches whose gradients are added up for a step."),
    click.option("--lr", "learning_rate", type=float, metavar="X",
                 callback=parse_number, help="Learning rate."),
    click.option("--schedule", metavar="NAME", callback=parse_choice,
                 help=f"How the learning rate changes: {', '.join(schedule_names())}."),
    click.option("--warmup", type=float, metavar="N", callback=parse_number,
                 help="Epochs in which the learning rate rises to its start."),
    click.option("--optimizer", default="adam", show_default=True, metavar="NAME",
                 callback=parse_choice, help=_among(optimizer_names())),
    click.option("--weight-decay", type=float, metavar="X", callback=parse_number,
                 help="Weights shrink by this times the learning rate in each step."),
    click.option("--max-norm", type=float, metavar="X", callback=parse_number,
                 help="Most length of a unit's incoming weights."),
    click.option("--clip-norm", type=float, metavar="X", callback=parse_number,
                 help="Most length of the gradient."),
    click.option("--clip-value", type=float, metavar="X", callback=parse_number,
                 help="Most size of an element of the gradient."),
    click.option("--average", type=float, metavar="X", callback=parse_number,
                 help="Predict with an average of the weights, with this decay, as 0.999."),
)  # fmt: skip
