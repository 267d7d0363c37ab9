"""Show saved runs in a terminal: one run with sparklines, or several side by side.

Each is also available as plain data for JSON.

Read next: :mod:`chainrule.insight.report.curves`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from shutil import get_terminal_size
from textwrap import fill, wrap
from typing import Any

import numpy as np

from chainrule.core.errors import ChainruleError
from chainrule.core.wording import counted
from chainrule.insight.render.text import interval, measure, setting, table
from chainrule.insight.report.curves import measures, spans_widely, spark
from chainrule.insight.report.remarks import series, summary_of
from chainrule.nn.layer import parameters, summary
from chainrule.tabular.scores import HIGHER, MEASURES, SHORT
from chainrule.tabular.settings import unusual
from chainrule.train.run import Run

__all__ = ["REPORT", "Comparison", "Overview", "compare", "decided_by", "overview", "split_words"]

LONGEST = 28  # characters of a setting in a comparison
WIDE = 32  # blocks of a sparkline
_OTHER_ROWS = ("These runs were not all scored on the same rows, so small differences between "
               "scores say little.")  # fmt: skip
REPORT = "report.html"  # in the directory of a run


@dataclass(frozen=True)
class Overview:
    """The summary of one run; print it, or use :meth:`to_dict`."""

    run: Run
    place: Path

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the text as plain data for JSON."""
        return {**_facts(self.run, self.place), "findings": summary_of(self.run)}

    def __str__(self) -> str:
        run, facts = self.run, self.to_dict()
        target = f", predicts {run.pipeline.target.name}" if run.pipeline else ""
        lines = [f"{self.place}: {facts['data'] or 'arrays'}{target}, {run.objective.name}"]
        for name, scores in run.scores.get("targets", {"": run.scores}).items():
            if "test" in scores:
                lines += ["", *([f"target {name}"] if name else []), *_scores(scores)]
        lines += ["", *_curves(run)]
        lines += ["", *_pairs(unusual(run.settings))]
        lines += ["", *_network(run)]
        wide = max(20, min(88, get_terminal_size().columns))
        found = [fill(text, wide, subsequent_indent="  ") for text in facts["findings"]]
        lines += ["", *found] if found else []
        at = self.place / REPORT
        lines += ["", f"report  {at}" if at.exists() else "report  none was written"]
        if run.findings is not None and run.findings.serious:
            lines.append(f"more    chainrule doctor {quote(str(self.place))}")
        return "\n".join(lines)


def _rows_known(run: Run) -> int:
    """Return how many rows trained, validated or did both."""
    rows = run.scores["rows"]
    both = run.settings.get("cross_fit", 1) > 1
    return int(rows["train"] + (0 if both else rows["validation"]))


def split_words(run: Run) -> str:
    """Return how the rows of a table were split, in words."""
    rows, parts = run.scores["rows"], run.settings.get("cross_fit", 1)
    if parts > 1:
        kinds = {f"train and validate in {parts} parts": _rows_known(run)}
    else:
        kinds = {"train": rows["train"], "validate": rows["validation"]}
    kinds["test"] = rows["test"]
    return ", ".join(f"{counted(n, 'row')} to {kind}" for kind, n in kinds.items() if n)


