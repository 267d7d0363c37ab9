"""``chainrule datasets``: what can be trained on by name.

Read next: :mod:`chainrule.data.builtin`.
"""

from __future__ import annotations

import click

from chainrule.cli.show import show_datasets
from chainrule.data.builtin import names

__all__ = ["datasets"]


@click.command("datasets")
def datasets() -> None:
    """List the data sets that chainrule train knows by name.

    \b
    Example:
      chainrule datasets
    """  # noqa: D301 - \b tells click to keep the lines
    show_datasets(names().values())
