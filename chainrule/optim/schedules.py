"""Schedules: hyper-parameters that change with the step.

A schedule can replace any number of an optimizer: ``SGD(Cosine(0.1))``.  It maps the number of
steps taken, a float64 scalar, to the hyper-parameter.  It is computed in the training graph, so
nothing is compiled again and the native loop is not interrupted.  A schedule's own numbers are
hyper-parameters too.  Counts of steps may be given as :func:`epochs`, and many may be omitted:
in :func:`chainrule.fit` they then last to the end of the training.

Read next: :mod:`chainrule.optim.plateau`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, TypeVar

import numpy as np

from chainrule.core.errors import OptionError
from chainrule.core.options import is_number
from chainrule.core.tensor import Tensor, tensor
from chainrule.ops.arithmetic import floor, maximum, minimum, where
from chainrule.ops.elementary import cos, log
from chainrule.optim.hyper import KINDS, Tunable, in_range, part_of, prefixed

__all__ = [
    "Cosine",
    "CosineRestarts",
    "Exponential",
    "OneCycle",
    "Piecewise",
    "Polynomial",
    "Schedule",
    "StepDecay",
    "Warmup",
    "epochs",
    "tabulate",
]

H = Mapping[str, Tensor]
K = TypeVar("K", bound="type[Schedule]")
# Each schedule that has a name, which `planned` registers.
SCHEDULES: dict[str, Callable[..., float | Schedule]] = {"constant": float}


def planned(name: str, **options: Any) -> Callable[[K], K]:
    """Return a decorator that registers a class, with these `options`, as ``schedule=name``."""

    def enter(kind: K) -> K:
        SCHEDULES[name] = partial(kind, **options) if options else kind
        return kind

    return enter


@dataclass(frozen=True)
class Epochs:
    """A count of steps given in epochs; see :func:`epochs`."""

    count: float

    def __post_init__(self) -> None:
        in_range(self, "count", 0.0, math.inf, open_low=True)


KINDS["Epochs"] = Epochs


def epochs(count: float) -> Epochs:
    """Return the count of steps of `count` epochs, for a schedule; training converts it.

    >>> StepDecay(0.1, every=epochs(10))
    StepDecay(start=0.1, every=Epochs(count=10), factor=0.1)
    """
    return Epochs(count)


@dataclass(frozen=True)
class Schedule(Tunable):
    """Base of schedules: a dataclass of numbers, and :meth:`value`, its equation."""

    counts: ClassVar[tuple[str, ...]] = ("steps",)  # fields that are counts of steps

    def value(self, h: H, s: Tensor) -> Tensor:
        """Return the hyper-parameter after `s` steps, from 0; `h` are this schedule's numbers."""
        raise NotImplementedError

    def planned(self, steps: float, epoch: float) -> Schedule:
        changes: dict[str, Any] = {}
        for name in self.counts:
            given = getattr(self, name, None)
            if isinstance(given, Epochs):
                changes[name] = max(1.0, given.count * epoch)
            elif given is None and hasattr(self, name):
                changes[name] = max(1.0, float(steps))
        return replace(super().planned(steps, epoch), **changes)

    def hyper(self) -> dict[str, float]:
        for name in self.counts:
            if getattr(self, name, 0.0) is None or isinstance(getattr(self, name, 0.0), Epochs):
                raise OptionError(
                    f"{type(self).__name__}: {name} is not known outside of fit; give the number "
                    f"of steps, as in {type(self).__name__}(..., {name}=1000)."
                )
        return super().hyper()

    def check_numbers(self, **lows: float) -> None:
        """Raise OptionError if a field is below its value in `lows`, or a count not positive."""
        for name, low in lows.items():
            in_range(self, name, low, math.inf)
        for name in self.counts:
            given = getattr(self, name, None)
            if given is not None and not isinstance(given, Epochs):
                in_range(self, name, 0.0, math.inf, open_low=True)


@planned("step", every=epochs(10))
@dataclass(frozen=True)
class StepDecay(Schedule):
    """Multiply by `factor` every so many steps: ``start * factor ** floor(s / every)``.

    Raises OptionError for negative numbers or a count that is not positive.
    """

    start: float
    every: float | Epochs
    factor: float = 0.1
    counts: ClassVar[tuple[str, ...]] = ("every",)

    def __post_init__(self) -> None:
        self.check_numbers(start=0.0, factor=0.0)

    def levels(self) -> Iterable[float]:
        return (self.start,)

    def value(self, h: H, s: Tensor) -> Tensor:
        return h["start"] * h["factor"] ** floor(s / h["every"])


