"""The commands by name: parse the arguments, make one call into the library, print the results.

Each command is thin and has a module of its own, which is imported only when the command is run,
so that no command waits for the imports of another.

Read next: :mod:`chainrule.cli.train`, :mod:`chainrule.cli.command_line`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import click

from chainrule.cli.command_line import CommandLine
from chainrule.cli.output import emit

__all__ = ["command_line", "main"]

# The module and the attribute of each command, in the order of --help.
LOADED = {
    "train": "chainrule.cli.train:train",
    "launch": "chainrule.cli.launch:launch",
    "doctor": "chainrule.cli.examine:doctor",
    "predict": "chainrule.cli.predict:predict",
    "show": "chainrule.cli.runs:show_command",
    "compare": "chainrule.cli.runs:compare_command",
    "explain": "chainrule.cli.explain:explain_command",
    "features": "chainrule.cli.features:features_command",
    "draw": "chainrule.cli.pictures:draw_run",
    "export": "chainrule.cli.export_run:export_run",
    "serve": "chainrule.cli.serve_run:serve_run",
    "tune": "chainrule.cli.tune_command:tune_command",
    "find-lr": "chainrule.cli.find_rate:find_rate",
    "datasets": "chainrule.cli.datasets:datasets",
    "lab": "chainrule.cli.lab_command:lab_command",
    "activations": "chainrule.cli.activation_table:activations_command",
    "env": "chainrule.cli.env:env",
}


class Commands(CommandLine):
    """The commands of `LOADED`, each imported when it is first used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of `LOADED`."""
        return list(LOADED)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command `cmd_name`; None if there is no such command."""
        if cmd_name not in LOADED:
            return None
        module, name = LOADED[cmd_name].split(":")
        command: click.Command = getattr(import_module(module), name)
        return command


def main() -> None:
    """Run ``chainrule`` with the arguments of the command line, and exit."""
    command_line.main()


def _print_version(ctx: click.Context, option: click.Parameter, asked: bool) -> None:
    if not asked:
        return
    try:
        emit(f"chainrule {version('chainrule')}\n")
    except PackageNotFoundError:
        emit("chainrule (not installed: run from its source)\n")
    ctx.exit(0)


@click.group("chainrule", cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
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
