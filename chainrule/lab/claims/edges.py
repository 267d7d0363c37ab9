"""Claims about wiring: not every unit needs every input.

Read next: :mod:`chainrule.lab.claims_page`.
"""

from __future__ import annotations

import numpy as np

from chainrule.lab.apparatus import mlp, sweep
from chainrule.lab.experiment import Budget, Effect, Findings, claim
from chainrule.lab.plots import Lines
from chainrule.lab.samples import sample
from chainrule.nn.activations import ReLU
from chainrule.nn.layer import Linear, Sequential
from chainrule.nn.wiring import Density, ImageFields, SparseLinear
from chainrule.optim.adam import Adam


@claim("wiring", "A unit need not be connected to every input: with fewer edges, the accuracy is "
       "at most 0.01 lower.", seeds=10)  # fmt: skip
def wiring(budget: Budget) -> Findings:
    """Train 64-144-10 on digits for 30 epochs by Adam(0.003), with a share of the edges.

    The edges are those from the inputs to the hidden units, 9,216 in the full network; all of the
    output layer are kept.  For each share, one random choice of edges is made, the same for all
    seeds.  With 14 % of them, there are two rivals: in fields, each unit sees 3 times 3 pixels;
    and a full network with as many edges has 20 units.
    """
    data, shares = sample("digits"), [1.0, 0.5, 0.25, 0.14, 0.05, 0.02]
    fields = ImageFields((8, 8), (3, 3), units=4)
    nets = {share: Sequential([SparseLinear(64, 144, Density(share)), ReLU(), Linear(144, 10)])
            for share in shares[1:]}  # fmt: skip
    nets |= {1.0: mlp(64, 144, 10), 0.0: mlp(64, 20, 10)}
    nets[-1.0] = Sequential([SparseLinear(64, 144, fields), ReLU(), Linear(144, 10)])
    scores = {
        share: sweep(budget, net, data, [{}], 30, optimizer=Adam(0.003))
        .scores("val_accuracy")[0, :, -1]
        for share, net in budget.each(nets.items())
    }  # fmt: skip
    lost = {share: scores[1.0] - score for share, score in scores.items()}
    cases = {f"{share:.0%} of the edges are kept, at random": share for share in shares[1:]}
    cases["14% of the edges are kept, in fields of 3 x 3 pixels"] = -1.0
    cases["14% of the edges are kept, all those of 20 units"] = 0.0
    return Findings(
        [
            Effect(when, "accuracy with all edges less that with these", lost[share], 0.01,
                   less=True)
            for when, share in cases.items()
        ],
        Lines({"random edges": np.array([scores[s] for s in shares]).T,
               "fields of 3 x 3": [scores[-1.0].mean() if s == 0.14 else float("nan")
                                   for s in shares],
               "fewer units, all edges": [scores[0.0].mean() if s == 0.14 else float("nan")
                                          for s in shares]},
              shares, "share of the edges", "accuracy on test rows", log_x=True),
        {"accuracy, all edges": scores[1.0], "accuracy, 20 units": scores[0.0],
         "accuracy, fields": scores[-1.0],
         **{f"accuracy, {s:.0%} of the edges": scores[s] for s in shares[1:]}},
    )  # fmt: skip
