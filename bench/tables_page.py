"""The statistics of `bench/tables.py`, and the page of the documentation that shows them.

Contestants are compared by their ranks on each table (Demšar, Statistical comparisons of
classifiers over multiple data sets, JMLR 7, 2006): Friedman's test asks whether they differ at
all, Nemenyi's critical difference which mean ranks differ, and Wilcoxon's signed-rank test, with
Holm's correction, whether chainrule differs from each.

Read next: `docs/tables-bench.md`.
"""

from __future__ import annotations

import platform
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.table_sets import TABLES
from bench.tables_worker import CONTESTANTS
from chainrule.insight.render.axes import WIDTH, Scale, measured, svg, tag, text, titled
from chainrule.insight.render.page import standalone

__all__ = ["compare", "critical_difference", "friedman", "holm", "latest", "mean_ranks", "summary"]

Array = NDArray[Any]
Record = dict[str, Any]
DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "tables-bench.md"
MARK = "<!-- measured -->"
LEVEL = 0.05
OURS = "chainrule"


# --- from results to numbers -----------------------------------------------------------------


def _kept(record: Record) -> bool:
    table = TABLES.get(record["table"])
    return table is not None and table.kept


def latest(records: Sequence[Record]) -> list[Record]:
    """Return the last result for each fold, of the last version of each contestant.

    The tables for development and those that are kept are measured apart, and judged apart.
    """
    versions = {(r["contestant"], _kept(r)): r["version"] for r in records}
    found = {}
    for r in records:
        if r["version"] == versions[r["contestant"], _kept(r)]:
            found[r["table"], r["seed"], r["fold"], r["contestant"]] = r
    return list(found.values())


def compare(
    records: Sequence[Record], contestants: Sequence[str]
) -> tuple[list[str], Array, dict[str, list[Record]]]:
    """Return the tables, the mean scores (tables, contestants), and the results they are of.

    Only folds that all contestants have run count.  A contestant that failed gets the score of a
    constant guess, which is 0.
    """
    folds: dict[tuple[Any, ...], dict[str, Record]] = defaultdict(dict)
    for record in records:
        place = (record["table"], record["seed"], record["fold"])
        folds[place][record["contestant"]] = record
    scores: dict[str, list[list[float]]] = defaultdict(list)
    used: dict[str, list[Record]] = {name: [] for name in contestants}
    for (table, _, _), runs in folds.items():
        if set(contestants) <= set(runs):
            scores[table].append([runs[name].get("score", 0.0) for name in contestants])
            for name in contestants:
                used[name].append(runs[name])
    tables = [name for name in TABLES if name in scores]
    means = np.array([np.mean(scores[name], axis=0) for name in tables])
    return tables, means.reshape(len(tables), len(contestants)), used


def mean_ranks(scores: Array) -> Array:
    """Return the mean rank of each contestant over the tables; 1 is the best, ties share.

    scores: (tables, contestants), higher is better.
    """
    better = (scores[:, None, :] > scores[:, :, None]).sum(axis=2)
    equal = (scores[:, None, :] == scores[:, :, None]).sum(axis=2)
    return np.asarray((better + (equal + 1) / 2).mean(axis=0))


def friedman(scores: Array) -> tuple[float, float]:
    """Return Friedman's χ² = 12 N / (k (k + 1)) Σ (R - (k + 1) / 2)², and its p-value.

    N tables, k contestants, R the mean ranks; corrected for ties.
    """
    tables, k = scores.shape
    ties = 0.0
    for row in scores:
        counts = np.unique(row, return_counts=True)[1]
        ties += float((counts**3 - counts).sum())
    spread = float(((mean_ranks(scores) - (k + 1) / 2) ** 2).sum())
    left = 1 - ties / (tables * k * (k * k - 1))
    found = 0.0 if left == 0 else 12 * tables / (k * (k + 1)) * spread / left
    return found, float(stats.chi2.sf(found, k - 1))


def critical_difference(tables: int, contestants: int) -> float:
    """Return Nemenyi's critical difference q sqrt(k (k + 1) / (6 N)) of mean ranks."""
    q = stats.studentized_range.ppf(1 - LEVEL, contestants, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(contestants * (contestants + 1) / (6 * tables)))


def holm(p: Sequence[float]) -> list[float]:
    """Return the p-values after Holm's correction for as many tests."""
    order = np.argsort(p)
    raised = [(len(p) - k) * p[i] for k, i in enumerate(order)]
    corrected = np.minimum(1.0, np.maximum.accumulate(raised))
    return [float(corrected[list(order).index(i)]) for i in range(len(p))]


