"""The base of optimizers: functions of gradients, slots and hyper-parameters that return changes.

A slot is an array kept for a parameter (a momentum, a mean of squares).
Hyper-parameters are float64 scalar inputs of the training graph, not constants, and may be
schedules, so they change without a new graph.
Optimizers compose: :func:`chain` passes the change of one to the next.

Read next: :mod:`chainrule.optim.adam`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import numpy as np

from chainrule.core.errors import OptionError
from chainrule.core.foreign import no_member
from chainrule.core.parameter import Parameter
from chainrule.core.tensor import Tensor
from chainrule.optim.hyper import Tunable, in_range, part_of, prefixed
from chainrule.optim.schedules import Schedule

__all__ = ["Chain", "Optimizer", "Slots", "chain", "check_learning_rate", "named"]

Array: TypeAlias = "np.ndarray[Any, Any]"
Slots: TypeAlias = "dict[str, Tensor]"
K = TypeVar("K", bound="type[Optimizer]")
# Each optimizer that has a name, which `named` registers.
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {}


def named(name: str, **options: Any) -> Callable[[K], K]:
    """Return a decorator that registers a class, with these `options`, as ``optimizer=name``."""

    def enter(kind: K) -> K:
        OPTIMIZERS[name] = partial(kind, **options) if options else kind
        return kind

    return enter


@dataclass(frozen=True)
class Optimizer(Tunable):
    """Base of optimizers: a dataclass of numbers, and :meth:`update`, its equations."""

    # "optimizer" turns gradients into changes, which only one part of a chain can do; "any" can
    # come before or after that part, "change" only after it.
    stage: ClassVar[str] = "optimizer"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise no_member(self, name)

    def slots(self) -> tuple[str, ...]:
        """Return the names of the slots kept for each parameter, of its shape and initially 0."""
        return ()

    def slots_of(self, p: Parameter) -> dict[str, Array]:
        """Return the initial values of all slots kept for the parameter `p`."""
        return {name: np.zeros(p.value.shape, p.dtype) for name in self.slots()}

    def update(
        self, g: Tensor, p: Parameter, slots: Slots, h: Mapping[str, Tensor], t: Tensor
    ) -> tuple[Tensor, Slots]:
        """Return the change to add to the parameter `p` with gradient `g`, and the new slots.

        `h` holds the hyper-parameters and `t` the number of this step, from 1,
        all as float64 scalars; cast one to the dtype of `g` with ``.astype(g.dtype)``.
        """
        raise NotImplementedError

    def update_all(
        self,
        gradients: Sequence[Tensor],
        parameters: Sequence[Parameter],
        slots: Sequence[Slots],
        h: Mapping[str, Tensor],
        t: Tensor,
    ) -> tuple[list[Tensor], list[Slots]]:
        """Return changes and new slots of all parameters; override if they depend on each other."""
        now = self.settled(h, t)
        pairs = [
            self.update(g, p, s, now, t)
            for g, p, s in zip(gradients, parameters, slots, strict=True)
        ]
        return [change for change, _ in pairs], [new for _, new in pairs]

    def settled(self, h: Mapping[str, Tensor], t: Tensor) -> dict[str, Tensor]:
        """Return the hyper-parameters in step `t`, with schedules replaced by their values."""
        now = dict(h)
        for f in fields(self):
            plan = getattr(self, f.name)
            if isinstance(plan, Schedule):
                now[f.name] = plan.value(part_of(h, f.name), t - 1)
        return now

    def parts(self) -> dict[str, Optimizer]:
        """Return the optimizers that this one consists of, by name."""
        return {name: p for name, p in self.within().items() if isinstance(p, Optimizer)}

    def trains(self, p: Parameter) -> bool:
        """Return whether `p` is ever changed; if not, it has no gradient and no slots."""
        return all(part.trains(p) for part in self.parts().values())

    def check(self, parameters: Sequence[Parameter]) -> None:
        """Raise OptionError if this optimizer does not fit the `parameters` of a model."""
        for part in self.parts().values():
            part.check(parameters)

    def shown(self, p: Parameter) -> str | None:
        """Return the slot that holds the weights to predict with, or None: `p` itself."""
        return None

    def rate_at(self, h: Mapping[str, Tensor], t: Tensor) -> Tensor | None:
        """Return the learning rate in step `t`, the first one if there are several."""
        if (own := self.settled(h, t).get("learning_rate")) is not None:
            return own
        rates = (part.rate_at(part_of(h, name), t) for name, part in self.parts().items())
        return next((rate for rate in rates if rate is not None), None)


@dataclass(frozen=True)
class Chain(Optimizer):
    """Several optimizers in sequence: each takes the previous changes as its gradients."""

    members: tuple[Optimizer, ...]

    def __post_init__(self) -> None:
        stages = [member.stage for member in self.members]
        if "change" in stages and "optimizer" not in stages[: stages.index("change")]:
            wrong = self.members[stages.index("change")]
            raise OptionError(
                f"chain: {type(wrong).__name__} works on the change of an optimizer, so it comes "
                f"after one: chain(SGD(...), {type(wrong).__name__}(...))."
            )
        if stages.count("optimizer") > 1:
            raise OptionError(
                "chain: only one part can compute changes from gradients, not "
                + " and ".join(type(m).__name__ for m in self.members if m.stage == "optimizer")
                + ". To give parameters different optimizers, use optim.groups({...})."
            )

    @property
    def stage(self) -> str:  # type: ignore[override]
        """The stage of its parts together."""
        return "optimizer" if any(m.stage == "optimizer" for m in self.members) else "any"

    def within(self) -> dict[str, Tunable]:
        return {str(i): member for i, member in enumerate(self.members)}

    def rebuilt(self, change: Callable[[Tunable], Any]) -> Chain:
        return replace(self, members=tuple(change(member) for member in self.members))

    def check(self, parameters: Sequence[Parameter]) -> None:
        super().check(parameters)
        for part, later in itertools.pairwise(self.members):
            if any(part.shown(p) is not None for p in parameters):
                raise OptionError(
                    f"chain: {type(part).__name__} would average weights that "
                    f"{type(later).__name__} changes after it; average over the whole chain: "
                    "optim.EMA(optim.chain(...))."
                )

    def slots_of(self, p: Parameter) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for name, part in self.parts().items():
            found |= prefixed(name, part.slots_of(p))
        return found

    def shown(self, p: Parameter) -> str | None:
        slots = ((name, part.shown(p)) for name, part in self.parts().items())
        return next((f"{name}.{slot}" for name, slot in slots if slot is not None), None)

    def update_all(
        self,
        gradients: Sequence[Tensor],
        parameters: Sequence[Parameter],
        slots: Sequence[Slots],
        h: Mapping[str, Tensor],
        t: Tensor,
    ) -> tuple[list[Tensor], list[Slots]]:
        changes = list(gradients)
        renewed: list[Slots] = [{} for _ in slots]
        for name, part in self.parts().items():
            own = [part_of(s, name) for s in slots]
            changes, new = part.update_all(changes, parameters, own, part_of(h, name), t)
            for target, entries in zip(renewed, new, strict=True):
                target.update(prefixed(name, entries))
        return changes, renewed


def chain(*parts: Optimizer) -> Chain:
    """Return one optimizer that applies `parts` in order.

    Clipping comes before the part that turns gradients into changes (SGD, Adam, ...),
    :class:`~chainrule.optim.decay.WeightDecay` and
    :class:`~chainrule.optim.decay.MaxNorm` after it.  Raises OptionError for another order.

    >>> from chainrule import optim
    >>> chain(optim.ClipNorm(1.0), optim.SGD(0.1)).hyper()
    {'0.max_norm': 1.0, '1.learning_rate': 0.1, '1.momentum': 0.0}
    """
    if not parts:
        raise OptionError("chain: no optimizers were given.")
    for part in parts:
        if not isinstance(part, Optimizer):
            raise OptionError(f"chain: {part!r} is not an optimizer such as optim.SGD(0.1).")
    return Chain(parts)


def check_learning_rate(owner: object) -> None:
    """Raise OptionError unless the optimizer's learning rate is a positive finite number."""
    in_range(owner, "learning_rate", 0.0, math.inf, open_low=True)
