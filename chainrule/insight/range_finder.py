"""Find a learning rate: train a copy of the model while the rate rises.

:func:`find_learning_rate` returns the rates, the loss on held-out rows after each step, and a
suggestion, or the reason why there is none.  The model is not changed.

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
FEWEST_ROWS = 40  # with fewer rows, the held-out ones are too few to judge
HELD_OUT = 1000  # most held-out rows; at most a quarter of all
SHUFFLES = 20  # of the held-out targets, to estimate the loss of guessing
SURE = 4.0  # standard deviations; the best of many steps is 2 below the mean by chance
LEAST_FALL = 0.05  # of the difference between the loss of guessing and the loss at the start
SMOOTHING = 5  # steps


@dataclass(frozen=True, repr=False)
class RateSearch(Shown):
    """The result of :func:`find_learning_rate`.

    `rates` and `losses` have an entry for each step: its learning rate and the loss on the
    held-out rows after it; `smoothed` is a moving average of `losses`.  `start` is the loss before
    the first step.  `suggestion` is None if the losses are not conclusive; `reason` explains it.
    """

    rates: Array
    losses: Array
    smoothed: Array
    start: float
    suggestion: float | None
    reason: str

    def __repr__(self) -> str:
        """Return the suggestion and a text plot of the losses over the rates."""
        head = "no suggestion" if self.suggestion is None else f"{self.suggestion:.2g}"
        return "\n".join([f"learning rate: {head} ({self.reason})", *self._plot()])

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data for JSON; a loss that is not finite becomes None."""
        losses = [float(v) if math.isfinite(v) else None for v in self.losses]
        return {
            "suggestion": self.suggestion,
            "reason": self.reason,
            "start": self.start,
            "rates": [float(rate) for rate in self.rates],
            "losses": losses,
        }

    def svg(self) -> str:
        """Return the chart as an SVG document."""
        return standalone(self._chart())

    def html(self) -> str:
        """Return a page with the chart and the reason for the suggestion."""
        body = f"<p>{escape(self.reason)}</p><figure>{self._chart()}</figure>"
        return page("Learning rate", [("", body)])

    def _chart(self) -> str:
        head = "" if self.suggestion is None else f", suggested {self.suggestion:.2g}"
        top = self._top()
        series = {"loss on held-out rows": self.losses, "smoothed": self.smoothed}
        return line_chart(
            {name: np.where(values <= top, values, np.nan) for name, values in series.items()},
            self.rates, title=f"Learning rate{head}", x_label="learning rate", y_label="loss",
            log_x=True,
        )  # fmt: skip

    def _top(self) -> float:
        """Return the highest loss to draw, because much higher ones would hide the rest."""
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
    """The state of a training at a rising rate: its losses and the best weights so far."""

    run: Run
    held_out: Part
    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    best: dict[str, Array] = field(default_factory=dict)

    def score(self) -> float:
        with np.errstate(all="ignore"):
            return self.run.totals(self.held_out)["loss"]

    def look(self, rate: float) -> None:
        """Record the loss after a step at `rate`, and the weights if they are the best so far."""
        self.rates.append(rate)
        self.losses.append(self.score())
        if self.losses[-1] <= min(self.losses):
            found = parameters(self.run.model)
            self.best = {name: p.value.copy() for name, p in found.items()}

    def has_diverged(self, start: float) -> bool:
        """Return whether the loss is so far above the start that it will not return."""
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
    """Return a learning rate to train `model` with, found by training a copy for a few steps.

    The rate rises exponentially from `low` to `high` over `steps` steps, and the loss on held-out
    rows (at most a quarter, at most 1,000) is computed after each.  The suggestion is the geometric
    mean of the rate where the loss falls fastest and a tenth of the rate where it is lowest.
    There is no suggestion, and `reason` says so, if the loss never falls, or if the best model
    fits the held-out targets no better than the same targets shuffled: then there is nothing to
    learn, or too little data.  The learning rate, or schedule, of the optimizer is not used.

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
        reason = f"{rows} too few to hold out a part; at least {FEWEST_ROWS} are needed"
        return RateSearch(nothing, nothing, nothing, math.nan, None, reason)
    share = min(0.25, HELD_OUT / len(X))
    train, held_out = read_parts(trial, (X, y), share, aim, None, None, int(seed))
    assert held_out is not None  # because share is not 0
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
    """Raise OptionError for invalid options."""
    numbers = is_number(low) and is_number(high)
    if not (numbers and 0 < low < high < math.inf):
        raise OptionError(
            "find_learning_rate: low and high must be positive numbers with low < high, not "
            f"{low!r} and {high!r}."
        )
    check_whole("find_learning_rate: steps", steps, least=20)
    check_whole("find_learning_rate: batch_size", batch_size)
    check_whole("find_learning_rate: seed", seed, least=0, below=2**63)


def _batches(part: Part, steps: int, size: int, rng: np.random.Generator) -> list[Array]:
    """Return the rows of each step, from one shuffle of all rows after another."""
    rows = np.arange(len(part)) if part.rows is None else part.rows
    shuffles = [rng.permutation(rows) for _ in range(math.ceil(steps * size / len(rows)))]
    return np.split(np.concatenate(shuffles)[: steps * size], steps)


def rising(optimizer: Optimizer, low: float, high: float) -> Optimizer:
    """Return `optimizer` with a learning rate that rises from `low` to `high` during training."""
    having = [part for _, part in optimizer.walk() if hasattr(part, "learning_rate")]
    if len(having) != 1:
        many = "several learning rates" if having else "no learning rate"
        raise OptionError(
            f"find_learning_rate: the optimizer has {many}; give an optimizer with exactly one, "
            "such as 'adam'."
        )
    swept: Optimizer = _with_rate(optimizer, Exponential(low, high / low))
    return swept


def _with_rate(part: Any, schedule: Exponential) -> Any:
    """Return `part` with every learning rate in it replaced by `schedule`."""

    def change(inner: Tunable) -> Tunable:
        changed: Tunable = _with_rate(inner, schedule)
        return changed

    if hasattr(part, "learning_rate"):
        return replace(part, learning_rate=schedule)
    rebuilt: Any = part.rebuilt(change) if isinstance(part, Optimizer) else part
    return rebuilt


def _judge(sweep: _Sweep, start: float, knew: float, rng: np.random.Generator) -> RateSearch:
    """Return the result for the losses of `sweep`, judged against shuffled targets.

    `knew` is the loss of guessing minus the loss at the `start`.
    """
    rates, losses = np.array(sweep.rates), np.array(sweep.losses)
    smoothed = _smooth(start, losses)

    def told(suggestion: float | None, reason: str) -> RateSearch:
        return RateSearch(rates, losses, smoothed, start, suggestion, reason)

    if not math.isfinite(start):
        return told(None, "the loss is not finite before training")
    finite = np.where(np.isfinite(smoothed), smoothed, np.inf)
    lowest = int(finite.argmin())
    if not start - finite[lowest] > LEAST_FALL * max(knew, 0.0):
        return told(
            None,
            "the loss never falls clearly below its initial value; the model may already be "
            "trained, or the lowest rate may be too high",
        )
    guessing, spread = _guessing(sweep, rng)
    if not guessing - np.nanmin(losses) > SURE * spread:
        return told(
            None,
            "the best model fits the held-out targets no better than shuffled targets: there is "
            "nothing to learn, or too little data",
        )
    slope = np.gradient(np.r_[start, finite[: lowest + 1]])[1:]
    steepest = float(rates[slope.argmin()])
    reason = f"the loss falls fastest at {steepest:.2g} and is lowest at {rates[lowest]:.2g}"
    if lowest >= len(rates) - SMOOTHING and math.isfinite(losses[-1]):
        reason += f", and is still falling at the highest rate tried, {rates[-1]:.2g}"
    # The steepest point is too low if much was learned before it; a tenth of the lowest is too
    # high if the minimum is flat.
    return told(math.sqrt(steepest * float(rates[lowest]) / 10), reason)


def _guessing(sweep: _Sweep, rng: np.random.Generator) -> tuple[float, float]:
    """Return mean and std of the best model's loss on the held-out rows with shuffled targets."""
    for name, p in parameters(sweep.run.model).items():
        if name in sweep.best:  # empty before the first step
            p.value = sweep.best[name]
    part, scores = sweep.held_out, []
    rows = np.arange(len(part.x)) if part.rows is None else part.rows
    x, y = part.x[rows], part.y[rows]
    for _ in range(SHUFFLES):
        shuffled = replace(part, x=x, y=y[rng.permutation(len(y))], rows=None)
        scores.append(sweep.run.totals(shuffled)["loss"])
    return float(np.mean(scores)), float(np.std(scores))


def _smooth(start: float, losses: Array) -> Array:
    """Return the moving average over `SMOOTHING` losses, over fewer at both ends."""
    half = SMOOTHING // 2
    smoothed = np.empty_like(losses)
    for i in range(len(losses)):
        reach = min(half, i, len(losses) - 1 - i)
        smoothed[i] = losses[i - reach : i + reach + 1].mean()
    return smoothed
