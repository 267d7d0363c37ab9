"""``chainrule env``: the text to paste into a bug report.

Read next: :mod:`chainrule.cli.machine_facts`.
"""

from __future__ import annotations

import json

import click

from chainrule.cli.machine_facts import as_lines, clear_cache, describe
from chainrule.cli.output import emit, tell

__all__ = ["env"]


@click.command("env")
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
