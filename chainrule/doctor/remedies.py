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

from chainrule.core.errors import ChainruleError, DivergedError
from chainrule.core.plain import as_plain
from chainrule.core.wording import counted
from chainrule.doctor.case import Case
from chainrule.doctor.cure import cured
from chainrule.doctor.finding import Finding
from chainrule.doctor.survey import Survey
from chainrule.step.objective import objective
from chainrule.step.read_parts import hold_out

__all__ = ["Attempt", "Trial", "described", "divided", "try_remedies"]

Array = np.ndarray[Any, Any]
Controls: TypeAlias = dict[tuple[str, int], float]
Train: TypeAlias = Callable[..., Any]  # chainrule.fit, which stands on a higher floor
HELD_OUT = 0.2  # of the rows, where the case has no validation rows of its own
MOST = 4  # remedies tried
WORSE = 0.1  # of the usual error, by which a remedy may raise that of a seed
# Changes that trained weights do not fit: first weights, other layers, numbers in other units.
FROM_START = {"activation", "bias_init", "init", "output", "preprocess", "target"}


@dataclass(frozen=True)
class Attempt:
    """One remedy, tried.

    errors
        The held-out error of each seed with the remedy, `control` those without; infinite where
        training diverged.
    measure
        What the error is: the held-out "loss", or, where the remedy changes what the loss means
        (another loss, or scale of the targets), the "share of wrong answers" or "1 - R²".
    impossible
        Why the remedy could not be tried, or "".
    """

    cause: str
    change: Mapping[str, Any]
    control: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()
    measure: str = "loss"
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
    def helped(self) -> bool:
        """Whether the error fell with more than half of the seeds, and by 2 % in the median."""
        return bool(self.errors) and self.gain > 0.02 and float((self.gains > 0).mean()) > 0.5

    @property
    def confirmed(self) -> bool:
        """Whether it `helped`, and made no seed worse by a tenth of the usual error or more.

        Errors that chance made tiny may rise many times over and still be tiny.
        """
        usual = float(np.median(self.control)) if self.control else 0.0
        worst = [after - before for before, after in zip(self.control, self.errors, strict=False)
                 if after > before]  # fmt: skip
        return self.helped and max(worst, default=0.0) < max(WORSE * usual, 1e-12)

    def __str__(self) -> str:
        what = described(self.change)
        if self.impossible:
            return f"not tried: {what}. {self.impossible}"
        verdict = "confirmed" if self.confirmed else "not confirmed"
        if self.helped and not self.confirmed:
            better = int((self.gains > 0).sum())
            verdict = f"mixed, better with {better} of {counted(len(self.errors), 'seed')}"
        before, after = float(np.median(self.control)), float(np.median(self.errors))
        low, high = float(self.gains.min()), float(self.gains.max())
        seeds = counted(len(self.errors), "seed")
        spread = f"{_percent(high)} to {_percent(low)} with {seeds}"
        if math.isinf(max(self.errors)):
            spread = f"diverged with some of {seeds}"
        elif low < -1:
            spread = f"better with {int((self.gains > 0).sum())} of {seeds}"
        return (
            f"{verdict}: {what}. Held-out {self.measure} from {_figure(before)} to "
            f"{_figure(after)} ({spread})."
        )

    def to_json(self) -> dict[str, Any]:
        """Return the attempt and its verdict by name."""
        return {**asdict(self), "gain": self.gain, "confirmed": self.confirmed}


