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
from chainrule.lab.apparatus import any_at, best_setting, epochs_to, mlp, sweep
from chainrule.lab.experiment import Budget, Effect, Findings, claim
from chainrule.lab.plots import Bars
from chainrule.lab.samples import Sample

Array = np.ndarray[Any, Any]


def elongated(rows: int = 600, columns: int = 10) -> tuple[Array, Array]:
    """Return rows of two classes, far from 0, whose standard deviations along axes are up to 3."""
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(columns, columns)))[0]
    z = rng.normal(size=(rows, columns))
    y = (z @ rng.normal(size=columns) + rng.normal(0, 0.5, rows) > 0).astype(np.int64)
    return (z * np.geomspace(0.1, 3.0, columns)) @ rotation + 3.0, y


@claim("preparation", "Centering, scaling, PCA and whitening of the inputs speed training up.",
       seeds=5)  # fmt: skip
def preparation(budget: Budget) -> Findings:
    """Count the epochs of a linear classifier until its training loss is at a level, by SGD.

    The data are breast-cancer as measured (level 0.1) and elongated clouds (level 0.3).  Each is
    trained with 17 learning rates between 1e-7 and 10, and its fastest one counts; a training that
    does not reach the level counts as 100 epochs.  PCA keeps all directions, so it only rotates
    the inputs: from weights of 0 the descent rotates with them, and nothing can change.  Whitening
    adds 1e-4 to each variance.
    """
    cancer = load("breast-cancer")
    sets = {"breast-cancer": (cancer.X, cancer.y, 0.1), "elongated": (*elongated(), 0.3)}
    kinds: dict[str, Preprocessor[Any]] = {
        "raw": Unscaled(), "centered": Center(), "standardized": Standardize(), "PCA": PCA(),
        "whitened": Whiten(epsilon=1e-4),
    }  # fmt: skip
    settings = [{"learning_rate": 10.0**k} for k in np.arange(-7, 1.1, 0.5)]
    needed: dict[str, Array] = {}
    late: dict[str, bool] = {}
    for name, kind in budget.each([(name, kind) for name in sets for kind in kinds]):
        X, y, level = sets[name]
        ready = kinds[kind].fit(X).transform(X).astype("float32")
        data = Sample(ready, y, ready, y, 2)
        net = mlp(X.shape[1], 2, weight_init="zeros")
        losses = sweep(budget, net, data, settings, 100, validation=None).scores()
        needed[f"{name}, {kind}"] = found = best_setting(epochs_to(losses, level))
        late[f"{name}, {kind}"] = any_at(found, losses.shape[-1])
    pairs = [
        ("raw", "centered", "centering"),
        ("centered", "standardized", "scaling"),
        ("centered", "PCA", "PCA instead of centering alone"),
        ("standardized", "whitened", "whitening instead of scaling"),
    ]
    return Findings(
        [
            Effect(f"{what}, {name}", f"epochs {before} over {after}",
                   needed[f"{name}, {before}"] / needed[f"{name}, {after}"], 1.1, ratio=True,
                   at_least=late[f"{name}, {before}"], unknown=late[f"{name}, {after}"])
            for name in sets for before, after, what in pairs
        ],
        Bars(needed, "epochs to the level"),
        needed,
    )  # fmt: skip


@claim("pixels", "Pixels need no normalization, because they share one scale.", seeds=5)
def pixels(budget: Budget) -> Findings:
    """Count the epochs of 64-32-10 on digits until the training loss is 0.1, by SGD.

    Pixels are from 0 to 1, centered, or also divided each by its own standard deviation.  Each is
    trained with 17 learning rates, and its fastest one counts; a training that does not get there
    counts as 60 epochs.
    """
    digits = load("digits")
    settings = [{"learning_rate": 10.0**k} for k in np.arange(-3, 1.1, 0.25)]
    needed: dict[str, Array] = {}
    kinds: dict[str, Preprocessor[Any]] = {
        "from 0 to 1": Unscaled(), "centered": Center(), "standardized": Standardize()
    }  # fmt: skip
    for name in budget.each(list(kinds)):
        X = kinds[name].fit(digits.X / 16).transform(digits.X / 16)
        data = Sample(X.astype("float32"), digits.y, X, digits.y, 10)
        found = sweep(budget, mlp(64, 32, 10), data, settings, 60, validation=None)
        needed[name] = best_setting(epochs_to(found.scores(), 0.1))
    return Findings(
        [
            Effect(f"what is left out is {what}", f"epochs {before} over {after}",
                   needed[before] / needed[after], 1.1, ratio=True, less=True)
            for what, before, after in (
                ("centering", "from 0 to 1", "centered"),
                ("a scale for each pixel", "centered", "standardized"),
            )
        ],
        Bars(needed, "epochs to a training loss of 0.1"),
        needed,
    )  # fmt: skip
