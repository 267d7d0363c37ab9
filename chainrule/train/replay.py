"""Replay a training step by step, to find when a unit died or the numbers broke.

The same seeds give the same batches and the same bits, so a training can be looked at again at any
step, although nothing of it was kept.

Read next: :mod:`chainrule.doctor.survey`.
"""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.core.wording import counted, listed
from chainrule.doctor.case import Case
from chainrule.doctor.layer_facts import LayerFacts
from chainrule.doctor.remedies import divided
from chainrule.doctor.survey import Survey
from chainrule.nn.layer import parameters
from chainrule.optim.full_batch import FullBatch
from chainrule.optim.named import optimizer as optimizer_of
from chainrule.step.objective import objective
from chainrule.step.read_parts import read_parts
from chainrule.train.rates import plateaus
from chainrule.train.set_up import prepare_training

__all__ = ["Biography", "Breakdown", "Replay", "biography", "find_breakdown", "forked"]

Array = np.ndarray[Any, Any]
MOST_ROWS = 2000  # that a unit is looked at on


class Replay:
    """A training from its first step, one step at a time.

    Raises OptionError for a full-batch method, and for a rate that is reduced on a plateau, which
    depends on more than the case.
    """

    def __init__(self, case: Case):
        method = optimizer_of(case.optimizer)
        if isinstance(method, FullBatch) or any(plateaus(method)):
            raise OptionError(f"a training by {method!r} can't be replayed step by step.")
        more, aim = case.more, objective(case.loss)
        model = copy.deepcopy(case.model)
        parts = read_parts(
            model, case.data, case.validation, aim,
            more.get("sample_weight"), more.get("class_weight"), case.seed,
        )  # fmt: skip
        self.training = prepare_training(case, model, aim, parts)
        self.program = self.training.program
        self.survey = Survey(case, model, aim, *parts)
        self.training.connect()

    def step(self, rows: Array) -> float:
        """Take one step on a batch, and return its mean loss before it."""
        return self.program.run(rows, self.training.batch_size)["loss"] / len(rows)

    def epoch(self, epoch: int) -> None:
        """Take all steps of `epoch`, from 1."""
        self.program.run(self.training.order(epoch), self.training.batch_size)

    def layers(self, most: int = MOST_ROWS) -> list[LayerFacts]:
        """Return the layers as at most `most` training rows pass them now."""
        return self.survey.measure(most)[0]


def forked(case: Case, after: int) -> Case:
    """Return what remains of `case` at the end of the epoch `after`: its weights and its epochs.

    The rows held out stay held out, whatever the seed.  The state of the optimizer is not kept.
    """
    replay = Replay(case)
    for epoch in range(1, after + 1):
        replay.epoch(epoch)
    model = copy.deepcopy(case.model)
    for path, parameter in parameters(model).items():
        parameter.value = replay.program.state[f"parameter/{path}"]
    return replace(divided(case), model=model, epochs=case.epochs - after)


@dataclass(frozen=True)
class Biography:
    """What became of one unit in a training.

    died
        (epoch, step within it, both from 1) after which its slope was 0 for every row looked at
        and stayed so to the end, or None; epoch 0 is before the first step.
    batch
        The numbers of the rows of the batch of that step.
    bias_before, bias_after
        The bias before and after that step, None in a layer without biases.
    change
        The change of its weights in that step, as a share of their length.
    nearest_row, nearest_sum
        The training row whose weighted sum, with the bias, came nearest to reviving it at the end,
        and that sum.
    rows
        How many rows it was looked at on.
    """

    layer: str
    unit: int
    died: tuple[int, int] | None
    batch: tuple[int, ...]
    bias_before: float | None
    bias_after: float | None
    change: float
    nearest_row: int
    nearest_sum: float
    rows: int

    def __str__(self) -> str:
        name = f"Unit {self.unit} of layer {self.layer}"
        if self.died is None:
            return f"{name} is alive: some training row has a slope other than 0."
        epoch, step = self.died
        told = [f"{name} is dead: its slope is 0 on {counted(self.rows, 'training row')}."]
        if epoch == 0:
            told.append("It was dead before the first step.")
        else:
            told.append(
                f"It died in epoch {epoch}, step {step}, on the batch of rows {listed(self.batch)}."
            )
            bias = ""
            if self.bias_before is not None:
                bias = f" and its bias from {self.bias_before:.4g} to {self.bias_after:.4g}"
            told.append(
                f"That step changed its weights by {100 * self.change:.3g} % of their length{bias}."
            )
        told.append(
            f"Row {self.nearest_row} comes nearest to reviving it, with a weighted sum of "
            f"{self.nearest_sum:.4g}; no training row can, unless the layers before it change."
        )
        return "\n".join(told)

    __repr__ = __str__

    def to_json(self) -> dict[str, Any]:
        """Return the biography as plain JSON values."""
        return asdict(self)


