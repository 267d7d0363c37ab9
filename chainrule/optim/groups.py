"""Parameter groups: another optimizer for some parameters, or none.

Patterns on the paths of parameters go in, one optimizer comes out that treats each parameter by
the first pattern it matches.

Read next: :mod:`chainrule.optim.wrappers`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.core.parameter import Parameter
from chainrule.core.tensor import Tensor
from chainrule.optim.hyper import Tunable, part_of
from chainrule.optim.optimizer import Optimizer, Slots

__all__ = ["Freeze", "Groups", "freeze", "groups"]

DEFAULT = "*"  # the pattern of what no other matched


@dataclass(frozen=True)
class Freeze(Optimizer):
    """Leave the parameters as they are: no gradient is computed for them and no slot is kept."""

    def trains(self, p: Parameter) -> bool:
        return False

    def __repr__(self) -> str:
        return "freeze"


freeze = Freeze()


@dataclass(frozen=True)
class Groups(Optimizer):
    """An optimizer for each pattern; the first that matches a parameter's path has it."""

    members: tuple[tuple[str, Optimizer], ...]
    has_default: bool

    def within(self) -> dict[str, Tunable]:
        return dict(self.members)

    def rebuilt(self, change: Callable[[Tunable], Any]) -> Groups:
        return replace(self, members=tuple((name, change(part)) for name, part in self.members))

    def _place(self, p: Parameter) -> int:
        """Return which of the members has `p`."""
        for i, (pattern, _) in enumerate(self.members):
            if fnmatchcase(p.name, pattern):
                return i
        patterns = ", ".join(repr(pattern) for pattern, _ in self.members)
        raise OptionError(
            f"groups: no pattern matches the parameter {p.name!r}; there are {patterns}. Say what "
            "the rest is trained with: groups({...}, default=optim.Adam()), or freeze."
        )

    def _of(self, p: Parameter) -> Optimizer:
        return self.members[self._place(p)][1]

    def check(self, parameters: Sequence[Parameter]) -> None:
        places = [self._place(p) for p in parameters]
        for i, (pattern, part) in enumerate(self.members):
            mine = [p for p, place in zip(parameters, places, strict=True) if place == i]
            if mine:
                part.check(mine)
            elif not (self.has_default and i == len(self.members) - 1):
                raise OptionError(_unmatched(pattern, parameters, places, self.members))

    def slots_of(self, p: Parameter) -> dict[str, np.ndarray[Any, Any]]:
        return self._of(p).slots_of(p)

    def trains(self, p: Parameter) -> bool:
        return self._of(p).trains(p)

    def shown(self, p: Parameter) -> str | None:
        return self._of(p).shown(p)

    def rate_at(self, h: Mapping[str, Tensor], t: Tensor) -> Tensor | None:
        # The default's is the rate of the training, where there is one.
        ordered = self.members[::-1] if self.has_default else self.members
        rates = (part.rate_at(part_of(h, pattern), t) for pattern, part in ordered)
        return next((rate for rate in rates if rate is not None), None)

    def update_all(
        self,
        gradients: Sequence[Tensor],
        parameters: Sequence[Parameter],
        slots: Sequence[Slots],
        h: Mapping[str, Tensor],
        t: Tensor,
    ) -> tuple[list[Tensor], list[Slots]]:
        changes, renewed = list(gradients), list(slots)
        places = [self._place(p) for p in parameters]
        for i, (pattern, part) in enumerate(self.members):
            mine = [k for k, place in enumerate(places) if place == i]
            if not mine:
                continue
            own = part.update_all(
                [gradients[k] for k in mine],
                [parameters[k] for k in mine],
                [slots[k] for k in mine],
                part_of(h, pattern),
                t,
            )
            for k, change, new in zip(mine, *own, strict=True):
                changes[k], renewed[k] = change, new
        return changes, renewed


def _unmatched(
    pattern: str,
    parameters: Sequence[Parameter],
    places: Sequence[int],
    members: Sequence[tuple[str, Optimizer]],
) -> str:
    """Return what is wrong with a pattern that has no parameter."""
    taken = [
        members[place][0]
        for p, place in zip(parameters, places, strict=True)
        if fnmatchcase(p.name, pattern)
    ]
    if taken:
        return (
            f"groups: all that {pattern!r} matches has {taken[0]!r} already, which comes before "
            "it; the first pattern that matches counts, so give the narrower one first."
        )
    near = did_you_mean(pattern, [p.name for p in parameters])
    return f"groups: no parameter matches {pattern!r}. {near}"


def groups(optimizers: Mapping[str, Optimizer], default: Optimizer | None = None) -> Groups:
    """Return an optimizer that treats each parameter as the first pattern its path matches says.

    Paths are those of :func:`chainrule.nn.parameters`, such as ``"0.weight"``; in patterns,
    ``*`` stands for any text and ``?`` for a character.  What none matches has `default`.
    :data:`freeze` leaves a group as it is.  A ClipNorm inside a group sees that group alone, one
    before the groups in a chain all that are trained.  Raises OptionError, when training begins,
    for a pattern that no parameter matches and for a parameter that no pattern has.

    >>> from chainrule import optim
    >>> groups({"0.*": optim.freeze, "*.bias": optim.SGD(0.1)}, default=optim.Adam()).hyper()
    {'*.bias.learning_rate': 0.1, '*.bias.momentum': 0.0, '*.learning_rate': 0.001, ...}
    """
    if not isinstance(optimizers, Mapping) or not optimizers:
        raise OptionError('groups: give optimizers by pattern: groups({"0.*": optim.SGD(0.1)}).')
    members = list(optimizers.items())
    if default is not None:
        if DEFAULT in optimizers:
            raise OptionError("groups: the pattern '*' is the default; give one of the two.")
        members.append((DEFAULT, default))
    for pattern, part in members:
        if not isinstance(part, Optimizer) or part.stage != "optimizer":
            raise OptionError(
                f"groups: {pattern!r} has {part!r}, which is not an optimizer such as "
                "optim.SGD(0.1), optim.chain(...) or optim.freeze."
            )
    return Groups(tuple(members), default is not None)
