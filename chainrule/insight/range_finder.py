"""Find a learning rate: train a copy at a rate that rises, and see where the loss falls fastest.

A model and its data go in; rates, the loss on rows held out after each step, and a suggestion
come out, or the reason why there is none.  The model is not changed.

Read next: :mod:`chainrule.optim.schedules`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError
from chainrule.core.options import check_whole, is_number
from chainrule.core.wording import counted
from chainrule.insight.render.chart import line_chart
from chainrule.insight.render.page import Shown, escape, page, standalone
from chainrule.nn.layer import Layer, initialize, parameters
from chainrule.optim.hyper import Tunable
from chainrule.optim.named import optimizer as optimizer_of
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.schedules import Exponential
from chainrule.run.program import Engine, prepare
from chainrule.step.objective import objective
from chainrule.step.part import Part
from chainrule.step.read_parts import check_made, check_pair, read_parts
from chainrule.step.record import model_dtype, record_step
from chainrule.train.rates import Rates
from chainrule.train.run import Run

__all__ = ["RateSearch", "find_learning_rate"]

Array = np.ndarray[Any, Any]
FEWEST_ROWS = 40  # with less, what is held out tells nothing
HELD_OUT = 1000  # rows at most, and a quarter at most
SHUFFLES = 20  # of the targets held out, to tell what guessing would score
SURE = 4.0  # standard deviations of such shuffles: the best of many steps is one of 2 by chance
LEAST_FALL = 0.05  # of what the model knew before: how far it was from guessing
SMOOTHING = 5  # steps


@dataclass(frozen=True, repr=False)
class RateSearch(Shown):
    """What :func:`find_learning_rate` saw, and what it suggests.

    `rates` and `losses` have an entry a step: the learning rate of the step and the loss on the
    rows held out after it; `smoothed` is a moving mean of `losses`.  `start` is the loss before
    the first.  `suggestion` is None where the losses do not tell; `reason` says why in any case.
    """

    rates: Array
    losses: Array
    smoothed: Array
    start: float
    suggestion: float | None
    reason: str

    def __repr__(self) -> str:
        """Show the losses over the rates in text, with the suggestion."""
        head = "no suggestion" if self.suggestion is None else f"{self.suggestion:.2g}"
        return "\n".join([f"learning rate: {head} ({self.reason})", *self._plot()])

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON holds it; a loss that is not a number becomes None."""
        losses = [float(v) if math.isfinite(v) else None for v in self.losses]
        return {
            "suggestion": self.suggestion,
            "reason": self.reason,
            "start": self.start,
            "rates": [float(rate) for rate in self.rates],
            "losses": losses,
        }

    def svg(self) -> str:
        """Return the chart as an SVG document that stands for itself."""
        return standalone(self._chart())

    def html(self) -> str:
        """Return a page with the chart and the reason for the suggestion."""
        body = f"<p>{escape(self.reason)}</p><figure>{self._chart()}</figure>"
        return page("Learning rate", [("", body)])

    def _chart(self) -> str:
        head = "" if self.suggestion is None else f", suggested {self.suggestion:.2g}"
        top = self._top()
        series = {"loss held out": self.losses, "smoothed": self.smoothed}
        return line_chart(
            {name: np.where(values <= top, values, np.nan) for name, values in series.items()},
            self.rates, title=f"Learning rate{head}", x_label="learning rate", y_label="loss",
            log_x=True,
        )  # fmt: skip

    def _top(self) -> float:
        """Return the highest loss to draw: what lies far above the start hides the rest."""
        low = min([self.start, *map(float, self.losses[np.isfinite(self.losses)])])
        return self.start + max(1.0 * (self.start - low), 0.05 * abs(self.start), 1e-12)

    def _plot(self, width: int = 60, height: int = 10) -> list[str]:
        values = self.smoothed
        drawn = np.isfinite(values) & (values <= self._top())
        if not drawn.any():
            return []
        low, high = values[drawn].min(), values[drawn].max()
        grid = [[" "] * width for _ in range(height)]
        across = np.linspace(0, width - 1, len(values)).round().astype(int)
        if self.suggestion is not None:
            column = across[int(np.argmin(abs(np.log(self.rates / self.suggestion))))]
            for line in grid:
                line[column] = "|"
        for x, value in zip(across[drawn], values[drawn], strict=True):
            y = 0.0 if high == low else (high - value) / (high - low)
            grid[round(y * (height - 1))][x] = "*"
        margin = [f"{high:.3g}", *[""] * (height - 2), f"{low:.3g}"]
        lines = [f"{m:>8} {''.join(r).rstrip()}" for m, r in zip(margin, grid, strict=True)]
        ends = f"{self.rates[0]:.1g}", f"{self.rates[-1]:.2g}"
        return [*lines, " " * 9 + ends[0] + ends[1].rjust(width - len(ends[0]))]