@planned("exponential")
@dataclass(frozen=True)
class Exponential(Schedule):
    """Multiply by a constant in each step: ``start * factor ** (s / steps)``.

    `factor` is the decay over `steps` steps, by default the training; use steps=1 for one step.
    Raises OptionError for numbers that are not positive.
    """

    start: float
    factor: float = 0.01
    steps: float | Epochs | None = None

    def __post_init__(self) -> None:
        self.check_numbers(start=0.0)
        in_range(self, "factor", 0.0, math.inf, open_low=True)

    def levels(self) -> Iterable[float]:
        return self.start, self.start * self.factor

    def value(self, h: H, s: Tensor) -> Tensor:
        return h["start"] * h["factor"] ** (s / h["steps"])


@planned("cosine")
@dataclass(frozen=True)
class Cosine(Schedule):
    """Decrease from `start` to `end` along half a cosine over `steps`, then stay constant.

    ``end + (start - end) * (1 + cos(pi * min(1, s / steps))) / 2``.
    Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017.
    """

    start: float
    end: float = 0.0
    steps: float | Epochs | None = None

    def __post_init__(self) -> None:
        self.check_numbers(start=0.0, end=0.0)

    def levels(self) -> Iterable[float]:
        return self.start, self.end

    def value(self, h: H, s: Tensor) -> Tensor:
        return _half_cosine(h["start"], h["end"], minimum(1.0, s / h["steps"]))


@planned("restarts", steps=epochs(10))
@dataclass(frozen=True)
class CosineRestarts(Schedule):
    """Decrease along half a cosine in each cycle, then restart; cycles grow by `growth`.

    Cycle i lasts ``steps * growth**i`` steps, each as :class:`Cosine`.
    Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017.
    """

    start: float
    steps: float | Epochs
    growth: float = 2.0
    end: float = 0.0

    def __post_init__(self) -> None:
        self.check_numbers(start=0.0, end=0.0, growth=1.0)

    def levels(self) -> Iterable[float]:
        return self.start, self.end

    def value(self, h: H, s: Tensor) -> Tensor:
        cycles = s / h["steps"]  # in units of the first cycle
        if self.growth == 1:
            return _half_cosine(h["start"], h["end"], cycles - floor(cycles))
        growth = h["growth"]
        # Cycle i begins at (growth**i - 1) / (growth - 1); 1e-9 keeps rounding of the logarithm
        # from putting its first step into the cycle before.
        i = floor(log(1 + cycles * (growth - 1)) / log(growth) + 1e-9)
        length = growth**i
        done = maximum(0.0, (cycles - (length - 1) / (growth - 1)) / length)
        return _half_cosine(h["start"], h["end"], done)


@planned("polynomial", power=2.0)
@planned("linear")
@dataclass(frozen=True)
class Polynomial(Schedule):
    """Go from `start` to `end` over `steps` by a power of the time left, then stay constant.

    ``end + (start - end) * (1 - min(1, s / steps)) ** power``.
    """

    start: float
    end: float = 0.0
    steps: float | Epochs | None = None
    power: float = 1.0

    def __post_init__(self) -> None:
        self.check_numbers(start=0.0, end=0.0)
        in_range(self, "power", 0.0, math.inf, open_low=True)

    def levels(self) -> Iterable[float]:
        return self.start, self.end

    def value(self, h: H, s: Tensor) -> Tensor:
        left = maximum(0.0, 1 - s / h["steps"])
        return h["end"] + (h["start"] - h["end"]) * left ** h["power"]


@planned("one_cycle")
@dataclass(frozen=True)
class OneCycle(Schedule):
    """Rise from `start` to `peak` and fall to `end`, along half a cosine each.

    The rise takes the share `rise` of `steps`.  By default `start` is ``peak / 25`` and `end`
    ``start / 1e4``.  For a momentum that falls and rises, use
    ``OneCycle(peak=0.85, start=0.95, end=0.95)``.
    Source: Smith and Topin, "Super-convergence", 2018; constants as in PyTorch.
    """

    peak: float
    start: float | None = None
    end: float | None = None
    rise: float = 0.3
    steps: float | Epochs | None = None

    def __post_init__(self) -> None:
        self.check_numbers(peak=0.0)
        if self.start is None:
            object.__setattr__(self, "start", self.peak / 25)
        self.check_numbers(start=0.0)
        if self.end is None:
            object.__setattr__(self, "end", (self.start or 0.0) / 1e4)
        self.check_numbers(end=0.0)
        in_range(self, "rise", 0.0, 1.0, open_low=True)

    def levels(self) -> Iterable[float]:
        return self.peak, self.start or 0.0, self.end or 0.0

    def value(self, h: H, s: Tensor) -> Tensor:
        # The last step, number steps - 1, is the first to reach the end.
        last = maximum(1.0, h["steps"] - 1)
        top = maximum(1e-9, h["rise"] * h["steps"] - 1)
        up = minimum(1.0, s / top)
        down = minimum(1.0, maximum(0.0, s - top) / maximum(1e-9, last - top))
        rising = _half_cosine(h["start"], h["peak"], up)
        return where(s <= top, rising, _half_cosine(h["peak"], h["end"], down))


