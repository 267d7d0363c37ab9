"""The command activations: the catalogue of activation functions with a picture of each.

Read next: :mod:`chainrule.nn.catalogue`.
"""

from __future__ import annotations

import json

import click
import numpy as np

from chainrule.cli.output import emit
from chainrule.cli.show import show_activations
from chainrule.core.tensor import tensor
from chainrule.nn.catalogue import Activation, activations

__all__ = ["activations_command", "picture"]

COLUMNS, LINES = 12, 3  # of braille characters, two dots wide and four high
SPAN = {"both": 8.0}  # half-width of the range of inputs drawn; otherwise 4
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


@click.command("activations")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def activations_command(names: tuple[str, ...], as_json: bool) -> None:
    """Show the activation functions: shape, range, where gradients vanish, when to use them.

    Pictures span inputs from -4 to 4, or from -8 to 8 where both ends are flat, each on its own
    scale.  In JSON, an infinite end of a range is null.

    \b
    Examples:
      chainrule activations
      chainrule activations relu maxout
      chainrule activations --json
    """  # noqa: D301 - \b tells click to keep the lines
    table = activations()
    chosen = [table.named(name) for name in names] or list(table)
    if as_json:
        emit(json.dumps([record.to_json() for record in chosen], allow_nan=False) + "\n")
    else:
        show_activations([(record, picture(record)) for record in chosen])


def picture(record: Activation) -> str:
    """Return the graph of the function as a few lines of braille dots.

    >>> print(picture(activations().named("tanh")))
    ⠀⠀⠀⠀⠀⠀⢰⠉⠉⠉⠉⠉
    ⠀⠀⠀⠀⠀⢀⠇⠀⠀⠀⠀⠀
    ⣀⣀⣀⣀⣀⠜⠀⠀⠀⠀⠀⠀
    """
    span = SPAN.get(record.saturates, 4.0)
    inputs = np.linspace(-span, span, 2 * COLUMNS, dtype=np.float32)
    values = record.example()(tensor(inputs[:, None])).numpy()[:, 0]
    top = 4 * LINES - 1
    heights = np.rint((values - values.min()) / np.ptp(values) * top).astype(int)
    cells = np.zeros((LINES, COLUMNS), int)
    before = heights[0]
    for x, height in enumerate(heights):
        # Where the function is steep, fill the column from the previous height.
        low, high = sorted((height, before + np.sign(height - before)))
        for y in range(top - high, top - low + 1):
            cells[y // 4, x // 2] |= _DOTS[y % 4][x % 2]
        before = height
    return "\n".join("".join(chr(0x2800 + cell) for cell in row) for row in cells)