@dataclass
class _Sweep:
    """One training at a rising rate: where it is, and the best it has come by."""

    run: Run
    held_out: Part
    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    best: dict[str, Array] = field(default_factory=dict)

    def score(self) -> float:
        with np.errstate(all="ignore"):
            return self.run.totals(self.held_out)["loss"]

    def look(self, rate: float) -> None:
        """Take down the loss after a step at `rate`, and the weights if they are the best."""
        self.rates.append(rate)
        self.losses.append(self.score())
        if self.losses[-1] <= min(self.losses):
            found = parameters(self.run.model)
            self.best = {name: p.value.copy() for name, p in found.items()}

    def has_diverged(self, start: float) -> bool:
        """Return whether the loss has left for good, so that more steps tell nothing."""
        loss, low = self.losses[-1], min(start, *self.losses)
        return not math.isfinite(loss) or loss - start > max(4 * (start - low), abs(start), 1e-12)


def find_learning_rate(
    model: Layer,
    data: tuple[Any, Any],
    *,
    loss: str | Callable[..., Any],
    optimizer: str | Optimizer = "adam",
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 120,
    batch_size: int = 32,
    seed: int = 0,
    threads: int | None = None,
    engine: str | None = None,
) -> RateSearch:
    """Return a learning rate to train `model` with, found on a copy of it in a few steps.

    The rate rises exponentially from `low` to `high` over `steps` steps, and the loss on rows
    held out (at most a quarter, at most 1,000) is looked at after each.  The suggestion is midway,
    in powers of ten, between the rate where it falls fastest and a tenth of that where it is
    lowest.  There is none, and `reason` says so, where the loss never falls,
    and where the best model seen fits the rows held out no better than the same targets
    shuffled: then there is nothing to learn, or too little data to tell.  The optimizer's own
    rate, or schedule, is not used.

    Raises what :func:`chainrule.fit` raises for data and options, and OptionError for an
    optimizer with several learning rates or none.

    Source: Smith, "Cyclical learning rates for training neural networks", 2017.

    >>> from chainrule import data, nn
    >>> X, y = data.load("iris").X, data.load("iris").y
    >>> model = nn.Sequential([nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3)])
    >>> found = find_learning_rate(model, (X, y), loss="cross_entropy")
    >>> 1e-3 < found.suggestion < 1
    True
    """
    _check(low, high, steps, batch_size, seed)
    check_made(model, optimizer)
    trial, aim = copy.deepcopy(model), objective(loss)
    method = rising(optimizer_of(optimizer), low, high).planned(steps, steps)
    X, y = check_pair(data, "X", "y", model_dtype(trial))
    if len(X) < FEWEST_ROWS:
        nothing = np.zeros(0)
        rows = f"{counted(len(X), 'row')} {'is' if len(X) == 1 else 'are'}"
        reason = f"{rows} too few to hold some out; at least {FEWEST_ROWS} are needed"
        return RateSearch(nothing, nothing, nothing, math.nan, None, reason)
    share = min(0.25, HELD_OUT / len(X))
    train, held_out = read_parts(trial, (X, y), share, aim, None, None, int(seed))
    assert held_out is not None  # a share was asked for
    initialize(trial, int(seed), keep_assigned=True)
    step = record_step(trial, aim, method, (), train, seed=int(seed))
    chosen = Engine(engine, threads)
    program = prepare(step.graph, step.state, train.arrays, int(batch_size), chosen)
    for path, parameter in parameters(trial).items():
        parameter.watch(program.state[f"parameter/{path}"])
    run = Run(trial, aim, (), X.shape[1:], X.dtype.name, y.ndim == 1, engine=chosen)
    rng = np.random.default_rng(int(seed))
    sweep = _Sweep(run, held_out)
    start = sweep.score()
    knew = _guessing(sweep, rng)[0] - start
    rate = Rates(method, step.rate, program.state)
    for batch in _batches(train, steps, int(batch_size), rng):
        program.run(batch, int(batch_size))
        sweep.look(rate.now() or 0.0)
        if sweep.has_diverged(start):
            break
    return _judge(sweep, start, knew, rng)


def _check(low: float, high: float, steps: int, batch_size: int, seed: int) -> None:
    """Raise OptionError for numbers without meaning."""
    numbers = is_number(low) and is_number(high)
    if not (numbers and 0 < low < high < math.inf):
        raise OptionError(
            f"find_learning_rate: low must be positive and below high, not {low!r} and {high!r}."
        )
    check_whole("find_learning_rate: steps", steps, least=20)
    check_whole("find_learning_rate: batch_size", batch_size)
    check_whole("find_learning_rate: seed", seed, least=0, below=2**63)