@dataclass(frozen=True)
class Piecewise(Schedule):
    """Return ``values[i]`` from step ``at[i - 1]`` until step ``at[i]``.

    `values` has one number more than `at`, whose steps (or epochs) increase.

    >>> Piecewise([0.1, 0.01], at=[1000]).hyper()
    {'values.0': 0.1, 'values.1': 0.01, 'at.0': 1000.0}
    """

    values: tuple[float, ...]
    at: tuple[float | Epochs, ...]

    def __post_init__(self) -> None:
        for name in ("values", "at"):
            given = getattr(self, name)
            if isinstance(given, str) or not isinstance(given, Iterable):
                raise OptionError(f"Piecewise: {name} must be a list of numbers, not {given!r}.")
            object.__setattr__(self, name, tuple(given))
        if len(self.values) != len(self.at) + 1:
            raise OptionError(
                f"Piecewise: values must have one entry more than at, {len(self.at) + 1}, "
                f"not {len(self.values)}."
            )
        for value in self.values:
            if not is_number(value) or not 0 <= value < math.inf:
                raise OptionError(f"Piecewise: values must be in [0, inf), not {value!r}.")
        steps = [s.count if isinstance(s, Epochs) else s for s in self.at]
        if not all(map(is_number, steps)) or any(
            b <= a for a, b in itertools.pairwise([0, *steps])
        ):
            raise OptionError(f"Piecewise: at must be increasing positive steps, not {self.at!r}.")

    def levels(self) -> Iterable[float]:
        return self.values

    def planned(self, steps: float, epoch: float) -> Piecewise:
        at = tuple(s.count * epoch if isinstance(s, Epochs) else s for s in self.at)
        return replace(self, at=at)

    def hyper(self) -> dict[str, float]:
        if any(isinstance(s, Epochs) for s in self.at):
            raise OptionError("Piecewise: epochs are not known outside of fit; give steps.")
        found: dict[str, float] = {}
        for name in ("values", "at"):
            numbers = {str(i): float(value) for i, value in enumerate(getattr(self, name))}
            found |= prefixed(name, numbers)
        return found

    def value(self, h: H, s: Tensor) -> Tensor:
        level = h["values.0"]
        for i in range(len(self.at)):
            level = where(s >= h[f"at.{i}"], h[f"values.{i + 1}"], level)
        return level


@dataclass(frozen=True)
class Warmup(Schedule):
    """Increase linearly to the first value of `then`, and continue with it.

    In the first `steps` steps ``then(0) * (s + 1) / (steps + 1)``, after them ``then(s - steps)``.
    `then` is a number or a schedule; `steps` is by default a twentieth of the training.
    Source: Goyal and others, "Accurate, large minibatch SGD", 2017.

    >>> from chainrule import optim
    >>> optim.SGD(Warmup(Cosine(0.1), steps=100)).learning_rate.then
    Cosine(start=0.1, end=0.0, steps=None)
    """

    then: float | Schedule
    steps: float | Epochs | None = None

    def __post_init__(self) -> None:
        self.check_numbers(then=0.0)

    def levels(self) -> Iterable[float]:
        return self.then.levels() if isinstance(self.then, Schedule) else (self.then,)

    def planned(self, steps: float, epoch: float) -> Warmup:
        own = self.steps
        if own is None:
            own = math.ceil(steps / 20)
        elif isinstance(own, Epochs):
            own = own.count * epoch
        then = self.then
        if isinstance(then, Schedule):
            then = then.planned(max(1.0, steps - own), epoch)
        return replace(self, steps=own, then=then)

    def value(self, h: H, s: Tensor) -> Tensor:
        begun = maximum(0.0, s - h["steps"])
        then = self.then
        after = then.value(part_of(h, "then"), begun) if isinstance(then, Schedule) else h["then"]
        return after * minimum(1.0, (s + 1) / (h["steps"] + 1))


def _half_cosine(start: Tensor, end: Tensor, done: Tensor) -> Tensor:
    """Return the value between `start` and `end` at share `done` of half a cosine."""
    return end + (start - end) * (1 + cos(math.pi * done)) / 2


def tabulate(schedule: float | Schedule, steps: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the values of `schedule` in a training of `steps` steps, for example to plot.

    >>> tabulate(Polynomial(1.0), 4)
    array([1.  , 0.75, 0.5 , 0.25])
    """
    if not isinstance(schedule, Schedule):
        return np.full(steps, float(schedule))
    plan = schedule.planned(steps, steps)
    h = {name: tensor(np.float64(value)) for name, value in plan.hyper().items()}
    values = plan.value(h, tensor(np.arange(steps, dtype=np.float64)))
    return np.broadcast_to(values.numpy(), (steps,)).copy()