def biography(case: Case, layer: str, unit: int) -> Biography:
    """Replay `case` and return what became of a unit; see :class:`Biography`.

    Raises OptionError for a layer or unit that is not there, or that has no activation of its own.
    """
    replay = Replay(case)
    index = _find(replay, layer, unit)

    def dead() -> bool:
        return bool((replay.layers()[index].slope[:, unit] == 0).all())

    if dead_before := dead():
        before = replay.training.copies()
    died_in = 0 if dead_before else None
    kept = replay.training.copies()
    for epoch in range(1, case.epochs + 1):
        state = replay.training.copies()
        replay.epoch(epoch)
        if not dead():
            died_in = None
        elif died_in is None:
            died_in, kept = epoch, state
    end = replay.layers()[index]
    sums = end.product[:, unit] + (0.0 if end.bias is None else end.bias[unit])
    numbers = replay.training.train.spread_rows(MOST_ROWS)
    nearest = int(sums.argmax())
    found: dict[str, Any] = {"nearest_row": int(numbers[nearest]),
                             "nearest_sum": float(sums[nearest]), "rows": len(numbers)}  # fmt: skip
    nothing: dict[str, Any] = {"batch": (), "bias_before": None, "bias_after": None, "change": 0.0}
    if died_in is None:
        return Biography(layer, unit, None, **nothing, **found)
    if died_in == 0:
        replay.training.put_back(before)
        return Biography(layer, unit, (0, 0), **nothing, **found)
    replay.training.put_back(kept)
    step, batch, was = 0, np.array([], int), end
    for k, rows in enumerate(replay.training.batches(died_in), 1):
        now = replay.layers()[index]
        alive = bool((now.slope[:, unit] != 0).any())
        if alive:
            step, batch, was, state = k, rows, now, replay.training.copies()
        replay.step(rows)
    replay.training.put_back(state)
    replay.step(batch)
    after = replay.layers()[index]
    change = 0.0
    if was.weight is not None and after.weight is not None:
        old, new = was.weight[:, unit], after.weight[:, unit]
        change = float(np.linalg.norm(new - old) / max(1e-30, float(np.linalg.norm(old))))
    return Biography(
        layer, unit, (died_in, step), tuple(batch.tolist()),
        None if was.bias is None else float(was.bias[unit]),
        None if after.bias is None else float(after.bias[unit]),
        change, **found,
    )  # fmt: skip


def _find(replay: Replay, layer: str, unit: int) -> int:
    """Return the index of a layer among those measured, whose slopes are by unit."""
    layers = replay.layers()
    names = [f.path for f in layers]
    if layer not in names:
        raise OptionError(f"there is no layer {layer!r} with weights. {did_you_mean(layer, names)}")
    found = layers[names.index(layer)]
    if not 0 <= unit < found.units or found.slope.ndim != 2:
        raise OptionError(f"layer {layer} has units 0 to {found.units - 1}, not {unit!r}.")
    return names.index(layer)


@dataclass(frozen=True)
class Breakdown:
    """The first step of a training whose loss, or whose new weights, are not finite.

    `epoch` and `step` count from 1; `rows` are those of its batch; `layer` is the first layer
    whose weighted sums are not finite for them, "" if all are; `largest` is the largest weighted
    sum in magnitude before the step, over the layers.
    """

    epoch: int
    step: int
    rows: tuple[int, ...]
    loss: float
    layer: str
    largest: float

    def __str__(self) -> str:
        rows = listed(self.rows)
        place = (
            f"layer {self.layer} gives the first numbers that are not finite"
            if self.layer
            else f"the largest weighted sum is {self.largest:.3g}"
        )
        return (
            f"Epoch {self.epoch}, step {self.step}, on the batch of rows {rows}: the loss is "
            f"{self.loss:.4g}, and {place}."
        )


def find_breakdown(case: Case) -> Breakdown | None:
    """Replay `case` up to the first step that breaks; None if there is none."""
    replay = Replay(case)
    for epoch in range(1, case.epochs + 1):
        for k, rows in enumerate(replay.training.batches(epoch), 1):
            state = replay.training.copies()
            loss = replay.step(rows)
            if not (math.isfinite(loss) and replay.training.finite()):
                replay.training.put_back(state)
                layers = replay.survey.measure(rows=rows)[0]
                broken = [f.path for f in layers if not np.isfinite(f.product).all()]
                sizes = [float(np.abs(f.product[np.isfinite(f.product)]).max(initial=0))
                         for f in layers]  # fmt: skip
                return Breakdown(epoch, k, tuple(rows.tolist()), loss,
                                 broken[0] if broken else "", max(sizes, default=0.0))  # fmt: skip
    return None
