"""``chainrule draw``: draw the network of a saved run.

The drawing is text on standard output, or a file in the format of its extension.

Read next: :mod:`chainrule.insight.drawing.draw`.
"""

from __future__ import annotations

from pathlib import Path

import click

from chainrule.cli.files import write_whole
from chainrule.cli.output import emit, tell
from chainrule.core.errors import RunError
from chainrule.insight.drawing.draw import LEVELS, check_format, draw
from chainrule.optim.named import optimizer_names
from chainrule.train.run import load

__all__ = ["draw_run"]


@click.command("draw")
@click.argument("run", metavar="RUN")
@click.option("--level", type=click.Choice(LEVELS), default="layers", show_default=True,
              metavar="LEVEL", help=f"One of {', '.join(LEVELS)}.")  # fmt: skip
@click.option("--optimizer", metavar="NAME", help="Draw the whole training step with this "
              "optimizer instead of only the network; one of "
              f"{', '.join(optimizer_names())}.")  # fmt: skip
@click.option("--out", metavar="FILE", help="Write to FILE, as .svg, .html, .dot or .txt  "
              "[default: text to standard output]")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def draw_run(run: str, level: str, optimizer: str | None, out: str | None, force: bool) -> None:
    """Draw the network saved in the directory RUN.

    Levels: layers; neurons, with weights as lines; ops, every operation; kernels, the kernels
    and barriers of the native engine (as .html, together with the graph after each compiler pass).

    \b
    Examples:
      chainrule draw runs/iris-1
      chainrule draw runs/iris-1 --level neurons --out iris.svg
      chainrule draw runs/iris-1 --level kernels --optimizer adam --out step.html
    """  # noqa: D301 - \b tells click to keep the lines
    if out is not None:
        check_format(out)
        if Path(out).exists() and not force:
            raise RunError(f"{out} exists; nothing was written. Give another name, or --force.")
    drawing = draw(load(run), level, optimizer=optimizer)
    if out is None:
        emit(drawing.text() + "\n")
        return
    write_whole(Path(out), drawing.written_as(out))
    tell(f"wrote {out}")
