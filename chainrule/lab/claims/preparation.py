"""Claims about the inputs: centering, scaling, PCA and whitening, and pixels.

Read next: :mod:`chainrule.lab.claims.descent`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.data.builtin import load
from chainrule.data.fitting import Preprocessor
from chainrule.data.projection import PCA, Whiten
from chainrule.data.scaling import Center, Standardize, Unscaled
from chainrule.lab.apparatus import best_setting, epochs_to, mlp, sweep
from chainrule.lab.experiment import Budget, Effect, Findings, claim
from chainrule.lab.plots import Bars
from chainrule.lab.samples import Sample

Array = np.ndarray[Any, Any]


def oblong(rows: int = 600, columns: int = 10) -> tuple[Array, Array]:
    """Return rows of two classes that are far from 0, and spread 30 times as far along one axis."""
    rng = np.random.default_rng(0)
    turned = np.linalg.qr(rng.normal(size=(columns, columns)))[0]
    z = rng.normal(size=(rows, columns))
    y = (z @ rng.normal(size=columns) + rng.normal(0, 0.5, rows) > 0).astype(np.int64)
    return (z * np.geomspace(0.1, 3.0, columns)) @ turned + 3.0, y


@claim("preparation", "Centering, scaling, PCA and whitening of the inputs speed training up.",
       seeds=5)  # fmt: skip
def preparation(budget: Budget) -> Findings:
    """Count the epochs of a linear classifier until its training loss is at a level, by SGD.

    The data are breast-cancer as measured (level 0.15) and oblong clouds (level 0.3).  Each is
    trained with 17 learning rates between 1e-7 and 10, and its fastest one counts; never there
    counts as 100 epochs.  PCA turns the axes and
    keeps all directions; from weights of 0, the descent is turned with them.
    Whitening adds 1e-4 to each variance.
    """
    cancer = load("breast-cancer")
    sets = {"breast-cancer": (cancer.X, cancer.y, 0.15), "oblong": (*oblong(), 0.3)}
    kinds: dict[str, Preprocessor[Any]] = {
        "raw": Unscaled(), "centered": Center(), "standardized": Standardize(), "PCA": PCA(),
        "whitened": Whiten(epsilon=1e-4),
    }  # fmt: skip
    settings = [{"learning_rate": 10.0**k} for k in np.arange(-7, 1.1, 0.5)]
    needed: dict[str, Array] = {}
    for name, kind in budget.each([(name, kind) for name in sets for kind in kinds]):
        X, y, level = sets[name]
        ready = kinds[kind].fit(X).transform(X).astype("float32")
        data = Sample(ready, y, ready, y, 2)
        net = mlp(X.shape[1], 2, weight_init="zeros")
        losses = sweep(budget, net, data, settings, 100, validation=None).scores()
        needed[f"{name}, {kind}"] = best_setting(epochs_to(losses, level))
    pairs = [
        ("raw", "centered", "centering"),
        ("centered", "standardized", "scaling"),
        ("centered", "PCA", "PCA after centering"),
        ("PCA", "whitened", "whitening after PCA"),
    ]
    return Findings(
        [
            Effect(f"{what}, {name}", f"epochs {before} over {after}",
                   needed[f"{name}, {before}"] / needed[f"{name}, {after}"], 1.1, ratio=True)
            for name in sets for before, after, what in pairs
        ],
        Bars(needed, "epochs to the level"),
        needed,
    )  # fmt: skip


@claim("pixels", "Pixels need no normalization, because they share one scale.", seeds=5)
def pixels(budget: Budget) -> Findings:
    """Count the epochs of 64-32-10 on digits until the training loss is 0.1, by SGD.

    Pixels are from 0 to 16 as read, from 0 to 1, or standardized one by one.  Each is trained with
    9 learning rates, and its fastest one counts; never there counts as 60 epochs.
    """
    digits = load("digits")
    settings = [{"learning_rate": 10.0**k} for k in np.arange(-3, 1.1, 0.5)]
    needed: dict[str, Array] = {}
    for name in budget.each(["0 to 16", "0 to 1", "standardized"]):
        X = digits.X if name == "0 to 16" else digits.X / 16
        if name == "standardized":
            X = Standardize().fit(X).transform(X)
        data = Sample(X.astype("float32"), digits.y, X, digits.y, 10)
        found = sweep(budget, mlp(64, 32, 10), data, settings, 60, validation=None)
        needed[name] = best_setting(epochs_to(found.scores(), 0.1))
    return Findings(
        [
            Effect(f"they are from {name}", "epochs over those with standardized pixels",
                   needed[name] / needed["standardized"], 1.1, ratio=True, less=True)
            for name in ("0 to 16", "0 to 1")
        ],
        Bars(needed, "epochs to a training loss of 0.1"),
        needed,
    )  # fmt: skip
