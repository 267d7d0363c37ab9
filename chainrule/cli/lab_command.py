"""``chainrule lab``: run the experiments that test what is said about neural networks.

Read next: :mod:`chainrule.lab.experiment`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from chainrule.cli.files import write_whole
from chainrule.cli.output import emit, tell
from chainrule.cli.show import progress_bar, show_pairs
from chainrule.core.errors import RunError
from chainrule.lab.claims import depth  # noqa: F401 - the package enters all of its claims
from chainrule.lab.claims_page import MADE_BY, as_html, as_markdown, as_svg, as_text
from chainrule.lab.experiment import CLAIMS, Result, claim_named

__all__ = ["lab_command"]


@click.command("lab")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Run every claim, and write claims.md and its "
              "figures claims/NAME.svg to the folder --out  [default: docs]")  # fmt: skip
@click.option("--seeds", type=click.IntRange(min=1), metavar="N",
              help="Train with N seeds  [default: as the claim says, mostly 10]")  # fmt: skip
@click.option("--quick", is_flag=True, help="Take 3 seeds and 3 of 10 epochs; less certain.")
@click.option("--code/--no-code", default=True, help="Print the code of the experiment, or not.")
@click.option("--out", metavar="FOLDER", help="Write NAME.svg and NAME.html to FOLDER; with --all, "
              "the page and its figures.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def lab_command(
    names: tuple[str, ...],
    every: bool,
    seeds: int | None,
    quick: bool,
    code: bool,
    out: str | None,
    as_json: bool,
) -> None:
    """Test claims about neural networks by experiment; without NAME, list them.

    Prints what was measured with its uncertainty over seeds, the verdict that follows from it, a
    plot, and the code that did it.  Files in --out are replaced.  With --all, claims.md and its
    figures are written to the folder docs here, or to --out.

    \b
    Examples:
      chainrule lab
      chainrule lab dead-relu
      chainrule lab relu-faster --quick --no-code
      chainrule lab linear-depth --seeds 20 --out figures
      chainrule lab --all
    """  # noqa: D301 - \b tells click to keep the lines
    if not names and not every:
        if as_json:
            listed = [{"name": c.name, "says": c.says} for c in CLAIMS.values()]
            emit(json.dumps(listed) + "\n")
        else:
            show_pairs((c.name, c.says) for c in CLAIMS.values())
        return
    if names and every:
        raise click.UsageError("give the names of claims, or --all, not both.")
    claims = list(CLAIMS.values()) if every else [claim_named(name) for name in names]
    folder = Path(out or "docs") if every or out else None
    if every and folder is not None:
        _check_page(folder / "claims.md")
    if folder is not None:
        _make(folder / "claims" if every else folder)
    if every and folder is not None:
        tell(f"Runs {len(claims)} claims, then writes {folder / 'claims.md'}; --out changes that.")
    results = []
    for claim in claims:
        with progress_bar(claim.name) as advance:
            results.append(claim.run(seeds, quick, advance))
        if not as_json:
            short = f"{claim.name}: {results[-1].findings.verdict} ({results[-1].seconds:.0f} s)\n"
            emit(short if every else as_text(results[-1], code))
    if as_json:
        emit(json.dumps([result.to_dict() for result in results], allow_nan=False) + "\n")
    if folder is not None:
        _write(results, folder, every)


def _check_page(path: Path) -> None:
    """Raise RunError if `path` is a page that another hand wrote."""
    if path.exists() and MADE_BY not in path.read_text("utf-8", errors="replace"):
        raise RunError(f"{path} exists, and this command did not write it; give another --out.")


def _make(folder: Path) -> None:
    """Make `folder` before the work; RunError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"the folder {folder} can't be made: {error.strerror}.") from error


def _write(results: list[Result], folder: Path, every: bool) -> None:
    figures = folder / "claims" if every else folder
    for result in results:
        write_whole(figures / f"{result.claim.name}.svg", as_svg(result))
        if not every:
            write_whole(
                figures / f"{result.claim.name}.html",
                as_html(result, sys.modules["chainrule"].__version__),
            )
            tell(f"wrote {figures / result.claim.name}.svg and .html")
    if every:
        write_whole(
            folder / "claims.md",
            as_markdown(results, sys.modules["chainrule"].__version__, "claims"),
        )
        tell(f"wrote {folder / 'claims.md'} and {len(results)} figures in {figures}")
