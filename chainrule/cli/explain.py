"""The command explain: words to a formula with numbers, and its walk as text, JSON or a page.

Read next: :mod:`chainrule.insight.explain`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

from chainrule.cli.output import emit, tell
from chainrule.cli.predictions import write_whole
from chainrule.core.errors import OptionError, RunError, did_you_mean
from chainrule.insight.explain import explain

__all__ = ["explain_command"]

_VALUE = re.compile(r"\s*([^\W\d]\w*)\s*=(.*)", re.DOTALL)


@click.command("explain", context_settings={"ignore_unknown_options": True})
@click.argument("what", metavar="EXPRESSION")
@click.argument("values", metavar="[NAME=NUMBER]...", nargs=-1)
@click.option("--check", is_flag=True, help="Put the central difference beside each gradient; "
              "status 1 if one differs.")  # fmt: skip
@click.option("--digits", type=click.IntRange(1, 15), default=4, show_default=True, metavar="N",
              help="Significant digits.")  # fmt: skip
@click.option("--svg", metavar="FILE", help="Write the circuit to FILE instead.")
@click.option("--html", metavar="FILE", help="Write a page to FILE that steps through the circuit.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def explain_command(
    ctx: click.Context,
    what: str,
    values: tuple[str, ...],
    check: bool,
    digits: int,
    svg: str | None,
    html: str | None,
    force: bool,
    as_json: bool,
) -> int:
    """Walk through a formula, forward and then backward, showing the chain rule at work.

    EXPRESSION knows + - * / **, brackets, pi, e, and abs cos elu erf exp expm1 floor gelu
    leaky_relu log log1p max min relu sigmoid sign silu sin softplus sqrt square tanh.  Every other
    name needs a number.  At most 2,000 characters and 50 levels of brackets.

    \b
    Examples:
      chainrule explain 'x*y + sin(x)' x=2 y=3
      chainrule explain '1/(1+exp(-(w0*x0+w1*x1+w2)))' w0=2 x0=-1 w1=-3 x1=-2 w2=-3
      chainrule explain 'x*y + x' x=2 y=3 --html steps.html
      chainrule explain 'log(1 + exp(-t*z))' t=1 z=0.5 --check
    """  # noqa: D301 - \b tells click to keep the lines
    files = [Path(name) for name in (svg, html) if name is not None]
    for path in files:
        if path.exists() and not force:
            raise RunError(f"{path} exists; nothing was written. Give another name, or --force.")
    found = explain(what, **_numbers(values, ctx))
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


def _numbers(words: tuple[str, ...], ctx: click.Context) -> dict[str, float]:
    """Return the numbers of ``name=number`` words by name."""
    found: dict[str, float] = {}
    options = [o for option in ctx.command.params for o in option.opts if o.startswith("--")]
    for word in words:
        match = _VALUE.fullmatch(word)
        if match is None:
            if word.startswith("--"):
                raise OptionError(f"there is no option {word}. {did_you_mean(word, options)}")
            raise OptionError(
                f"{word!r} is no value: after the expression come NAME=NUMBER, as in x=2. "
                "An expression with spaces stands in quotes."
            )
        name, text = match.groups()
        if name in found:
            raise OptionError(f"{name} has two values; give one.")
        try:
            found[name] = float(text)
        except ValueError:
            raise OptionError(f"{name}={text}: {text!r} is no number.") from None
    return found