class Trial(tuple[Attempt, ...]):
    """Attempts, the one with the largest gain first; prints as text, with its `note` if any.

    >>> print(Trial())
    No remedy was tried.
    """

    note = ""

    @property
    def best(self) -> Attempt | None:
        """The confirmed attempt with the largest gain, None without any."""
        return next((attempt for attempt in self if attempt.confirmed), None)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the attempts as plain JSON values; infinite errors become None."""
        plain: list[dict[str, Any]] = as_plain([attempt.to_json() for attempt in self])
        return [one | {"note": self.note} for one in plain]

    @classmethod
    def from_json(cls, saved: Iterable[Mapping[str, Any]]) -> Trial:
        """Restore what `to_json` returned."""
        known, saved = {f.name for f in fields(Attempt)}, list(saved)
        trial = cls(
            Attempt(**{k: _restored(v) for k, v in one.items() if k in known}) for one in saved
        )
        trial.note = next((str(one.get("note", "")) for one in saved), "")
        return trial

    def __str__(self) -> str:
        head = f"{counted(len(self), 'remedy', 'remedies')} tried:" if self else (
            "No remedy was tried.")  # fmt: skip
        return "\n".join([*filter(None, [self.note]), head, *map(str, self)])

    __repr__ = __str__


def try_remedies(
    case: Case, findings: Iterable[Finding], train: Train, seeds: int = 3, after: int = 0
) -> Trial:
    """Train `case` with and without the remedy of each of `findings`, and compare.

    `train` is :func:`chainrule.fit`.  Each training starts from the first weights, with the same
    `seeds` for control and remedy; the same remedy is tried once.  At most four remedies are
    tried, those of the first findings that do not follow from others.  A learning rate is divided
    by 10 until the advised one is reached, and then divided, or multiplied, once more as long as
    the gain grows.  The model of the case is not changed.
    With `after`, `case` continues a training from the end of that epoch, and a remedy that makes
    sense from the start only is not tried.
    Ctrl-C ends the trial; what was tried until then is returned.

    >>> import chainrule as cr
    >>> from chainrule.doctor.preflight import examine
    >>> from chainrule.doctor.specimens import classes
    >>> from chainrule.optim import Adam
    >>> case = classes(optimizer=Adam(3.0))
    >>> try_remedies(case, examine(case), cr.fit).best.change["learning_rate"] < 1
    True
    """
    different: dict[str, Finding] = {}
    findings = list(findings)
    for finding in findings:
        if finding.change and not finding.because:  # an effect goes with its cause
            different.setdefault(repr(sorted(finding.change.items())), finding)
    tried = [f for f in different.values() if not (after and FROM_START & set(f.change))]
    attempts = [
        Attempt(f.cause, f.change, impossible=f"The weights of epoch {after} do not fit it; "
                "run.trial() tries it from the start.")
        for f in different.values() if f not in tried
    ]  # fmt: skip
    held = _with_held_out(case)
    controls: Controls = {}
    note = ""
    try:
        for f in tried[:MOST]:
            advised = f.change.get("learning_rate", 1.0)
            first = {**f.change, "learning_rate": 0.1} if advised < 0.1 else f.change
            best = last = _attempt(held, first, train, seeds, f.cause, controls)
            attempts.append(best)
            while more := _further(last, advised):
                last = _attempt(held, more, train, seeds, f.cause, controls)
                if not _better(last, best):
                    if best.confirmed:
                        break
                    continue
                attempts[-1] = best = last
        if any(f.level != "note" for f in findings):
            note = _against_constant(held, controls, train)
    except KeyboardInterrupt:
        pass
    trial = Trial(sorted(attempts, key=lambda a: (not a.confirmed, -a.gain)))
    trial.note = note
    return trial


def _against_constant(case: Case, controls: Controls, train: Train) -> str:
    """Return that the training as it is does worse on held-out rows than a constant, or ""."""
    try:
        known = [error for (measure, _), error in controls.items() if measure == "loss"]
        ended = float(np.median(known)) if known else _held_out_error(case, "loss", train)
        guess = Survey.of(divided(case)).held_guess_loss
    except ChainruleError:
        return ""
    if guess is None or not guess < ended < math.inf:
        return ""
    return (
        "On held-out rows this network is worse than a constant "
        f"({_figure(ended)} against {_figure(guess)})."
    )


def _further(last: Attempt, advised: float) -> dict[str, float]:
    """Return a larger step of the same kind, where the last one helped or diverged.

    Only a learning rate is divided, or multiplied, once more; it is always divided by 10 until the
    `advised` factor is reached.
    """
    factor = last.change.get("learning_rate")
    if len(last.change) > 1 or factor is None or not 1e-9 < factor < 1e9 or last.impossible:
        return {}
    short = factor < 1 and (factor > 2 * advised or math.isinf(max(last.errors)))
    if not (last.helped or short):
        return {}
    return {"learning_rate": factor * (0.1 if factor < 1 else 10.0)}


def _better(one: Attempt, other: Attempt) -> bool:
    """Whether one step of a learning rate is better than another, by the median of all seeds."""
    if one.impossible or one.confirmed != other.confirmed:
        return one.confirmed
    return float(np.median(one.errors)) < float(np.median(other.errors))


def _with_held_out(case: Case) -> Case:
    return case if case.validation is not None else replace(case, validation=HELD_OUT)


def _attempt(
    case: Case,
    change: Mapping[str, Any],
    train: Train,
    seeds: int,
    cause: str,
    controls: Controls,
) -> Attempt:
    """Return the comparison; `controls` keeps the errors of the trainings without a remedy."""
    try:
        measure = "loss" if not {"loss", "target"} & set(change) else _measure(case, change)
        before, after = [], []
        for k in range(seeds):
            own = replace(case, seed=case.seed + k)
            if measure != "loss":  # the rows are needed to judge answers
                own = divided(own)
            other = cured(own, change)
            if (measure, k) not in controls:
                controls[measure, k] = _held_out_error(own, measure, train)
            before.append(controls[measure, k])
            after.append(_held_out_error(other, measure, train))
    except ChainruleError as error:
        return Attempt(cause, change, impossible=str(error))
    return Attempt(cause, change, tuple(before), tuple(after), measure)


def _measure(case: Case, change: Mapping[str, Any]) -> str:
    """Return what answers are judged by, whatever the loss: wrong classes, or 1 - R²."""
    aim = objective(change.get("loss", case.loss))
    kind = aim.kind if aim.kind != "custom" else getattr(aim.function, "kind", "")
    if kind in ("values", "quantiles", "counts"):
        return "1 - R²"
    y = np.asarray(case.data[1])
    classes = (
        kind in ("classes", "labels") or y.dtype.kind in "biu" or bool(np.isin(y, (0, 1)).all())
    )
    return "share of wrong answers" if classes else "1 - R²"


def _held_out_error(case: Case, measure: str, train: Train) -> float:
    """Return the held-out error of a training of `case`; see :class:`Attempt`."""
    losses: list[float] = []

    def keep(_: Any, record: dict[str, Any]) -> None:
        losses.append(float(record["val_loss"]))

    options = case.options()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the doctor has found what they say
        try:
            run = train(
                copy.deepcopy(case.model), case.data, progress=False, on_epoch=keep, **options
            )
        except DivergedError:
            return math.inf
    if run.stopped == "interrupted":
        raise KeyboardInterrupt
    if measure != "loss":
        assert isinstance(case.validation, (tuple, list))
        return _wrong(run.predict(case.validation[0]), np.asarray(case.validation[1]), measure)
    kept = losses[run.best_epoch - 1] if options.get("early_stopping") else losses[-1]
    return kept if math.isfinite(kept) else math.inf


def divided(case: Case) -> Case:
    """Return `case` with the rows that ``fit`` would hold out by a fraction given as rows."""
    if case.validation is None or isinstance(case.validation, (tuple, list)):
        return case
    X, y = np.asarray(case.data[0]), np.asarray(case.data[1])
    kept, held = hold_out(y, float(case.validation), objective(case.loss), case.seed)
    weight, more = case.more.get("sample_weight"), dict(case.more)
    validation: tuple[Any, ...] = X[held], y[held]
    if weight is not None:
        more["sample_weight"] = np.asarray(weight)[kept]
        validation = (*validation, np.asarray(weight)[held])
    return replace(case, data=(X[kept], y[kept]), validation=validation, more=more)


def _wrong(predicted: Array, true: Array, measure: str) -> float:
    """Return the share of wrong answers, or 1 - R²; one-hot rows and scores stand for classes.

    Targets that are not finite, as masked ones may be, do not count.
    """
    if measure == "1 - R²":
        true = np.asarray(true, np.float64).reshape(len(true), -1)
        errors, known = predicted.reshape(true.shape) - true, np.isfinite(true)
        error = float(np.square(errors).mean(where=known))
        spread = float(np.square(true - true.mean(axis=0, where=known)).mean(where=known))
        return error / spread if spread > 0 and math.isfinite(error) else math.inf
    if true.ndim == 2 and true.shape[1] > 1 and np.isin(true, (0, 1)).all():
        true = true.argmax(axis=1)
    if predicted.ndim == 2 and predicted.shape[1] > 1 and true.ndim == 1:
        predicted = predicted.argmax(axis=1)
    predicted, true = predicted.reshape(len(predicted), -1), true.reshape(len(true), -1)
    decided = predicted if predicted.dtype.kind in "biu" else np.rint(predicted)
    return float((decided != true).any(axis=1).mean())


def described(change: Mapping[str, Any]) -> str:
    """Return a change in words.

    >>> described({"learning_rate": 0.01})
    'learning rate divided by 100'
    """
    words = []
    for name, value in change.items():
        named = name.replace("_", " ")
        if name == "learning_rate":
            words.append(
                f"learning rate divided by {1 / value:g}"
                if value < 1
                else f"learning rate multiplied by {value:g}"
            )
        elif name == "epochs":
            words.append(f"{value:g} times as many epochs")
        elif name in ("preprocess", "target"):
            words.append(f"{'inputs' if name == 'preprocess' else 'targets'} standardized")
        elif value is None:
            words.append({"init": "default first weights", "output": "nothing after the last layer",
                          "schedule": "a constant learning rate"}
                         .get(name, f"default {named}"))  # fmt: skip
        else:
            words.append(f"{named} {value}")
    return ", ".join(words)


def _restored(value: Any) -> Any:
    """Return a value of a JSON file as it was: errors that are null were infinite."""
    if isinstance(value, list):
        return tuple(math.inf if v is None else v for v in value)
    return value


def _percent(gain: float) -> str:
    return f"{-100 * gain:+.0f} %"


def _figure(error: float) -> str:
    return f"{error:.4g}" if math.isfinite(error) else "diverged"
