"""Several labels for each row, some of them unknown: `python examples/multi_label.py`.

Each output is a yes-or-no question of its own, so the loss is binary_cross_entropy.  Labels that
are not known have a weight of 0.

Read next: `docs/catalogue.md`.
"""

from __future__ import annotations

import numpy as np

import chainrule as cr
from chainrule import nn, optim

rng = np.random.default_rng(0)
X = rng.normal(size=(1200, 6)).astype("float32")
# Three questions about a row; any number of them may be answered with yes.
labels = np.stack([X[:, 0] > 0, X[:, 1] * X[:, 2] > 0, X[:, 3:].sum(1) > 1], axis=1)
known = rng.random(labels.shape) < 0.7

model = nn.Sequential([nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 3)])
run = cr.fit(
    model, (X[:1000], labels[:1000]), loss="binary_cross_entropy", optimizer=optim.Adam(0.01),
    sample_weight=known[:1000].astype(float), epochs=40, progress=False,
)  # fmt: skip

probabilities = run.predict_proba(X[1000:])
right = ((probabilities > 0.5) == labels[1000:]).mean(axis=0)
print("right answers to each question:", right.round(3))
print("probabilities of the first rows:", probabilities[:3].round(2), sep="\n")
assert right.min() > 0.85
