"""Predict a column of a table from the others: `python examples/table.py`.

Read next: `docs/table.md`.
"""

from __future__ import annotations

from pathlib import Path

from chainrule import data, tabular

HERE = Path(__file__).parent

problem = tabular.read_problem(HERE / "houses.csv", "price")
print("\n".join(problem.pipeline.notes))  # what was decided about the columns
settings = tabular.settings_for(problem)
run = tabular.fit_table(problem, settings, progress=False)

error, constant = run.scores["test"]["mae"], run.scores["baseline"]["mae"]
print(f"mean error on test rows: {error:,.0f}, of a constant prediction: {constant:,.0f}")
assert error < constant / 2

new = data.read_table(HERE / "new-houses.csv")  # no prices, and cells that are missing
print(tabular.predict_table(run, new, tell=print)["prediction"])