@dataclass(frozen=True)
class Comparison:
    """A comparison of runs; print it, or use :meth:`to_dict`."""

    runs: Mapping[str, Run]

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the text as plain data for JSON."""
        return {
            "runs": [_facts(run, Path(place)) for place, run in self.runs.items()],
            "differing": sorted(self._differing()),
            "same_test_rows": self.same_test_rows,
        }

    @property
    def same_test_rows(self) -> bool:
        """Whether all runs were scored on the same rows, judging by their settings."""
        told = {
            (str(run.settings.get("data")), str(run.settings.get("seed")), _rows_known(run),
             run.scores["rows"]["test"], run.scores["target"]) if "test" in run.scores else None
            for run in self.runs.values()
        }  # fmt: skip
        return len(told) == 1 and None not in told

    def _differing(self) -> dict[str, list[str]]:
        """Return the settings that differ between the runs, each with its values.

        A setting that has its default value in every run that has it is not included.
        """
        every = [run.settings for run in self.runs.values()]
        asked = {name for s in every for name, value in unusual(s).items() if value != []}
        names = [n for n in dict.fromkeys(name for s in every for name in s) if n in asked]
        values = {name: [setting(s.get(name)) for s in every] for name in names}
        return {name: found for name, found in values.items() if len(set(found)) > 1}

    def __str__(self) -> str:
        return self.tell(get_terminal_size().columns)

    def tell(self, width: int = 80) -> str:
        """Return the comparison as text; columns beyond `width` characters continue below."""
        runs = list(self.runs.values())
        names = [_tail(place) for place in self.runs]
        rows = [["", *names], *self._results(runs)]
        rows.append(["epochs", *(str(len(run.history)) for run in runs)])
        rows.append(["best epoch", *(str(run.best_epoch or "–") for run in runs)])
        rows.append(["seconds", *(f"{_seconds(run):.3g}" for run in runs)])
        rows.append(["parameters", *(f"{_parameters(run):,}" for run in runs)])
        differing = self._differing()
        if differing:
            rows.append([""])
            for name, found in differing.items():
                rows.append([name.replace("_", " "), *(_cut(value) for value in found)])
        lines = _blocks(rows, width)
        if (curves := self._shared_curves(runs)) is not None:
            lines += ["", *curves]
        if not self.same_test_rows and any(run.scores for run in runs):
            lines += ["", *wrap(_OTHER_ROWS, max(width, 20))]
        return "\n".join(lines)

    def _results(self, runs: Sequence[Run]) -> list[list[str]]:
        """Return a line for each score, with a star at the best if scored on the same rows."""
        lines = []
        for key, words in ((key, MEASURES[key]) for key in SHORT):
            found = [run.scores.get("test", {}).get(key) for run in runs]
            present = [value for value in found if value is not None]
            if not present:
                continue
            best = (max if key in HIGHER else min)(present)
            star = self.same_test_rows and len(set(present)) > 1
            written = [measure(key, value) for value in found]
            lines.append([words, *(
                w + ("*" if star and w == measure(key, best) else " " * star) for w in written
            )])  # fmt: skip
            ends = [interval(key, run.scores.get("intervals", {}).get(key)) for run in runs]
            if any(ends):
                lines.append(["95 % interval", *(e + " " * star for e in ends)])
        return lines

    def _shared_curves(self, runs: Sequence[Run]) -> list[str] | None:
        """Return the curves of validation loss on one scale (training loss if a run has none).

        None if the runs have different losses.
        """
        name = "val_loss" if all("val_loss" in r for run in runs for r in run.history) else "loss"
        if len({run.objective.name for run in runs}) > 1:
            return None
        curves = [np.log10(np.maximum(series(run.history, name), 1e-12)) for run in runs]
        finite = np.concatenate([c[np.isfinite(c)] for c in curves] or [np.zeros(0)])
        if not finite.size:
            return None
        ends = (float(finite.min()), float(finite.max()))
        longest = max(len(curve) for curve in curves)
        rows = [
            [_tail(place), spark(c, max(1, round(WIDE * len(c) / longest)), ends)]
            for place, c in zip(self.runs, curves, strict=True)
        ]
        head = f"{name}, {10 ** ends[0]:.3g} to {10 ** ends[1]:.3g} (logarithmic), by epochs"
        return [head, *table(rows, (), indent="")]


def overview(run: Run, place: str | Path) -> Overview:
    """Return the summary of `run`, saved at `place`: scores, curves, settings, network, report."""
    return Overview(run, Path(place))


def compare(runs: Mapping[str, Run]) -> Comparison:
    """Return a comparison of `runs`, by the paths they are saved at."""
    return Comparison(runs)


def _facts(run: Run, place: Path) -> dict[str, Any]:
    at = place / REPORT
    return {
        "run": str(place),
        "data": run.settings.get("data"),
        "target": run.pipeline.target.name if run.pipeline else None,
        "loss": run.objective.name,
        "scores": run.scores or None,
        "epochs": len(run.history),
        "best_epoch": run.best_epoch,
        "stopped": run.stopped,
        "seconds": round(_seconds(run), 3),
        "parameters": _parameters(run),
        "settings": run.settings,
        "last": {k: v for k, v in run.history[-1].items() if k != "layers"} if run.history else {},
        "report": str(at) if at.exists() else None,
    }


def _seconds(run: Run) -> float:
    return float(sum(record["seconds"] for record in run.history))


def _parameters(run: Run) -> int:
    return sum(p.value.size for p in parameters(run.model).values())


def _scores(scores: Mapping[str, Any]) -> list[str]:
    test, guess = scores["test"], scores["baseline"]
    ends = scores.get("intervals", {})
    where = f"on {counted(scores['rows']['test'], 'test row')}"
    rows = [[where, "network", "95 % interval", "plain guess"]]
    rows += [
        [MEASURES[k], measure(k, test[k]), interval(k, ends.get(k)), measure(k, guess[k])]
        for k in SHORT
        if k in test
    ]
    told = [f"{label}: {text}" for label, text in decided_by(scores).items()]
    return table(rows, None, indent="") + (["", *told] if told else [])


def decided_by(scores: Mapping[str, Any]) -> dict[str, str]:
    """Return how probabilities were calibrated and the threshold chosen, in words by a label."""
    told = {}
    if found := scores.get("calibration"):
        told["calibrated"] = (
            f"temperature {found['temperature']:.3g}, which lowers the log loss of "
            f"{counted(found['rows'], 'validation row')} from {found['log_loss_before']:.4g} to "
            f"{found['log_loss']:.4g}"
        )
    if found := scores.get("threshold"):
        how = "as given"
        if found["rows"]:
            how = f"chosen by {found['rule']} on {counted(found['rows'], 'validation row')}"
        told["threshold"] = (
            f"`{found['class']}` is predicted from a probability of {found['value']:.3g}, {how}"
        )
    return told


def _curves(run: Run) -> list[str]:
    """Return a line for each curve: its first value, a sparkline, its last value."""
    names = [n for m in measures(run.history) for n in (m, f"val_{m}")] + ["learning_rate"]
    rows = []
    for name in names:
        values = series(run.history, name)
        if np.isfinite(values).any():
            known = values[np.isfinite(values)]
            drawn = np.log(values) if spans_widely(values) else values
            rows.append([name, f"{known[0]:.4g}", spark(drawn, WIDE), f"{known[-1]:.4g}"])
    best = f", best {run.best_epoch}" if run.best_epoch else ""
    head = f"{counted(len(run.history), 'epoch')} in {_seconds(run):.3g} s{best}"
    return [head, *table(rows, (1,), indent="")]


def _network(run: Run) -> list[str]:
    try:
        return str(summary(run.model, run.features)).splitlines()
    except ChainruleError:
        return [counted(_parameters(run), "parameter")]


def _pairs(settings: Mapping[str, Any]) -> list[str]:
    return table([[k.replace("_", " "), setting(v)] for k, v in settings.items()], (), indent="")


def _cut(value: str) -> str:
    """Return `value`, truncated to `LONGEST` characters."""
    return value if len(value) <= LONGEST else value[: LONGEST - 1] + "…"


def _tail(place: str) -> str:
    """Return the path of a run, only its end if it is long, where paths differ most."""
    return place if len(place) <= LONGEST else "…" + place[1 - LONGEST :]


def _blocks(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return rows as lines of at most `width`; columns that do not fit continue below."""
    count = max(map(len, rows))
    wide = [max((len(row[i]) for row in rows if len(row) > i), default=0) for i in range(count)]
    blocks: list[list[int]] = []
    left = -1
    for i in range(1, count):
        if wide[i] + 2 > left:
            blocks.append([])
            left = width - wide[0]
        blocks[-1].append(i)
        left -= wide[i] + 2
    lines: list[str] = []
    for block in blocks:
        part = [[row[0], *(row[i] for i in block if i < len(row))] for row in rows]
        lines += ["", *table(part, None, indent="")] if lines else table(part, None, indent="")
    return lines
