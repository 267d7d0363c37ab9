"""Parameter groups: different optimizers for different parameters, or none to freeze them.

Each parameter uses the optimizer of the first pattern that matches its path.

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

DEFAULT = "*"  # the pattern of parameters that no other matched


@dataclass(frozen=True)
class Freeze(Optimizer):
    """Keep the parameters fixed: no gradient is computed for them and no slot is kept."""

    def trains(self, p: Parameter) -> bool:
        return False

    def __repr__(self) -> str:
        return "freeze"


freeze = Freeze()


@dataclass(frozen=True)
class Groups(Optimizer):
    """An optimizer for each pattern; the first pattern that matches a parameter's path is used."""

    members: tuple[tuple[str, Optimizer], ...]
    has_default: bool

    def within(self) -> dict[str, Tunable]:
        return dict(self.members)

    def rebuilt(self, change: Callable[[Tunable], Any]) -> Groups:
        return replace(self, members=tuple((name, change(part)) for name, part in self.members))

    def _place(self, p: Parameter) -> int:
        """Return the index of the member that `p` belongs to."""
        for i, (pattern, _) in enumerate(self.members):
            if fnmatchcase(p.name, pattern):
                return i
        patterns = ", ".join(repr(pattern) for pattern, _ in self.members)
        raise OptionError(
            f"groups: no pattern matches the parameter {p.name!r}; patterns are {patterns}. Give "
            "a default: groups({...}, default=optim.Adam()), or default=optim.freeze."
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
        # The default's rate, if it has one, stands for the whole training.
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
    """Return the error text for a pattern that no parameter uses."""
    taken = [
        members[place][0]
        for p, place in zip(parameters, places, strict=True)
        if fnmatchcase(p.name, pattern)
    ]
    if taken:
        return (
            f"groups: all parameters that {pattern!r} matches are taken by {taken[0]!r}; the "
            "first pattern that matches is used, so give the more specific one first."
        )
    near = did_you_mean(pattern, [p.name for p in parameters])
    return f"groups: no parameter matches {pattern!r}. {near}"


def groups(optimizers: Mapping[str, Optimizer], default: Optimizer | None = None) -> Groups:
    """Return an optimizer that uses, for each parameter, the first pattern that matches its path.

    Paths are those of :func:`chainrule.nn.parameters`, such as ``"0.weight"``; in patterns,
    ``*`` matches any text and ``?`` one character.  Other parameters use `default`.
    :data:`freeze` keeps a group fixed.  A ClipNorm inside a group uses the norm of that group,
    one before the groups in a chain the norm of all trained parameters.  Raises OptionError, at
    the start of training, for a pattern without parameters and a parameter without a pattern.

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
