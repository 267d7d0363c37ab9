"""Hyper-parameters: numbers that become inputs of the training graph, so that they can change.

Optimizers and schedules are dataclasses of numbers and of other such dataclasses: an optimizer's
learning rate may be a schedule, and a schedule may contain another.

Read next: :mod:`chainrule.optim.schedules`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from chainrule.core import options
from chainrule.core.errors import OptionError, did_you_mean
from chainrule.core.options import check_whole, is_number

__all__ = ["KINDS", "Tunable", "in_range", "part_of", "prefixed", "whole"]

T = TypeVar("T")
Self = TypeVar("Self", bound="Tunable")
# The classes of chainrule's own optimizers and schedules by name, which files may name.
KINDS: dict[str, type] = {}


@dataclass(frozen=True)
class Tunable:
    """A dataclass whose numbers, and those of the Tunables within it, are hyper-parameters."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__.startswith("chainrule.optim."):
            KINDS[cls.__name__] = cls

    def __new__(cls: type[Self], *args: Any, **named: Any) -> Self:
        """Raise OptionError, with the nearest name, for an argument that is not a field."""
        known = [f.name for f in fields(cls) if f.init]
        for name in named:
            if name not in known:
                raise OptionError(
                    f"{cls.__name__} has no argument {name!r}. {did_you_mean(name, known)}"
                )
        return super().__new__(cls)

    def within(self) -> dict[str, Tunable]:
        """Return the Tunables among the fields, by name."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in found.items() if isinstance(value, Tunable)}

    def rebuilt(self: Self, change: Callable[[Tunable], Any]) -> Self:
        """Return a copy in which `change` is applied to each Tunable among the fields."""
        return replace(self, **{name: change(part) for name, part in self.within().items()})

    def hyper(self) -> dict[str, float]:
        """Return the numbers that become inputs of the graph, by name, such as ``"1.momentum"``."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        own = {name: float(value) for name, value in found.items() if is_number(value)}
        for name, part in self.within().items():
            own |= prefixed(name, part.hyper())
        return own

    def walk(self, name: str = "") -> Iterator[tuple[str, Tunable]]:
        """Yield this and all Tunables within it, with the prefixes that :meth:`hyper` uses."""
        yield name, self
        for at, part in self.within().items():
            yield from part.walk(f"{name}.{at}" if name else at)

    def planned(self: Self, steps: float, epoch: float) -> Self:
        """Return a copy for a training of `steps` steps, with `epoch` steps per epoch."""
        return self.rebuilt(lambda part: part.planned(steps, epoch))

    def levels(self) -> Iterable[float]:
        """Return the numbers between which a schedule moves."""
        return ()


def prefixed(name: str, entries: Mapping[str, T]) -> dict[str, T]:
    """Return `entries` with ``name.`` before each key.

    >>> prefixed("0", {"momentum": 0.9})
    {'0.momentum': 0.9}
    """
    return {f"{name}.{key}": value for key, value in entries.items()}


def part_of(entries: Mapping[str, T], name: str) -> dict[str, T]:
    """Return the entries whose keys begin with ``name.``, without it; undoes :func:`prefixed`."""
    mark = f"{name}."
    return {key[len(mark) :]: v for key, v in entries.items() if key.startswith(mark)}


def in_range(owner: object, name: str, low: float, high: float, open_low: bool = False) -> None:
    """Raise OptionError unless the number ``owner.name`` lies in [low, high) (or (low, high)).

    For a schedule, this holds for the numbers it moves between, which may equal `low`.
    """
    value = getattr(owner, name)
    if callable(value) and not isinstance(value, Tunable):
        raise OptionError(
            f"{type(owner).__name__}: {name} is a function. For a number that changes with the "
            "step, give a schedule such as optim.Cosine(0.1) or optim.StepDecay(0.1, every=10); "
            "your own must inherit from optim.Schedule and have a method value(h, s)."
        )
    if not isinstance(value, Tunable):
        options.in_range(owner, name, low, high, open_low)
        return
    for level in value.levels():
        if not low <= level < high:
            raise OptionError(
                f"{type(owner).__name__}: {name} must be in [{low:g}, {high:g}), but its schedule "
                f"{type(value).__name__} goes to {level!r}."
            )


def whole(owner: object, name: str, least: int = 1) -> None:
    """Raise OptionError unless ``owner.name`` is an integer of at least `least`."""
    check_whole(f"{type(owner).__name__}: {name}", getattr(owner, name), least)
