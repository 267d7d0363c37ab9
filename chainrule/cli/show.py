"""Print how the data was read, the results of a run, and lists of data sets and activations.

The text is colored on a terminal and plain elsewhere, and fits the width of the terminal.

Read next: :mod:`chainrule.tabular.scores`, where the numbers come from.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chainrule.cli.config_file import source_of
from chainrule.cli.cured_config import CURED
from chainrule.cli.output import emit
from chainrule.core.wording import counted
from chainrule.data.builtin import Summary, names
from chainrule.data.notes import group_notes
from chainrule.insight.render.text import amount, coverage_rows, interval, measure
from chainrule.insight.report.overview import REPORT, decided_by
from chainrule.nn.catalogue import Activation
from chainrule.optim.full_batch import FullBatch
from chainrule.optim.named import optimizer as optimizer_of
from chainrule.tabular.build import build_optimizer
from chainrule.tabular.problem import Problem
from chainrule.tabular.scores import MEASURES, SHORT
from chainrule.tabular.settings import Settings
from chainrule.tabular.suit_target import outputs_of
from chainrule.train.directory import how_to_go_on
from chainrule.train.run import Run

__all__ = [
    "progress_bar",
    "show_activations",
    "show_datasets",
    "show_pairs",
    "show_problem",
    "show_results",
]

_SHARES = {"0.5": "half the errors within", "0.9": "90 % within", "1": "largest error"}


def show_problem(problem: Problem, settings: Settings) -> None:
    """Print the target, the data, the choices made while reading it, and the training settings."""
    pipeline, rows = problem.pipeline, problem.rows
    aim = counted(len(pipeline.classes), "class", "classes") if pipeline.classes else "a number"
    aim = counted(len(pipeline.target.parts), "target") if pipeline.target.parts else aim
    parts = [f"{counted(rows['train'], 'row')} to train"]
    if settings.cross_fit > 1:
        both = counted(rows["train"] + rows["validation"], "row")
        parts = [f"{both} to train and validate in {settings.cross_fit} parts"]
    elif rows["validation"]:
        parts.append(f"{rows['validation']:,} to validate")
    own = " (the set's own)" if problem.own_test else ""
    parts.append(f"{rows['test']:,} to test{own}" if rows["test"] else "none to test")
    features = problem.train[0].shape[1]
    sizes = "-".join(map(str, (features, *settings.hidden, outputs_of(settings, pipeline.target))))
    if settings.members > 1:
        sizes = f"the average of {settings.members} networks {sizes}, trained as one"
    lines = [
        ("data", f"{', '.join(parts)}; seed {settings.seed}"),
        *(("", note) for note in group_notes(pipeline.notes)),
        ("network", f"{sizes}, {_network(settings)}"),
        ("training", _training(settings, rows["train"])),
    ]
    _print(f"[bold]{_escape(problem.name)}[/]: predict `{_escape(pipeline.target.name)}`, {aim}")
    show_pairs(lines)


def _network(settings: Settings) -> str:
    """Describe the network apart from its layer sizes."""
    told = [settings.activation]
    told += [f"{settings.norm} normalization"] if settings.norm else []
    told += [f"dropout {settings.dropout:g}"] if settings.dropout else []
    told += [f"numbers in {settings.bins} pieces"] if settings.bins else []
    told += [f"input noise {settings.noise:g}"] if settings.noise else []
    told += [f"{settings.density:.3g} of connections"] if settings.density < 1 else []
    return ", ".join(told + (["residual"] if settings.residual else []))


def _training(settings: Settings, rows: int) -> str:
    method = build_optimizer(settings)
    plain = optimizer_of(settings.optimizer, settings.learning_rate)
    rate = getattr(plain, "learning_rate", None)
    batch = f"batches of {settings.batch_size}"
    if settings.batch_size > rows:
        asked = f"the requested {settings.batch_size:,}"
        batch = f"batches of all {counted(rows, 'row')}, fewer than {asked}"
    if isinstance(method, FullBatch):
        batch = f"all {counted(rows, 'row')} in each step"
    epochs = f"{'up to ' if settings.patience else ''}{counted(settings.epochs, 'epoch')}"
    told = [type(plain).__name__ if isinstance(settings.optimizer, str) else repr(method)]
    told += [f"learning rate {rate:g}"] if isinstance(rate, float) else []
    told += [f"{settings.schedule} schedule"] if settings.schedule != "constant" else []
    return ", ".join([*told, batch, epochs])


def show_results(run: Run, saved: str | None) -> None:
    """Print the test scores and the baseline, the confusion matrix, and the place of the run."""
    if "cross_validation" in run.scores:
        _show_folds(run.scores["cross_validation"])
    for scores in run.scores.get("targets", {"": run.scores}).values():
        if "test" in scores:
            _show_scores(scores, "targets" in run.scores)
    _print("")
    show_pairs(_ending(run, saved))


def _show_folds(found: Mapping[str, Any]) -> None:
    """Print the mean and the spread of the scores of a cross-validation."""
    from rich.table import Table

    table = Table(box=_lines(), pad_edge=False)
    for head in ("", "mean", "standard deviation", "lowest", "highest"):
        table.add_column(head, justify="right" if head else "left")
    for key in (key for key in SHORT if key in found["scores"]):
        one = found["scores"][key]
        values = [value for value in one["values"] if value is not None]
        ends = (min(values, default=None), max(values, default=None))
        cells = (measure(key, cell) for cell in (one["mean"], one["deviation"], *ends))
        table.add_row(MEASURES[key], *cells)
    _print_table(table, f"Scores over {found['folds']} folds, which test every row once")


def _show_scores(scores: Mapping[str, Any], named: bool) -> None:
    """Print the scores of one target, with its name if it is one of several."""
    from rich.table import Table

    guess = scores["baseline"]["guess"]
    regression = scores["task"] == "regression"
    plain = f"always {amount(guess)}" if regression else f"always `{guess}`"
    table = Table(box=_lines(), pad_edge=False)
    table.add_column("")
    table.add_column("network", justify="right", style="bold")
    table.add_column("95 % interval", justify="right")
    table.add_column(_escape(plain if len(plain) < 30 else plain[:28] + "…`"), justify="right")
    for key in (key for key in SHORT if key in scores["test"]):
        ends = interval(key, scores.get("intervals", {}).get(key))
        value, plain_value = scores["test"][key], scores["baseline"][key]
        table.add_row(MEASURES[key], measure(key, value), ends, measure(key, plain_value))
    for share, label in _SHARES.items() if regression else ():
        table.add_row(
            label,
            amount(scores["error_quantiles"][share]),
            "",
            amount(scores["baseline_error_quantiles"][share]),
        )
    for row in coverage_rows(scores.get("prediction_interval")):
        table.add_row(*row, "")
    of = f" of `{_escape(scores['target'])}`" if named else ""
    _print_table(table, f"Scores{of} on {counted(scores['rows']['test'], 'test row')}")
    if not regression:
        _show_confusion(scores)


def _ending(run: Run, saved: str | None) -> list[tuple[str, str]]:
    seconds = sum(record["seconds"] for record in run.history)
    rate = run.settings["rows"] * len(run.history) / max(seconds, 1e-9)
    taken = f"{seconds:.1f}" if seconds >= 1 else f"{seconds:.2g}"
    trained = f"{counted(len(run.history), 'epoch')} in {taken} s, {rate:,.0f} rows/s"
    lines = [("trained", trained)]
    if run.stopped == "interrupted":
        lines.append(("", f"interrupted; kept the weights of epoch {run.best_epoch}"))
    elif run.stopped:
        lines.append(("", f"stopped: {run.stopped}"))
    if "test" not in run.scores:
        lines.append(("tested", "on no row, so this network has no scores of its own"))
    if "cross_validation" in run.scores:
        rows = counted(run.settings["rows"], "row")
        lines.append(("", f"the saved network was trained after the folds, on {rows}"))
    lines += [(label, text) for label, text in decided_by(run.scores).items()]
    if saved is not None:
        lines.append(("saved", saved))
        if (report := Path(saved) / REPORT).exists():
            lines.append(("report", str(report)))
        lines.append(("next", _next(run, saved)))
    return lines


def _next(run: Run, saved: str) -> str:
    if run.stopped == "interrupted" and (how := how_to_go_on(Path(saved))) is not None:
        return how
    if (cured := Path(saved) / CURED).exists():
        return f"chainrule train --config {shlex.quote(str(cured))}"
    if source_of(saved, run) in names():  # there is no file of such rows to predict
        return f"in Python, chainrule.load({saved!r})"
    return f"chainrule predict {shlex.quote(saved)} NEW.csv"


def _show_confusion(scores: Mapping[str, Any]) -> None:
    """Print the confusion matrix if it fits, otherwise the classes with the lowest recall."""
    from rich.console import Console

    names = [str(name) for name in scores["classes"]]
    matrix = scores.get("confusion_matrix")
    width = Console().width
    if matrix is not None and len(names) <= 20:
        counts = max(len(str(count)) for row in matrix for count in row)
        label = max(map(len, names))
        # If the names are too long for the columns, number the columns instead.
        for heads in (names, [str(i + 1) for i in range(len(names))]):
            numbered = heads is not names
            left = min(label, 24) + (len(str(len(names))) + 1) * numbered
            if left + sum(1 + max(len(head), counts) for head in heads) + 2 <= width:
                _show_matrix(matrix, names, heads if numbered else None)
                return
    _show_worst(scores["worst_classes"])


def _show_matrix(
    matrix: Sequence[Sequence[int]], names: Sequence[str], heads: Sequence[str] | None
) -> None:
    from rich.table import Table

    table = Table(box=_lines(), pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    for head in heads or names:
        table.add_column(_escape(head), justify="right")
    for i, (name, row) in enumerate(zip(names, matrix, strict=True)):
        label = name if len(name) <= 24 else name[:23] + "…"
        cells = [
            "[dim]·[/]" if not count else f"[green]{count}[/]" if i == j else f"[red]{count}[/]"
            for j, count in enumerate(row)
        ]
        table.add_row(
            _escape(f"{heads[i]:>{len(str(len(names)))}} {label}" if heads else label), *cells
        )
    _print_table(table, "Confusion matrix: true class (rows), predicted class (columns)")


def _show_worst(worst: Sequence[Mapping[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=_lines(), pad_edge=False)
    for head in ("class", "rows", "recall", "most often predicted as"):
        table.add_column(head, justify="right" if head in ("rows", "recall") else "left")
    for entry in worst:
        taken = "" if entry["taken_for"] is None else str(entry["taken_for"])
        share = f"{100 * entry['recall']:.0f} %"
        table.add_row(_escape(str(entry["class"])), f"{entry['rows']:,}", share, _escape(taken))
    _print_table(table, "Classes with the lowest recall")


def show_datasets(summaries: Iterable[Summary]) -> None:
    """List the built-in data sets."""
    from rich.table import Table

    table = Table(box=_lines(), pad_edge=False)
    for head in ("name", "rows", "features", "predict", "what it is"):
        table.add_column(head, justify="right" if head in ("rows", "features") else "left")
    for item in summaries:
        aim = f"{item.classes} classes" if item.classes else "a number"
        table.add_row(
            f"[bold]{item.name}[/]", f"{item.rows:,}", str(item.features), aim, item.description
        )
    _print_table(table)


def show_activations(pictures: Sequence[tuple[Activation, str]]) -> None:
    """List activation functions, each with its graph, its properties and advice on its use."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 1, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column()
    fades = {"left": "saturates on the left", "both": "saturates on both sides"}
    for record, picture in pictures:
        properties = [
            f"range {record.range}",
            "zero-centered" if record.zero_centered else f"mean {record.mean:.2f}",
            fades.get(record.saturates, "does not saturate"),
            "can die" if record.dies else "does not die",
            *(["costs an exp"] if record.uses_exp else []),
            *([f"{record.parameter_factor:g} x the weights"] * (record.parameter_factor != 1)),
        ]
        about = f"y = {record.equation}\n{', '.join(properties)}\n{record.advice}"
        grid.add_row(record.name, picture, _escape(about))
    _print(grid)


def _lines() -> Any:
    from rich import box

    return box.SIMPLE_HEAD


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def show_pairs(lines: Iterable[tuple[str, str]]) -> None:
    """Print labelled lines; long lines wrap with a hanging indent."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in lines:
        grid.add_row(label, _escape(text))
    _print(grid)


def _print_table(table: Any, title: str | None = None) -> None:
    if title:
        _print(f"\n[bold]{title}[/]")
    _print(table)


def _print(thing: Any) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    with console.capture() as captured:
        console.print(thing)
    # Rich pads table rows to full width and adds blank lines around tables; remove both.
    text = "\n".join(line.rstrip() for line in captured.get().split("\n"))
    emit(text if isinstance(thing, str) else text.strip("\n") + "\n")


@contextmanager
def progress_bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal, and give the function that moves it."""
    from rich.console import Console
    from rich.progress import Progress

    shown = sys.stderr is not None and sys.stderr.isatty()
    with Progress(console=Console(stderr=True), transient=True, disable=not shown) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
