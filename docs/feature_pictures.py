"""Make `docs/features-weights.svg`, the picture in `docs/features.md`, from a real run.

Trains on Fashion-MNIST as `chainrule train fashion-mnist --hidden 64,64 --epochs 8 --l2 0.001`
does, prints what the document quotes, and draws the weights of the first layer.  Nothing in the
picture is drawn by hand.

Run: `python docs/feature_pictures.py`
"""

from __future__ import annotations

from pathlib import Path

import chainrule as cr
from chainrule.insight.hidden.figures import weights_grid
from chainrule.insight.render.page import standalone
from chainrule.tabular.problem import read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.table_training import fit_table

PICTURE = Path(__file__).with_name("features-weights.svg")

if __name__ == "__main__":
    problem = read_problem("fashion-mnist")
    settings = choose_settings(problem.rows["train"], hidden=(64, 64), epochs=8, l2=1e-3)
    run = fit_table(problem, settings, progress=False)
    found = cr.features(run, *problem.train, held_out=problem.test)
    print(f"test accuracy {run.scores['test']['accuracy']:.3f}\n\n{found}")
    PICTURE.write_text(standalone(weights_grid(found, 24)), encoding="utf-8")
    print(f"wrote {PICTURE.name}")
