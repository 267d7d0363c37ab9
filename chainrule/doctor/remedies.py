"""Try remedies: train the case as it is, and with each remedy, from the same seeds.

Read next: :mod:`chainrule.doctor.cure`, which makes the changes.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np

from chainrule.core.errors import ChainruleError, DivergedError, OptionError
from chainrule.core.wording import counted
from chainrule.doctor.case import Case
from chainrule.doctor.cure import cured
from chainrule.doctor.finding import Finding

__all__ = ["Attempt", "Trial", "try_change", "try_remedies"]

Array = np.ndarray[Any, Any]
Train: TypeAlias = Callable[..., Any]  # chainrule.fit, which stands on a higher floor
HELD_OUT = 0.2  # of the rows, where the case has no validation rows of its own
MOST = 4  # remedies tried


@dataclass(frozen=True)
class Attempt:
    """One remedy, tried.

    errors
        The held-out error of each seed with the remedy, `control` those without.  The error is the
        held-out loss; where the remedy changes what the loss measures (another loss, output or
        scale of the targets), it is the share of wrong answers, or 1 - R² for real values.
        Infinite where training diverged.
    impossible
        Why the remedy could not be tried, or "".
    """

    cause: str
    remedy: str
    change: Mapping[str, Any]
    control: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()
    impossible: str = ""

    @property
    def gains(self) -> Array:
        """How much of the control's error the remedy took away, for each seed; 1 is all of it."""
        with np.errstate(all="ignore"):
            before, after = np.array(self.control), np.array(self.errors)
            gains: Array = (before - after) / np.abs(before)
        gains[np.isinf(before) & np.isfinite(after)] = 1.0
        gains[np.isinf(after)] = -np.inf
        gains[np.isinf(before) & np.isinf(after)] = 0.0
        gains[np.isnan(gains)] = 0.0
        return gains

    @property
    def gain(self) -> float:
        """The median of `gains`."""
        return float(np.median(self.gains)) if self.errors else 0.0

    @property
    def confirmed(self) -> bool:
        """Whether the error fell with more than half of the seeds, and by 1 % in the median."""
        return bool(self.errors) and self.gain > 0.01 and float((self.gains > 0).mean()) > 0.5

    def __str__(self) -> str:
        if self.impossible:
            return f"not tried: {self.remedy} ({self.impossible})"
        verdict = "confirmed" if self.confirmed else "not confirmed"
        before, after = float(np.median(self.control)), float(np.median(self.errors))
        low, high = float(self.gains.min()), float(self.gains.max())
        return (
            f"{verdict}: {self.remedy} Held-out error {_figure(before)} -> {_figure(after)} "
            f"(change {-100 * self.gain:+.0f} %; {counted(len(self.errors), 'seed')}: "
            f"{-100 * low:+.0f} to {-100 * high:+.0f} %)"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the attempt as plain JSON values."""
        return {**asdict(self), "gain": self.gain, "confirmed": self.confirmed}


class Trial(tuple[Attempt, ...]):
    """Attempts, the one with the largest gain first; prints as text.

    >>> print(Trial())
    No remedy was tried.
    """

    __slots__ = ()

    @property
    def best(self) -> Attempt | None:
        """The confirmed attempt with the largest gain, None without any."""
        return next((attempt for attempt in self if attempt.confirmed), None)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the attempts as plain JSON values."""
        return [attempt.to_json() for attempt in self]

    @classmethod
    def from_json(cls, saved: Iterable[Mapping[str, Any]]) -> Trial:
        """Restore what `to_json` returned."""
        known = {f.name for f in fields(Attempt)}
        return cls(
            Attempt(**{k: _restored(v) for k, v in one.items() if k in known}) for one in saved
        )

    def __str__(self) -> str:
        if not self:
            return "No remedy was tried."
        return "\n".join([f"{counted(len(self), 'remedy', 'remedies')} tried:", *map(str, self)])

    __repr__ = __str__


def try_remedies(case: Case, findings: Iterable[Finding], train: Train, seeds: int = 3) -> Trial:
    """Train `case` with and without the remedy of each of `findings`, and compare.

    `train` is :func:`chainrule.fit`.
    Each training starts from the first weights, with the same `seeds` for control and remedy; the
    same remedy is tried once.  At most four remedies are tried, those of the first findings; one
    that multiplies the learning rate is repeated as long as the gain grows.
    The model of the case is not changed.

    >>> import chainrule as cr
    >>> from chainrule.doctor.preflight import examine
    >>> from chainrule.doctor.specimens import classes
    >>> from chainrule.optim import Adam
    >>> case = classes(optimizer=Adam(3.0))
    >>> try_remedies(case, examine(case), cr.fit).best.change
    {'learning_rate': 0.1}
    """
    different: dict[str, Finding] = {}
    for finding in findings:
        if finding.change:
            different.setdefault(repr(sorted(finding.change.items())), finding)
    attempts = []
    for f in list(different.values())[:MOST]:
        attempts.append(try_change(case, f.change, train, seeds, f.cause, f.remedy))
        while attempts[-1].confirmed and (more := _further(attempts[-1].change)):
            times = f"{f.remedy} Tried with {more['learning_rate']:g} times the rate."
            again = try_change(case, more, train, seeds, f.cause, times)
            if again.gain <= attempts[-1].gain:
                break
            attempts[-1] = again
    return Trial(sorted(attempts, key=lambda a: (not a.confirmed, -a.gain)))


def _further(change: Mapping[str, Any]) -> dict[str, float]:
    """Return a larger step of the same kind: a learning rate divided or multiplied once more."""
    factor = change.get("learning_rate")
    if len(change) > 1 or factor is None or not 1e-4 < factor < 1e4:
        return {}
    return {"learning_rate": factor * (0.1 if factor < 1 else 10.0)}


def try_change(
    case: Case,
    change: Mapping[str, Any],
    train: Train,
    seeds: int = 3,
    cause: str = "",
    remedy: str = "",
) -> Attempt:
    """Train `case` with and without `change` from each of `seeds` seeds, and compare."""
    remedy = remedy or f"Change {', '.join(f'{k} to {v}' for k, v in change.items())}."
    case = case if case.validation is not None else replace(case, validation=HELD_OUT)
    try:
        changed = cured(case, change)
        same = not {"loss", "output", "target"} & set(change)
        before, after = [], []
        for k in range(seeds):
            before.append(_held_out_error(replace(case, seed=case.seed + k), same, train))
            after.append(_held_out_error(replace(changed, seed=case.seed + k), same, train))
    except ChainruleError as error:
        return Attempt(cause, remedy, change, impossible=str(error))
    return Attempt(cause, remedy, change, tuple(before), tuple(after))


def _held_out_error(case: Case, same: bool, train: Train) -> float:
    """Return the held-out error of a training of `case`; see :class:`Attempt`."""
    scores: list[float] = []

    def keep(_: Any, record: dict[str, Any]) -> None:
        scores.append(float(record["val_loss"]) if same else 1 - _score_in(record))

    options = case.options()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the doctor has found what they say
        try:
            run = train(
                copy.deepcopy(case.model), case.data, progress=False, on_epoch=keep, **options
            )
        except DivergedError:
            return math.inf
    kept = scores[run.best_epoch - 1] if options.get("early_stopping") else scores[-1]
    return kept if math.isfinite(kept) else math.inf


def _score_in(record: Mapping[str, Any]) -> float:
    """Return the score of a record that tells how good answers are, whatever the loss."""
    for name in ("val_r2", "val_accuracy"):
        if name in record:
            return float(record[name])
    raise OptionError("the loss changes, and there is no accuracy or r2 to compare by")


def _restored(value: Any) -> Any:
    """Return a value of a JSON file as it was: errors that are null were infinite."""
    if isinstance(value, list):
        return tuple(math.inf if v is None else v for v in value)
    return value


def _figure(error: float) -> str:
    return f"{error:.4g}" if math.isfinite(error) else "diverged"
