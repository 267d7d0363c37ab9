"""``chainrule explain``: the chain rule for a formula or for a row of a run, as text, JSON or HTML.

Read next: :mod:`chainrule.insight.explain.explanation`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from chainrule.cli.config_file import source_of
from chainrule.cli.files import check_extension, write_whole
from chainrule.cli.output import emit, tell
from chainrule.core.errors import DataError, OptionError, RunError, did_you_mean
from chainrule.data.builtin import load as load_set
from chainrule.data.builtin import names
from chainrule.data.read import read_table
from chainrule.data.table import Table
from chainrule.insight.explain.explanation import explain
from chainrule.insight.explain.expression import EXAMPLE, FUNCTIONS
from chainrule.insight.explain.layerwise import encode_row
from chainrule.train.run import Run, load

__all__ = ["explain_command"]

_VALUE = re.compile(r"\s*([^\W\d]\w*)\s*=(.*)", re.DOTALL)


@click.command("explain", context_settings={"ignore_unknown_options": True})
@click.argument("what", metavar="EXPRESSION|RUN")
@click.argument("values", metavar="[NAME=NUMBER|DATA]...", nargs=-1)
@click.option("--check", is_flag=True, help="Compare each gradient with a central difference; "
              "exit with status 1 if one differs.")  # fmt: skip
@click.option("--digits", type=click.IntRange(1, 15), default=4, show_default=True, metavar="N",
              help="Significant digits.")  # fmt: skip
@click.option("--svg", metavar="FILE", help="Write the computational graph to FILE, as SVG.")
@click.option("--html", metavar="FILE", help="Write an HTML page to FILE; for an expression, it "
              "steps through the graph.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--row", type=click.IntRange(min=1), metavar="N", help="For a run: the row of DATA, "
              "counted from 1 below the header  [default: 1]")  # fmt: skip
@click.option("--layer", metavar="PATH", help="For a run: the layer of --unit, such as 0.")
@click.option("--unit", type=click.IntRange(min=0), metavar="N", help="For a run: the unit of "
              "--layer to show in detail, counted from 0.")  # fmt: skip
@click.pass_context
def explain_command(
    ctx: click.Context, /, what: str, values: tuple[str, ...], digits: int, **options: Any
) -> int:
    """Show the forward and backward pass of a formula, or of a run, in numbers.

    EXPRESSION may contain + - * / **, parentheses, pi, e, and FUNCTIONS.  Every other name needs a
    value.  At most 2,000 characters and 50 levels of parentheses.

    RUN is the directory of a run trained on a table or a built-in data set.  Shows its layers for
    one row of DATA, a file or SQL query that includes the target; by default the built-in data set
    it was trained on.  --layer and --unit show one unit in detail.

    \b
    Examples:
      chainrule explain 'x*y + sin(x)' x=2 y=3
      chainrule explain '1/(1+exp(-(w0*x0+w1*x1+w2)))' w0=2 x0=-1 w1=-3 x1=-2 w2=-3
      chainrule explain 'x*y + x' x=2 y=3 --html steps.html
      chainrule explain 'log(1 + exp(-t*z))' t=1 z=0.5 --check
      chainrule explain runs/iris-1 --row 3
      chainrule explain runs/houses-1 houses.csv --row 3 --layer 0 --unit 5
    """  # noqa: D301 - \b tells click to keep the lines
    check_extension("--svg", options["svg"], ".svg")
    check_extension("--html", options["html"], ".html")
    place = Path(what)
    named = any(options[name] is not None for name in ("row", "layer", "unit"))
    if not what.strip():
        raise OptionError(f"the expression is empty; {EXAMPLE}.")
    if named or place.is_dir() or (place.parent != Path() and place.parent.is_dir()):
        return _explain_run(what, values, digits, ctx, **options)
    return _explain_expression(what, values, digits, ctx, **options)


explain_command.help = str(explain_command.help).replace(
    "FUNCTIONS", " ".join(sorted({"max", "min", *FUNCTIONS}))
)


def _explain_expression(
    what: str,
    values: tuple[str, ...],
    digits: int,
    ctx: click.Context,
    *,
    check: bool,
    svg: str | None,
    html: str | None,
    force: bool,
    as_json: bool,
    **others: Any,
) -> int:
    numbers = _numbers(values, ctx)
    _check_free([svg, html], force)
    found = explain(what, **numbers)
    checks = found.check() if check else None
    for file, draw in ((svg, found.svg), (html, found.html)):
        if file is not None:
            write_whole(Path(file), draw(digits))
            tell(f"wrote {file}")
    if as_json:
        emit(json.dumps(found.to_dict(checks), allow_nan=False) + "\n")
    elif check or not (svg or html):
        emit(found.tell(digits, checks))
    wrong = [c for c in (checks or {}).values() if not c.agrees and not c.kink]
    return 1 if wrong else 0


def _check_free(files: Sequence[str | None], force: bool) -> None:
    for file in files:
        if file is not None and Path(file).exists() and not force:
            raise RunError(f"{file} exists; nothing was written. Give another name, or --force.")


def _explain_run(
    what: str,
    values: tuple[str, ...],
    digits: int,
    ctx: click.Context,
    *,
    row: int | None,
    layer: str | None,
    unit: int | None,
    html: str | None,
    force: bool,
    as_json: bool,
    **others: Any,
) -> int:
    for parameter in ctx.command.params:
        if others.get(str(parameter.name)):
            raise OptionError(f"{parameter.opts[0]} can be used with an expression only.")
    if (layer is None) != (unit is None):
        raise OptionError("give both --layer and --unit, as in --layer 0 --unit 5.")
    run = load(what)
    rows, number = _rows(what, run, values), row or 1
    x, y = encode_row(run, rows, number)
    _check_free([html], force)
    found, about = explain(run, x, y), _predicted(run, x, y)
    told, data = f"{about}\n{found}", found.to_dict()
    neurons = []
    if layer is not None and unit is not None:
        # The network saw one row only; show its number in the data instead.
        neurons.append(replace(found.neuron(layer, unit), row=number, rows=len(rows)))
        told, data = neurons[0].tell(digits=digits), neurons[0].to_dict()
    if html is not None:
        write_whole(Path(html), found.html(neurons, about))
        tell(f"wrote {html}")
    if as_json or html is None:
        emit((json.dumps(data, allow_nan=False) if as_json else told) + "\n")
    return 0


def _rows(place: str, run: Run, values: tuple[str, ...]) -> Table:
    """Return the rows of the data named after the run, or of the data it was trained on."""
    if len(values) > 1:
        raise OptionError(f"give one file or SQL query after the run, not {' '.join(values)}.")
    if run.pipeline is None:
        raise DataError(
            f"{place} was trained on arrays, so it has no columns to match; in Python, "
            f"chainrule.explain(chainrule.load({place!r}), x, y) explains a row."
        )
    source = values[0] if values else source_of(place, run)
    if source is None:
        raise OptionError("give the file with the row to explain, as in: explain RUN data.csv.")
    if source in names():
        return load_set(source).to_table()
    return read_table(source, writing=getattr(run.pipeline, "writing", None))


def _predicted(run: Run, x: Any, y: Any) -> str:
    """Return the true target of the row and the prediction, as a line of text."""
    assert run.pipeline is not None
    target = run.pipeline.target
    shown = [target.decode(values).tolist()[0] for values in (y, run.decide(run.outputs(x)))]
    told = [f"{v:.6g}" if isinstance(v, float) else str(v) for v in shown]
    return f"{target.name}: {told[0]}, predicted {told[1]}"


def _numbers(words: tuple[str, ...], ctx: click.Context) -> dict[str, float]:
    """Parse ``name=number`` arguments into numbers by name."""
    found: dict[str, float] = {}
    options = [o for option in ctx.command.params for o in option.opts if o.startswith("--")]
    for word in words:
        match = _VALUE.fullmatch(word)
        if match is None:
            if word.startswith("--"):
                raise OptionError(f"there is no option {word}. {did_you_mean(word, options)}")
            raise OptionError(
                f"{word!r} is not a value: give NAME=NUMBER after the expression, as in x=2. "
                "Put an expression with spaces in quotes."
            )
        name, text = match.groups()
        if name in found:
            raise OptionError(f"{name} is given twice; give one value.")
        try:
            found[name] = float(text)
        except ValueError:
            raise OptionError(f"{name}={text}: {text!r} is not a number.") from None
    return found
