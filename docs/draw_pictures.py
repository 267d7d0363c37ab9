"""Make the pictures of `docs/draw.md` from a real training and a real step.

Run: `python docs/draw_pictures.py`
"""

from __future__ import annotations

from pathlib import Path

import chainrule as cr
from chainrule import nn
from chainrule.tabular.problem import read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.table_training import fit_table

HERE = Path(__file__).parent


def step() -> str:
    """Return the kernels of the step on the page, as SVG."""
    model = nn.Sequential([nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)])
    return cr.draw(model, "kernels", loss="cross_entropy", optimizer="sgd").svg()


def trained() -> str:
    """Return the neurons of a network trained on iris, as SVG."""
    problem = read_problem("iris")
    settings = choose_settings(problem.rows["train"], hidden=(8,), learning_rate=0.02)
    return cr.draw(fit_table(problem, settings, progress=False), "neurons").svg()


if __name__ == "__main__":
    (HERE / "draw-kernels.svg").write_text(step() + "\n", "utf-8")
    (HERE / "draw-neurons.svg").write_text(trained() + "\n", "utf-8")
