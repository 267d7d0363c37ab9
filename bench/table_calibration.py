"""How far probabilities and truth are apart: of classes of real tables, on rows not trained on.

For each classification table of `bench/table_sets.py` and each seed, a network is trained with the
default settings.  The columns are the expected calibration error of its test rows (15 bins of equal
width; Guo and others, 2017); that of perfect probabilities on as many rows, which is above 0
because a bin holds few of them; and the log loss as a share of that of the class shares.  The
second is the mean over targets that are drawn from the predicted probabilities.

Run: `python bench/table_calibration.py [--seeds 2] [--only NAME,...] [--kept]`

Read next: :mod:`chainrule.tabular.calibration`.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray
from table_sets import TABLES, load

from chainrule.tabular.class_scores import calibration_error
from chainrule.tabular.problem import read_problem
from chainrule.tabular.table_training import fit_table, settings_for

DRAWS = 20  # of targets from the predicted probabilities


def measured(name: str, seed: int) -> tuple[int, list[float]]:
    """Return the number of test rows, and the three figures of the table `name`."""
    table = load(name)
    columns = {**table.columns, "target to predict": table.target}
    problem = read_problem(columns, "target to predict", task="classification", seed=seed)
    run = fit_table(problem, settings_for(problem, seed=seed), progress=False)
    X, y = problem.test
    chances = run.probabilities(run.outputs(X))
    rng = np.random.default_rng(seed)
    perfect = [_error(_drawn(chances, rng), chances) for _ in range(DRAWS)]
    share = run.scores["test"]["log_loss"] / run.scores["baseline"]["log_loss"]
    return len(y), [_error(y, chances), float(np.mean(perfect)), share]


def _error(true: NDArray[Any], chances: NDArray[Any]) -> float:
    return float(np.mean(calibration_error(true, chances)))


def _drawn(chances: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Return a class for each row, drawn with the probabilities `chances` (rows, classes)."""
    places = rng.random((len(chances), 1)) > np.cumsum(chances, axis=1)
    return np.minimum(places.sum(axis=1), chances.shape[1] - 1)


def main() -> None:
    """Print a line for each table, and the mean over tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", default="", help="names of tables, with commas between them")
    parser.add_argument("--kept", action="store_true", help="the tables kept for judging")
    asked = parser.parse_args()
    names = [
        name
        for name, table in TABLES.items()
        if table.task == "classification"
        and (name in asked.only.split(",") if asked.only else table.kept == asked.kept)
    ]
    print(
        "| table | test rows | calibration error | if perfect | log loss |\n|---|---|---|---|---|"
    )
    every = []
    for name in names:
        found = [measured(name, seed) for seed in range(asked.seeds)]
        every.append(np.mean([figures for _, figures in found], axis=0))
        print(f"| {name} | {found[0][0]} | {_told(every[-1])} |", flush=True)
    print(f"| mean | | {_told(np.mean(every, axis=0))} |")


def _told(figures: NDArray[Any]) -> str:
    return " | ".join(f"{figure:.3f}" for figure in figures)


if __name__ == "__main__":
    main()
