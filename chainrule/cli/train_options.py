"""The options of the network and of the training, and the parsers of their values.

Read next: :mod:`chainrule.cli.commands`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from chainrule.cli.config_file import read_config
from chainrule.core.errors import OptionError
from chainrule.data.preprocess import NAMES as PREPROCESSING
from chainrule.tabular.calibration import check_threshold
from chainrule.tabular.settings import Option, check_range, options
from chainrule.train.checkpoint import Checkpoint

__all__ = [
    "HOW_READ",
    "as_in_train",
    "method_options",
    "network_options",
    "parse_devices",
    "parse_every",
    "parse_threshold",
    "positive",
    "stream_option",
    "take_reading",
    "test_fraction_option",
]

# Options of reading, by the names that read_problem has for them.
HOW_READ = ("skip", "na", "group", "time")

F = TypeVar("F", bound=Callable[..., Any])
positive = click.IntRange(min=1)


def parse_hidden(
    ctx: click.Context, option: click.Parameter, text: str | None
) -> tuple[int, ...] | None:
    """Parse layer sizes such as ``128,64``, or ``none``."""
    if text is None:
        return None
    if text.strip().lower() == "none":
        return ()
    sizes = []
    for part in text.split(","):
        if not part.strip().isdecimal() or int(part) == 0:
            raise click.BadParameter(
                f"{part.strip()!r} is not a number of units. Give a positive whole number for each "
                "hidden layer, as in --hidden 128,64, or --hidden none",
                ctx,
                option,
            )
        sizes.append(int(part))
    return tuple(sizes)


def parse_number(ctx: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """Check that a number is in the range of its setting."""
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
    """Check that a number is not below 0, and below 1."""
    if fraction is not None and not 0 <= fraction < 1:
        raise click.BadParameter(f"must be from 0 to below 1, not {fraction:g}", ctx, option)
    return fraction


def parse_devices(
    ctx: click.Context, option: click.Parameter, devices: str | None
) -> int | str | None:
    """Parse "all", or a number from 1."""
    if devices is None or devices == "all":
        return devices
    if not devices.isdecimal() or int(devices) < 1:
        raise click.BadParameter(f"must be a number from 1, or all, not {devices!r}", ctx, option)
    return int(devices)


def parse_threshold(ctx: click.Context, option: click.Parameter, rule: str | None) -> str | None:
    """Check a rule for a threshold."""
    try:
        if rule is not None:
            check_threshold(rule)
    except OptionError as error:
        raise click.BadParameter(str(error), ctx, option) from None
    return rule


def parse_every(ctx: click.Context, option: click.Parameter, text: str) -> int | str:
    """Parse how often checkpoints are written: a number of epochs, or a time such as ``30s``."""
    every = int(text) if text.strip().isdecimal() else text.strip()
    try:
        Checkpoint("", every)
    except OptionError:
        why = f"must be a number of epochs, or a time such as 30s or 5m, not {text!r}"
        raise click.BadParameter(why, ctx, option) from None
    return every


def parse_list(ctx: click.Context, option: click.Parameter, text: str | None) -> list[str] | None:
    """Parse comma-separated names."""
    if text is None:
        return None
    if not text.strip():
        raise click.BadParameter("give a name, such as none", ctx, option)
    return [part.strip() for part in text.split(",") if part.strip()]


def parse_roles(
    ctx: click.Context, option: click.Parameter, given: tuple[str, ...]
) -> dict[str, str | list[str]]:
    """Parse ``column=role`` and ``column=low<mid<high``."""
    roles: dict[str, str | list[str]] = {}
    for text in given:
        said = re.fullmatch(r"(.+?)(=)(\w+\(.*\))", text, re.DOTALL)
        name, sign, role = said.groups() if said else text.rpartition("=")
        if not sign or not name or not role:
            raise click.BadParameter(f"{text!r} is not of the form COLUMN=ROLE", ctx, option)
        roles[name] = role.split("<") if "<" in role else role
    return roles


def take_reading(asked: dict[str, Any]) -> dict[str, Any]:
    """Take the options of reading out of all that were `asked` for."""
    return {name: asked.pop(name) for name in HOW_READ}


def parse_choice(ctx: click.Context, option: click.Parameter, name: str | None) -> str | None:
    """Replace dashes by underscores, as names are spelled in Python: one-cycle is one_cycle."""
    return None if name is None else name.replace("-", "_")


def _together(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _from_settings(part: str) -> list[Callable[[Any], Any]]:
    """Return the command-line options of the settings in `part`, as the settings describe them."""
    return [_option(name, option) for name, option in options().items() if option.part == part]


def _option(name: str, option: Option) -> Callable[[Any], Any]:
    words = (f"--{option.flag or name.replace('_', '-')}", name)
    if option.kind == "switch":
        return click.option(*words, is_flag=True, default=None, help=option.help)
    if option.kind == "choice":
        return click.option(*words, type=click.Choice(option.choices), help=option.help)
    more: dict[str, Any] = {"type": str, "metavar": "NAME", "callback": parse_choice}
    if option.kind == "count":
        more = {"type": click.IntRange(min=option.least), "metavar": "N"}
    elif option.kind == "number":
        more = {"type": float, "metavar": "X", "callback": parse_number}
    elif option.kind == "sizes":
        more["callback"] = parse_hidden
    if option.metavar:
        more["metavar"] = option.metavar
    return click.option(*words, help=option.help, **more)


network_options = _together(
    click.option("--preprocess", metavar="NAMES", callback=parse_list,
                 help="Preprocessing of features: one of "
                 f"{', '.join(PREPROCESSING[:5])}, then one of {', '.join(PREPROCESSING[5:])}, as "
                 "in robust,pca."),
    click.option("--role", "roles", metavar="COLUMN=ROLE", multiple=True, callback=parse_roles,
                 help="How a column is used: number, category, embedded, ordinal, its values "
                 "in order as low<mid<high, date, cyclic or dropped; number(thousands=\",\"), "
                 "number(decimal=\",\") or date(dayfirst) also say how it is written. May be "
                 "repeated."),
    click.option("--skip", type=click.IntRange(min=0), metavar="N", help="Lines above the header "
                 "of SOURCE  [default: titles and comments are found]"),
    click.option("--na", metavar="WORDS", callback=parse_list, help="Words and numbers that mean "
                 "no value, as in -999,unknown,age=0."),
    click.option("--group", metavar="COLUMN", help="Column of groups, such as patients, whose "
                 "rows are all in one part; it is no feature."),
    click.option("--time", metavar="COLUMN", help="Column of times: the last rows are for testing, "
                 "and none is trained on that is later than they are."),
    click.option("--weight", metavar="COLUMN", help="Column that holds the weight of each row."),
    *_from_settings("network"),
)  # fmt: skip

method_options = _together(*_from_settings("method"))

test_fraction_option = click.option(
    "--test-fraction", type=float, metavar="X", callback=parse_fraction,
    help="Fraction of rows held out for testing; 0: none, so without scores  [default: 0.2]",
)  # fmt: skip

stream_option = click.option(
    "--stream/--no-stream", default=None, help="Encode SOURCE to disk instead of memory  "
    "[default: for files larger than a quarter of the memory]",
)  # fmt: skip

# For the commands that look at the training that `chainrule train` would start.
as_in_train = _together(
    click.argument("source", required=False),
    click.option("--config", metavar="FILE", is_eager=True, callback=read_config,
                 help="TOML file of options, such as the config.toml of a run."),
    click.option("--target", metavar="COLUMN", help="Column to predict, as in chainrule train."),
    click.option("--task", type=click.Choice(["classification", "regression"]), metavar="TASK",
                 help="classification or regression  [default: inferred from the target]"),
    network_options,
    method_options,
)  # fmt: skip
