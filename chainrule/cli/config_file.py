"""Options in a file: ``--config file.toml`` sets the options of a command.

The values of a TOML file become the defaults of the command, and the settings of a run are
written as such a file.  Options on the command line override the file.

Read next: :mod:`chainrule.cli.train_options`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from chainrule.core.errors import DataError, OptionError, RunError, did_you_mean
from chainrule.data.builtin import names
from chainrule.data.read import is_query
from chainrule.tabular.settings import Settings
from chainrule.train.directory import CHECKPOINTS, START
from chainrule.train.run import Run

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "as_options", "as_toml", "check_resumed", "from_anywhere", "read_config", "read_resumed",
    "source_of",
]  # fmt: skip

# The config.toml of a run has these; commands without these options ignore them.
TRAIN_ALONE = {
    "checkpoint_every",
    "devices",
    "engine",
    "folds",
    "precision",
    "report",
    "shard",
    "stream",
    "tensorboard",
    "test_fraction",
    "threads",
    "threshold",
}
# What may be given with --resume, because the result does not depend on it.  SOURCE may, in case
# the file was moved: whether it has the same rows is checked.
FREE_TO_RESUME = {
    "as_json", "check", "checkpoint_every", "cure", "devices", "engine", "force", "quiet", "resume",
    "shard", "source", "threads", "wanted",
}  # fmt: skip
NOT_IN_FILES = {"config", "force", "help", "json", "quiet", "resume"}


def read_config(ctx: click.Context, option: click.Parameter, path: str | None) -> str | None:
    """Set the defaults of the command from the file `path`; the callback of ``--config``.

    Raises DataError for a file that is not TOML, and OptionError for an unknown option.
    """
    if path is None:
        return None
    try:
        entries = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"can't read {path!r}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path!r} is not a TOML file: {error}.") from error
    # Options by their long name without the dashes, as written in the file.
    known = {
        max(p.opts, key=len).lstrip("-").replace("-", "_"): p
        for p in ctx.command.params
        if p is not option
    }
    known = {name: p for name, p in known.items() if name not in NOT_IN_FILES}
    defaults = {}
    for key, value in entries.items():
        name = key.replace("-", "_")
        if name not in known and name in TRAIN_ALONE:
            continue
        if name not in known:
            raise OptionError(f"{path}: there is no option {key!r}. {did_you_mean(name, known)}")
        try:
            defaults[str(known[name].name)] = _as_option(value, known[name])
        except OptionError as error:
            raise OptionError(f"{path}: {key!r} {error}") from None
    ctx.default_map = defaults
    return path


def read_resumed(ctx: click.Context, option: click.Parameter, run: str | None) -> str | None:
    """Set the options to those of the training in `run`; the callback of ``--resume``.

    Raises RunError if no training can be resumed there.
    """
    if run is None:
        return None
    saved = Path(run) / CHECKPOINTS / START / "config.toml"
    if not saved.is_file():
        why = "it holds no checkpoint"
        if not Path(run).is_dir():
            why = "there is no such directory"
        elif (Path(run) / "run.json").is_file():
            why = "the training in it has ended"
        raise RunError(f"--resume {run}: there is nothing to go on with, because {why}.")
    read_config(ctx, option, str(saved))
    return run


def check_resumed(ctx: click.Context) -> None:
    """Raise OptionError for settings on the command line that are not those of the resumed run."""
    other = []
    for option in ctx.command.params:
        name = str(option.name)
        if name in FREE_TO_RESUME:
            continue
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            usual = option.process_value(ctx, option.get_default(ctx, call=True))
            other += [max(option.opts, key=len)] if ctx.params[name] != usual else []
    if other:
        raise OptionError(
            "--resume takes no other settings than those of the training: leave out "
            f"{', '.join(other)}. To train with them, begin anew in another directory."
        )


def source_of(place: str, run: Run) -> str | None:
    """Return the file, SQL or data set that the run saved in `place` was trained on, or None."""
    try:
        entries = tomllib.loads((Path(place) / "config.toml").read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        entries = {}
    source = entries.get("source", run.settings.get("data"))
    return source if source in names() or "source" in entries else None


def from_anywhere(source: str) -> str:
    """Return `source` so that it works from any directory: paths are made absolute."""
    path = Path(source)
    named = source in names() and not path.is_file()
    return source if named or is_query(source) or not path.exists() else str(path.absolute())


def _as_option(value: Any, option: click.Parameter) -> Any:
    """Return a TOML value as it would be written on the command line; click then checks it.

    Raises OptionError for a type of value that the option does not take.
    """
    if isinstance(value, Mapping):
        raise OptionError("must be a value, not a table.")
    if isinstance(option, click.Option) and option.is_flag:
        if not isinstance(value, bool):
            raise OptionError(f"must be true or false, not {value!r}.")
        return value
    if isinstance(value, bool):
        raise OptionError(f"must be a value, not {str(value).lower()}.")
    if option.multiple:
        return list(map(str, value)) if isinstance(value, list) else [str(value)]
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    return str(value)


def as_options(settings: Settings) -> dict[str, Any]:
    """Return the settings by the names of their options."""
    entries = settings.plain()
    entries["lr"] = entries.pop("learning_rate", None)
    entries.pop("min_delta")  # no option sets it
    entries.setdefault("patience", 0)
    usual = {f.name: f.default for f in fields(Settings)}
    return {k: v for k, v in entries.items() if v != usual.get(k) or k in ("seed", "patience")}


def as_toml(entries: Mapping[str, Any], heading: str = "") -> str:
    """Return flat `entries` as a TOML file, without those that are None.

    >>> print(as_toml({"hidden": [64, 32], "optimizer": "adam", "seed": None}, "Settings."), end="")
    # Settings.
    hidden = [64, 32]
    optimizer = "adam"
    """
    lines = [f"# {line}" for line in heading.splitlines()]
    # TOML writes strings, numbers, booleans and lists of these as JSON does, except for DEL, the
    # one control character that JSON does not escape.
    lines += [
        f"{name} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")
        for name, value in entries.items()
        if value is not None
    ]
    return "\n".join(lines) + "\n"
