"""``chainrule datasets``: list the built-in data sets.

Read next: :mod:`chainrule.data.builtin`.
"""

from __future__ import annotations

import click

from chainrule.cli.show import show_datasets
from chainrule.data.builtin import names

__all__ = ["datasets"]


@click.command("datasets")
def datasets() -> None:
    """List the built-in data sets that chainrule train accepts by name.

    \b
    Example:
      chainrule datasets
    """  # noqa: D301 - \b tells click to keep the lines
    show_datasets(names().values())