def groups(ranks: Array, difference: float) -> list[tuple[float, float]]:
    """Return the (lowest, highest) rank of each widest group of two or more that do not differ."""
    ordered = np.sort(ranks)
    found: list[tuple[float, float]] = []
    last = 0
    for first, low in enumerate(ordered.tolist()):
        end = int(np.searchsorted(ordered, low + difference, side="right"))
        if end > max(first + 1, last):
            found.append((low, float(ordered[end - 1])))
            last = end
    return found


# --- in words and pictures -------------------------------------------------------------------


def _titles(contestants: Sequence[str]) -> list[str]:
    return [CONTESTANTS[name].title for name in contestants]


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _tested(scores: Array, names: Sequence[str]) -> dict[str, str]:
    """Return the p-value of the difference from chainrule for each other contestant."""
    if OURS not in names or len(scores) < 2:
        return {}
    ours = scores[:, names.index(OURS)]
    others = [name for name in names if name != OURS]
    p = []
    for name in others:
        rest = ours - scores[:, names.index(name)]
        p.append(float(stats.wilcoxon(rest).pvalue) if rest.any() else 1.0)
    return {name: f"{value:.2g}" for name, value in zip(others, holm(p), strict=True)}


def summary(records: Sequence[Record], contestants: Sequence[str]) -> str:
    """Return the comparison as Markdown: the contestants, and the score on each table."""
    names = [n for n in contestants if any(r["contestant"] == n for r in records)]
    tables, scores, used = compare(records, names)
    if not tables:
        return "No fold has a result of every contestant."
    ranks, tested = mean_ranks(scores), _tested(scores, names)
    wins = (scores >= scores.max(axis=1, keepdims=True)).mean(axis=0)
    order = np.argsort(ranks, kind="stable")
    rows = []
    for i in order:
        name = names[i]
        runs = [run for run in used[name] if "error" not in run]
        ahead = "–"
        if OURS in names and name != OURS:
            gain = scores[:, names.index(OURS)] - scores[:, i]
            ahead = f"{int((gain > 0).sum())} of {len(tables)}"
        rows.append([
            CONTESTANTS[name].title, f"{scores[:, i].mean():.4f}", f"{ranks[i]:.2f}",
            f"{wins[i]:.0%}", ahead, tested.get(name, "–"),
            *(f"{statistics.median(run[key] for run in runs):.2f}" if runs else "–"
              for key in ("fit_seconds", "fit_cpu_seconds")),
            str(len(used[name]) - len(runs)),
        ])  # fmt: skip
    head = (
        "contestant", "mean score", "mean rank", "best on", "chainrule is ahead on", "p",
        "median fit, s", "processor, s", "failed folds",
    )  # fmt: skip
    told = [_rows(head, rows)]
    if len(names) > 2 and len(tables) > 1:
        square, p = friedman(scores)
        runs = used[names[0]]
        seeds = len({run["seed"] for run in runs})
        told.append(
            f"{len(tables)} tables, {len(runs)} folds of each contestant, of the splits by "
            f"{'one seed' if seeds == 1 else f'{seeds} seeds'}. Friedman's "
            f"test: χ² = {square:.1f}, p = {p:.2g}. Nemenyi's critical difference of mean ranks "
            f"at {LEVEL:g}: {critical_difference(len(tables), len(names)):.2f}."
        )
    told.append(_each_table(tables, scores, names, used))
    return "\n\n".join(told)


def _each_table(
    tables: Sequence[str], scores: Array, names: Sequence[str], used: dict[str, list[Record]]
) -> str:
    sizes = {r["table"]: (r["rows"], r["features"])
             for runs in used.values() for r in runs if "error" not in r}  # fmt: skip
    rows = []
    for table, line in zip(tables, scores, strict=True):
        best = line.max()
        said = [f"**{value:.4f}**" if value == best else f"{value:.4f}" for value in line]
        count, columns = sizes.get(table, (0, 0))
        found = TABLES[table]
        rows.append([table, f"`{found.source}`", f"`{found.target}`",
                     "number" if found.task == "regression" else "class",
                     f"{count:,}", str(columns), *said])  # fmt: skip
    head = ("table", "source", "target", "task", "rows", "columns", *_titles(names))
    return _rows(head, rows)