def _batches(part: Part, steps: int, size: int, rng: np.random.Generator) -> list[Array]:
    """Return the rows of each step: those of one shuffle after another."""
    rows = np.arange(len(part)) if part.rows is None else part.rows
    shuffles = [rng.permutation(rows) for _ in range(math.ceil(steps * size / len(rows)))]
    return np.split(np.concatenate(shuffles)[: steps * size], steps)


def rising(optimizer: Optimizer, low: float, high: float) -> Optimizer:
    """Return `optimizer` with a learning rate that rises from `low` to `high` in its training."""
    having = [part for _, part in optimizer.walk() if hasattr(part, "learning_rate")]
    if len(having) != 1:
        many = "several learning rates" if having else "no learning rate"
        raise OptionError(
            f"find_learning_rate: the optimizer has {many}, so there is not one to find; give one "
            "with a single rate, such as 'adam'."
        )
    swept: Optimizer = _with_rate(optimizer, Exponential(low, high / low))
    return swept


def _with_rate(part: Any, schedule: Exponential) -> Any:
    """Return `part` with `schedule` in the place of every learning rate within it."""

    def change(inner: Tunable) -> Tunable:
        changed: Tunable = _with_rate(inner, schedule)
        return changed

    if hasattr(part, "learning_rate"):
        return replace(part, learning_rate=schedule)
    rebuilt: Any = part.rebuilt(change) if isinstance(part, Optimizer) else part
    return rebuilt


def _judge(sweep: _Sweep, start: float, knew: float, rng: np.random.Generator) -> RateSearch:
    """Return what the losses of `sweep` tell, judged against shuffled targets.

    `knew` is how much better than guessing the model was at the `start`.
    """
    rates, losses = np.array(sweep.rates), np.array(sweep.losses)
    smoothed = _smooth(start, losses)

    def told(suggestion: float | None, reason: str) -> RateSearch:
        return RateSearch(rates, losses, smoothed, start, suggestion, reason)

    if not math.isfinite(start):
        return told(None, "the loss is not a finite number before any training")
    finite = np.where(np.isfinite(smoothed), smoothed, np.inf)
    lowest = int(finite.argmin())
    if not start - finite[lowest] > LEAST_FALL * max(knew, 0.0):
        return told(
            None,
            "the loss never falls clearly below where it starts; the model may be trained already, "
            "or the lowest rate be too high",
        )
    guessing, spread = _guessing(sweep, rng)
    if not guessing - np.nanmin(losses) > SURE * spread:
        return told(
            None,
            "the best model seen fits the rows held out no better than shuffled targets: nothing "
            "to learn, or too little data to tell",
        )
    slope = np.gradient(np.r_[start, finite[: lowest + 1]])[1:]
    steepest = float(rates[slope.argmin()])
    reason = f"the loss falls fastest at {steepest:.2g} and is lowest at {rates[lowest]:.2g}"
    if lowest >= len(rates) - SMOOTHING and math.isfinite(losses[-1]):
        reason += f", and still falls at the highest rate tried, {rates[-1]:.2g}"
    # The steepest place errs low, where much was learned on the way to it; a tenth of the lowest
    # errs high, where the valley is flat.
    return told(math.sqrt(steepest * float(rates[lowest]) / 10), reason)


def _guessing(sweep: _Sweep, rng: np.random.Generator) -> tuple[float, float]:
    """Return mean and spread of the best model's loss on the held-out rows, targets shuffled."""
    for name, p in parameters(sweep.run.model).items():
        if name in sweep.best:  # none yet before the first step
            p.value = sweep.best[name]
    part, scores = sweep.held_out, []
    rows = np.arange(len(part.x)) if part.rows is None else part.rows
    x, y = part.x[rows], part.y[rows]
    for _ in range(SHUFFLES):
        shuffled = replace(part, x=x, y=y[rng.permutation(len(y))], rows=None)
        scores.append(sweep.run.totals(shuffled)["loss"])
    return float(np.mean(scores)), float(np.std(scores))


def _smooth(start: float, losses: Array) -> Array:
    """Return the mean of up to `SMOOTHING` losses around each, fewer at both ends."""
    half = SMOOTHING // 2
    smoothed = np.empty_like(losses)
    for i in range(len(losses)):
        reach = min(half, i, len(losses) - 1 - i)
        smoothed[i] = losses[i - reach : i + reach + 1].mean()
    return smoothed
