"""The page of all claims, as Markdown with SVG figures, and the page of one, as HTML.

Read next: :mod:`chainrule.lab.experiment`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from chainrule.insight.render.page import escape, page, standalone
from chainrule.lab.estimate import Estimate
from chainrule.lab.experiment import Result

__all__ = ["MADE_BY", "as_html", "as_markdown", "as_svg", "as_text"]

WIDTH = 80  # of a terminal
MADE_BY = "This page is written by `chainrule lab --all`"


def as_text(result: Result, code: bool = True) -> str:
    """Return what `chainrule lab` prints: the claim, the verdict, numbers, the plot and code."""
    findings, seeds = result.findings, result.budget.seeds
    told = [
        line
        for when, quantity, measured, claimed, answer in _effects(result)
        for line in (
            f"{f'({answer})':>13}  {when}",
            f"{'':15}{quantity}: {measured}, claimed {claimed}",
        )
    ]
    parts = [
        _wrapped(f"{result.claim.name}: {result.claim.says}", 2),
        _wrapped(f"verdict: {findings.verdict}", 2),
        "\n".join(_wrapped(line, 17) for line in told),
        findings.chart.text(),
        f"Mean and 95 % interval over {seeds} {'seed' if seeds == 1 else 'seeds'}; "
        f"{result.seconds:.1f} s. Again: {result.command}",
    ]
    return "\n\n".join(parts + [result.claim.code.rstrip()] * code) + "\n"


def _wrapped(line: str, indent: int) -> str:
    return textwrap.fill(line, WIDTH, subsequent_indent=" " * indent)


def _effects(result: Result) -> list[tuple[str, str, str, str, str]]:
    return [(e.when, e.quantity, e.told, e.claimed, e.answer) for e in result.findings.effects]


def as_svg(result: Result) -> str:
    """Return the plot as an SVG file."""
    return standalone(result.findings.chart.svg(result.claim.name))


def as_html(result: Result, version: str) -> str:
    """Return a self-contained page of one result: verdict, plot, numbers and code."""
    rows = [
        "".join(f"<td>{escape(cell)}</td>" for cell in cells) for cells in _effects(result)
    ]  # fmt: skip
    head = "".join(
        f"<th>{name}</th>" for name in ("case", "quantity", "measured", "claimed", "holds?")
    )
    numbers = "".join(
        f"<tr><td>{escape(name)}</td><td>{Estimate.of(values)}</td></tr>"
        for name, values in result.findings.measured.items()
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    sections = [
        (f"Verdict: {result.findings.verdict}", f"<table><tr>{head}</tr>{body}</table>"),
        ("Plot", result.findings.chart.svg(result.claim.name)),
        ("The experiment", f"<p>{escape(result.claim.how)}</p>"
         f"<p>{escape(_origin(result, version))}</p>"),
        *([("All numbers", f"<table>{numbers}</table>")] if numbers else []),
        ("Code", f"<pre>{escape(result.claim.code)}</pre>"),
    ]  # fmt: skip
    return page(result.claim.says, sections)


def _origin(result: Result, version: str, tick: str = "") -> str:
    count = result.budget.seeds
    seeds = "seed 0" if count == 1 else f"seeds 0 to {count - 1}"
    return f"{tick}{result.command}{tick}, chainrule {version}, {seeds}, {result.seconds:.0f} s."


def as_markdown(results: Sequence[Result], version: str, figures: str) -> str:
    """Return the page of all `results`; their plots are in the folder `figures`, as NAME.svg."""
    minutes = sum(result.seconds for result in results) / 60
    busy = sum(result.processor_seconds for result in results) / 60
    parts = [
        "# Claims, measured",
        "This page tests common statements about neural networks by experiment. `chainrule lab "
        "NAME` repeats one: it prints the measured numbers, a verdict, a plot and the code.",
        f"{MADE_BY}. This version took {minutes:.1f} minutes with chainrule {version} ({busy:.1f} "
        "of processor time). Each seed draws other initial weights and another order of the rows. "
        "Intervals are 95 % confidence intervals of the mean over seeds (Student's t). Except in "
        "`regularizer`, the data and their split are the same for all seeds, so the intervals do "
        "not cover other data. A case holds if the whole interval of each of its effects is on the "
        "claimed side of the bound, and a claim holds if all of its cases do.",
        "| claim | sentence | verdict |\n|---|---|---|\n" + "\n".join(
            f"| [{r.claim.name}](#{r.claim.name}) | {r.claim.says} | {_short(r)} |"
            for r in results
        ),
        *(_section(result, version, figures) for result in results),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _short(result: Result) -> str:
    verdict = result.findings.verdict
    if " in each case: " in verdict:
        return verdict.partition(" in each case: ")[0]
    return "holds in some cases" if ":" in verdict else verdict


def _section(result: Result, version: str, figures: str) -> str:
    name, bar = result.claim.name, r"\|"
    rows = [
        f"| {' | '.join(cell.replace('|', bar) for cell in cells)} |" for cells in _effects(result)
    ]
    return "\n\n".join([
        f"## {name}",
        f"> {result.claim.says}",
        f"**Verdict:** {result.findings.verdict}.",
        " ".join(result.claim.how.split()),
        "\n".join(["| case | quantity | measured | claimed | holds? |", "|---|---|---|---|---|",
                   *rows]),
        f"![{name}: {result.claim.says}]({figures}/{name}.svg)",
        _origin(result, version, "`"),
    ])  # fmt: skip