def picture(scores: Array, names: Sequence[str], title: str) -> str:
    """Draw the mean ranks below one axis; a bar joins those that differ less than is critical."""
    ranks, k = mean_ranks(scores), len(names)
    difference = critical_difference(len(scores), k)
    told = [f"{head} {rank:.2f}" for head, rank in zip(_titles(names), ranks, strict=True)]
    start = 12 + max(map(measured, told))
    x = Scale(1, k, start, WIDTH - 14)
    top = 62.0
    parts = [text(title, 2, 18, "head")]
    end = x(1 + difference)
    parts.append(tag("line", x1=x(1), x2=end, y1=34, y2=34, stroke="var(--ink)", stroke_width=2))
    parts.append(text("critical difference", start - 6, 38, "faint", "end"))
    parts.append(text(f"{difference:.2f}", end + 6, 38, "faint"))
    parts.append(tag("line", class_="axis", x1=x(1), x2=x(k), y1=top, y2=top))
    for rank in range(1, k + 1):
        parts.append(tag("line", class_="axis", x1=x(rank), x2=x(rank), y1=top - 5, y2=top))
        parts.append(text(str(rank), x(rank), top - 9, "faint", "middle"))
    bars = groups(ranks, difference)
    for i, (low, high) in enumerate(bars):
        y = top + 9 + 7 * i
        parts.append(tag("line", x1=x(low) - 3, x2=x(high) + 3, y1=y, y2=y,
                         stroke="var(--faint)", stroke_width=4))  # fmt: skip
    first = top + 22 + 7 * len(bars)
    for place, i in enumerate(np.argsort(ranks, kind="stable")):
        y, at = first + 18 * place, x(float(ranks[i]))
        shade = "var(--accent)" if names[i] == OURS else "var(--faint)"
        parts.append(tag("path", d=f"M{at:.1f} {top:.1f}V{y:.1f}H{start:.1f}", fill="none",
                         stroke=shade, stroke_width=0.8))  # fmt: skip
        parts.append(titled("circle", told[i], cx=at, cy=y, r=4, fill=shade))
        parts.append(text(told[i], start - 6, y + 4, "", "end"))
    return svg(WIDTH, first + 18 * k - 4, "".join(parts), title)


# --- the page --------------------------------------------------------------------------------


def _versions(records: Sequence[Record]) -> str:
    found: dict[str, list[str]] = defaultdict(list)
    for r in records:
        if r["version"] not in found[r["contestant"]]:
            found[r["contestant"]].append(r["version"])
    names = [n for n in CONTESTANTS if n in found]
    told = {CONTESTANTS[n].distribution or OURS: " and ".join(found[n]) for n in names}
    listed = ", ".join(f"{name} {version}" for name, version in told.items())
    threads = sorted({str(r["threads"]) for r in records if "threads" in r})
    counted = f"{' or '.join(threads)} thread{'' if threads == ['1'] else 's'}"
    return f"Measured with Python {platform.python_version()}, {listed}, each on {counted}."


def write_page(records: Sequence[Record]) -> None:
    """Write what was measured into the page, below its text, and the pictures beside it."""
    before, _, _ = PAGE.read_text("utf-8").partition(MARK)
    told = [before + MARK, _versions(records)]
    for kept, heading in ((False, "Tables for development"), (True, "Tables kept for judging")):
        these = [r for r in records if TABLES[r["table"]].kept is kept]
        names = [n for n in CONTESTANTS if any(r["contestant"] == n for r in these)]
        tables, _, _ = compare(these, names)
        usual = [n for n in names if n != "realmlp"]
        if not compare(these, usual)[0]:
            continue
        told += [f"## {heading}", *_pictured(these, usual, kept), summary(these, usual)]
        if tables and names != usual:
            told += [f"### {heading}, with RealMLP-TD", "The folds that it has run.",
                     summary(these, names)]  # fmt: skip
    PAGE.write_text("\n\n".join(told) + "\n", encoding="utf-8")
    print(f"wrote {PAGE}")


def _pictured(records: Sequence[Record], names: Sequence[str], kept: bool) -> list[str]:
    tables, scores, _ = compare(records, names)
    if len(names) < 3 or len(tables) < 2:
        return []
    file = f"tables-bench-{'kept' if kept else 'development'}.svg"
    title = f"Mean rank on {len(tables)} tables, best on the left"
    (DOCS / file).write_text(standalone(picture(scores, names, title)), encoding="utf-8")
    order = np.argsort(mean_ranks(scores), kind="stable")
    said = ", ".join(f"{CONTESTANTS[names[i]].title} {mean_ranks(scores)[i]:.2f}" for i in order)
    return [f"![Mean ranks: {said}]({file})"]
