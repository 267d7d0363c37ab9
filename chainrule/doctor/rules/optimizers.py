"""Rules on the optimizer and the batches: what keeps the weights from moving, or shrinks them.

Read next: :mod:`chainrule.doctor.rules.ending`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from chainrule.doctor.finding import Evidence, Finding
from chainrule.doctor.rule import rule
from chainrule.doctor.specimens import classes, network
from chainrule.doctor.survey import Survey
from chainrule.nn.layer import Layer, named_layers, parameters
from chainrule.nn.normalize import BatchNorm
from chainrule.optim.adam import Adam
from chainrule.optim.clip import ClipNorm
from chainrule.optim.decay import MaxNorm, WeightDecay
from chainrule.optim.full_batch import FullBatch
from chainrule.optim.groups import freeze, groups
from chainrule.optim.optimizer import chain
from chainrule.optim.sgd import SGD
from chainrule.optim.wrappers import Accumulate

__all__ = [
    "averages_lag", "batch_of_all_rows", "epsilon_too_large", "few_updates",
    "frozen_random_weights", "gradients_clipped_away", "weights_held_small",
]  # fmt: skip

SHRINK = 0.02  # of each weight, in a step: half is gone after 35 steps
SHORT = 0.1  # of the first norm of the weights into a unit
CLIPPED = 1e-3  # of the first gradient's norm
FEW_STEPS = 20  # of the optimizer, in the whole training
FEW_BATCHES = 200  # steps in the whole training
MANY_ROWS = 100


@rule(
    "optimizer",
    sick=lambda: classes(optimizer=chain(Adam(3e-3), WeightDecay(0.1))),
    healthy=lambda: classes(optimizer=chain(Adam(3e-3), WeightDecay(1e-4))),
)
def weights_held_small(survey: Survey) -> Iterator[Finding]:
    """Find a decay or a bound of norms that undoes what the steps learn."""
    for _, part in survey.optimizer.walk():
        if isinstance(part, WeightDecay):
            rate = max([float(v) for v in part.hyper().values()], default=0.0)
            if rate < SHRINK:
                continue
            yield Finding(
                "weights_held_small", "optimizer", "warning",
                f"WeightDecay takes {100 * rate:.3g} % of every weight away in each step: half of "
                f"what is learned is gone after {math.log(2) / rate:.0f} steps.",
                "Use a decay of about 0.01 times the learning rate in each step, as AdamW does.",
                {},
                (Evidence("share of a weight lost in a step", rate, SHRINK,
                          "half is gone after 35 steps"),),
                {}, 0.95,
            )  # fmt: skip
        if isinstance(part, MaxNorm):
            found = parameters(survey.model)
            norms = [float(np.median(np.linalg.norm(p.value, axis=0)))
                     for p in found.values() if p.is_weight and p.ndim == 2]  # fmt: skip
            bound = min([float(v) for v in part.hyper().values()], default=math.inf)
            ratio = bound / max(norms) if norms and max(norms) > 0 else math.inf
            if ratio >= SHORT:
                continue
            yield Finding(
                "weights_held_small", "optimizer", "warning",
                f"MaxNorm bounds the weights into a unit to a norm of {bound:g}, where the first "
                f"weights have {max(norms):.3g}: outputs and gradients shrink layer by layer.",
                "Use a bound of 2 to 4.",
                {},
                (Evidence("bound over the first norm", ratio, SHORT, "first weights must fit"),),
                {}, 0.95,
            )  # fmt: skip


@rule(
    "optimizer",
    sick=lambda: classes(optimizer=chain(ClipNorm(1e-6), SGD(0.1))),
    healthy=lambda: classes(optimizer=chain(ClipNorm(1.0), SGD(0.1))),
)
def gradients_clipped_away(survey: Survey) -> Iterator[Finding]:
    """Find a clipping norm far below that of the first gradient, before plain descent."""
    adaptive = any("epsilon" in name for name in survey.optimizer.hyper())
    norm = math.sqrt(
        math.fsum(float(np.square(g, dtype=np.float64).sum()) for g in survey.gradients.values())
    )
    for _, part in survey.optimizer.walk():
        if not isinstance(part, ClipNorm) or adaptive or not norm > 0:
            continue
        bound = min(float(v) for v in part.hyper().values())
        if bound / norm >= CLIPPED:
            continue
        yield Finding(
            "gradients_clipped_away", "optimizer", "warning",
            f"ClipNorm bounds gradients to a norm of {bound:g}, and the first one has {norm:.3g}: "
            f"every step is {norm / bound:,.0f} times shorter than the learning rate says.",
            "Use a bound of about the usual norm of the gradient, such as 1.",
            {},
            (Evidence("bound over the norm of the first gradient", bound / norm, CLIPPED,
                      "clipping should touch rare large gradients"),),
            {}, 0.9,
        )  # fmt: skip


@rule(
    "optimizer",
    sick=lambda: classes(optimizer=Adam(3e-3, epsilon=100.0)),
    healthy=lambda: classes(optimizer=Adam(3e-3)),
)
def epsilon_too_large(survey: Survey) -> Iterator[Finding]:
    """Find an epsilon that outweighs the gradients it is added to."""
    sizes = [float(np.sqrt(np.square(g, dtype=np.float64).mean())) for g in
             survey.gradients.values() if g.any()]  # fmt: skip
    if not sizes:
        return
    typical = max(sizes)
    for name, epsilon in survey.optimizer.hyper().items():
        if name.split(".")[-1] != "epsilon" or epsilon < 100 * typical or epsilon < 1e-3:
            continue
        yield Finding(
            "epsilon_too_large", "optimizer", "warning",
            f"The optimizer divides by the size of the gradients plus epsilon = {epsilon:g}, and "
            f"the gradients have a size of {typical:.3g}: steps are {epsilon / typical:,.0f} times "
            "shorter than the learning rate says.",
            "Leave epsilon at its default.",
            {},
            (Evidence("epsilon over the size of the gradients", epsilon / typical, 100.0,
                      "epsilon only guards against division by 0"),),
            {}, 0.9,
        )  # fmt: skip


@rule(
    "optimizer",
    sick=lambda: classes(optimizer=groups({"2.bias": Adam(3e-3)}, default=freeze)),
    healthy=lambda: classes(),
)
def frozen_random_weights(survey: Survey) -> Iterator[Finding]:
    """Find weights that are never trained and were never set: they stay random."""
    given = parameters(survey.case.model)
    found = {path: p for path, p in parameters(survey.model).items() if p.is_weight}
    frozen = [
        path
        for path, p in found.items()
        if path in given
        and not given[path].assigned
        and not (p.trainable and survey.optimizer.trains(p))
        and p.ndim == 2
    ]
    if not frozen:
        return
    share = len(frozen) / max(1, sum(p.ndim == 2 for p in found.values()))
    yield Finding(
        "frozen_random_weights", "optimizer", "warning",
        f"{frozen[0]} is frozen, and its values were drawn at random: it will never learn "
        f"({len(frozen)} of {len(found)} weights are so).",
        "Train it, or set its values before you freeze it.",
        {"layer": frozen[0].rpartition(".")[0]},
        (Evidence("share of weights that stay random", share, 0.0, "only trained weights may be "
                  "frozen"),),
        {}, 0.95 if share > 0.5 else 0.7,
    )  # fmt: skip


@rule(
    "optimizer",
    sick=lambda: classes(optimizer=Accumulate(80, Adam(3e-3))),
    healthy=lambda: classes(optimizer=Accumulate(2, Adam(3e-3)), epochs=40),
)
def few_updates(survey: Survey) -> Iterator[Finding]:
    """Find gradients that are accumulated over so many batches that hardly a step is taken."""
    for _, part in survey.optimizer.walk():
        if not isinstance(part, Accumulate):
            continue
        updates = survey.steps / part.steps
        if updates >= FEW_STEPS:
            continue
        yield Finding(
            "few_updates", "optimizer", "warning",
            f"Gradients are accumulated over {part.steps:,} batches, and there are "
            f"{survey.steps:,} in all: the weights change {updates:.0f} times.",
            "Accumulate over fewer batches.",
            {},
            (Evidence("updates in all", updates, FEW_STEPS, "a network learns in small steps"),),
            {}, 0.93,
        )  # fmt: skip


@rule(
    "batch",
    sick=lambda: classes(batch_size=1000, epochs=20),
    healthy=lambda: classes(batch_size=32, epochs=20),
)
def batch_of_all_rows(survey: Survey) -> Iterator[Finding]:
    """Find a batch of all rows, where the epochs are the only steps there are."""
    rows = len(survey.train)
    if isinstance(survey.optimizer, FullBatch) or survey.batch_size < rows or rows < MANY_ROWS:
        return
    if survey.steps >= FEW_BATCHES:
        return
    yield Finding(
        "batch_of_all_rows", "batch", "warning",
        f"The batch holds all {rows:,} rows, so {survey.case.epochs} epochs are "
        f"{survey.steps:,} steps; batches of 32 would give "
        f"{survey.case.epochs * -(-rows // 32):,} for the same work.",
        "Use batches of 32.",
        {},
        (Evidence("steps in all", survey.steps, FEW_BATCHES, "networks need hundreds of steps"),),
        {"batch_size": 32}, 0.75,
    )  # fmt: skip


def _lagging() -> Layer:
    return network(4, 16, 3, between=[BatchNorm(16, momentum=1e-6)])


@rule(
    "batch",
    sick=lambda: classes(_lagging()),
    healthy=lambda: classes(network(4, 16, 3, between=[BatchNorm(16)])),
)
def averages_lag(survey: Survey) -> Iterator[Finding]:
    """Find running averages of batch normalization that training is too short to fill."""
    for path, layer in named_layers(survey.model):
        if not isinstance(layer, BatchNorm):
            continue
        filled = 1 - (1 - layer.momentum) ** survey.steps
        if filled >= 0.5:
            continue
        yield Finding(
            "averages_lag", "batch", "warning",
            f"Batch normalization at layer {path} moves its running averages by "
            f"{layer.momentum:g} in each step. After all {survey.steps:,} steps they are still "
            f"{100 * (1 - filled):.0f} % of what they started from, and predictions use them.",
            "Leave momentum at 0.1.",
            {"layer": path},
            (Evidence("share of the averages that comes from the data", filled, 0.5,
                      "predictions normalize by them"),),
            {}, 0.9,
        )  # fmt: skip
