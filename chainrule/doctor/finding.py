"""What the doctor reports: a cause, where it is, the numbers it rests on, and what to change.

Read next: :mod:`chainrule.doctor.rule`.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from chainrule.core.plain import as_plain
from chainrule.core.wording import counted

__all__ = ["CATEGORIES", "EXPLAINS", "LEVELS", "Evidence", "Finding", "Findings"]

CATEGORIES = (
    "activation", "loss", "learning_rate", "epochs", "optimizer", "batch", "initialization",
    "preprocessing", "architecture", "data",
)  # fmt: skip
# "note": worth knowing; "warning": training will probably suffer; "fault": it can't succeed.
LEVELS = ("note", "warning", "fault")


_LOST = ("no_gradient", "vanishing_gradients", "stuck", "died_in_training", "still_falling",
         "learning_rate_too_low", "constant_output", "targets_unlearnable", "plateau",
         "layer_left_behind", "steps_faded")  # fmt: skip
_WILD = ("diverged", "died_in_training", "stuck", "unsteady", "still_falling", "overfitting",
         "targets_unlearnable", "saturated_in_training", "maxout_pieces_unused", "plateau",
         "layer_left_behind", "steps_faded", "zig_zag")  # fmt: skip
# What follows from a cause: where both are found, the cause comes first.
EXPLAINS: dict[str, tuple[str, ...]] = {
    "unscaled_inputs": ("learning_rate_too_high", "saturated_layer", "dead_layer",
                        "blind_to_inputs", "activation_never_bends", *_WILD),
    "tiny_inputs": ("learning_rate_too_low", "activation_never_bends", *_LOST),
    "unscaled_targets": ("learning_rate_too_high", "saturated_layer", *_WILD),
    "other_validation": ("overfitting",),
    "loss_prefers_wrong_answers": ("learning_rate_too_high", *_WILD),
    "loss_without_gradient": ("no_gradient", *_LOST),
    "loss_mixes_rows": ("learning_rate_too_high", *_WILD, *_LOST),
    "loss_accepts_one_answer": (*_WILD, *_LOST),
    "wrong_gradient": ("learning_rate_too_high", *_WILD, *_LOST),
    "rows_mixed": ("learning_rate_too_high", *_WILD, *_LOST),
    "dropout_too_strong": ("learning_rate_too_high", *_WILD, *_LOST),
    "too_deep": ("learning_rate_too_high", "learning_rate_too_low", *_WILD, *_LOST),
    "bottleneck": (*_WILD, *_LOST),
    "too_few_units": ("dead_layer", *_WILD, *_LOST),
    "blind_to_inputs": _LOST,
    "constant_output": ("learning_rate_too_low", "no_gradient", *_LOST[1:]),
    "right_answers_out_of_reach": ("learning_rate_too_high", "constant_output", *_WILD, *_LOST),
    "few_rows": ("overfitting", "still_falling", "targets_unlearnable"),
    "copied_rows": ("overfitting",),
    "weights_mis_scaled": ("learning_rate_too_high", "learning_rate_too_low", "saturated_layer",
                           "dead_layer", *_WILD, *_LOST),
    "output_starts_far": ("learning_rate_too_high", "learning_rate_too_low", *_WILD, *_LOST),
    "dead_layer": _LOST,
    "identical_units": _LOST,
    "saturated_layer": ("stuck", "vanishing_gradients", "still_falling", "died_in_training",
                        "learning_rate_too_low", "saturated_in_training", "plateau",
                        "layer_left_behind", "steps_faded"),
    "weights_held_small": _LOST,
    "gradients_clipped_away": _LOST,
    "epsilon_too_large": _LOST,
    "frozen_random_weights": _LOST,
    "few_updates": _LOST,
    "batch_of_all_rows": ("still_falling", "stuck", "plateau"),
    "learning_rate_too_high": _WILD,
    "momentum_too_high": ("learning_rate_too_high", *_WILD),
    "learning_rate_too_low": ("stuck", "still_falling", "plateau", "layer_left_behind"),
    "vanishing_gradients": ("plateau", "layer_left_behind", "steps_faded"),
    "no_gradient": ("plateau", "layer_left_behind", "steps_faded"),
    "diverged": ("died_in_training", "stuck", "unsteady", "saturated_in_training", "plateau",
                 "layer_left_behind", "steps_faded"),
    "died_in_training": ("stuck", "still_falling", "targets_unlearnable", "plateau",
                         "layer_left_behind", "steps_faded"),
    "saturated_in_training": ("stuck", "still_falling", "unsteady", "plateau",
                              "layer_left_behind", "steps_faded"),
    "maxout_pieces_unused": ("activation_never_bends", "stuck", "still_falling", "plateau"),
    "zig_zag": ("stuck", "still_falling", "unsteady", "plateau"),
    "steps_faded": ("stuck", "still_falling", "plateau"),
    "layer_left_behind": ("plateau",),
    "stuck": ("plateau",),
    **dict.fromkeys(
        ("output_range", "output_cannot_vary", "outputs_not_probabilities", "target_shape",
         "targets_not_probabilities", "one_output_for_classes", "loss_for_numbers",
         "label_smoothing_too_strong", "penalty_outweighs_loss", "last_batch_of_one",
         "averages_lag", "constant_inputs", "truncated_inputs", "tiny_targets", "class_missing",
         "targets_unlearnable", "no_nonlinearity", "activation_never_bends"),
        ("plateau", "layer_left_behind"),
    ),
}  # fmt: skip


# One fact, found in three ways.
_ENDED_POORLY = ("stuck", "still_falling", "could_learn_more")


@dataclass(frozen=True)
class Evidence:
    """A measured number beside the threshold that it crosses, and the reason for that threshold."""

    what: str
    value: float
    threshold: float
    reason: str

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Evidence:
        """Restore evidence from plain JSON values; a number that is None was infinite."""
        value, threshold = (math.inf if saved[k] is None else saved[k]
                            for k in ("value", "threshold"))  # fmt: skip
        return cls(saved["what"], value, threshold, saved["reason"])

    def __str__(self) -> str:
        return f"{self.what}: {self.value:.4g} (threshold {self.threshold:.4g}; {self.reason})"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or may be.

    cause
        Its name, one of those in :data:`chainrule.doctor.rule.RULES`.
    category
        What has to be changed, one of :data:`CATEGORIES`.
    level
        One of :data:`LEVELS`.
    text
        One or two sentences: what is wrong and why it matters.
    remedy
        One sentence: what to change.
    where
        The layer, unit, column or rows it sits in, by name: ``{"layer": "0", "unit": 3}``.
    change
        The remedy as settings, such as ``{"activation": "relu"}``, where it can be said so.
        "learning_rate" and "epochs" are factors: ``{"learning_rate": 0.1}`` divides it by ten.
    confidence
        From 0 to 1; findings of one level are ranked by it.
    because
        The cause of another finding that this one probably follows from, or "".
    """

    cause: str
    category: str
    level: str
    text: str
    remedy: str
    where: Mapping[str, Any] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()
    change: Mapping[str, Any] = field(default_factory=dict)
    confidence: float = 0.5
    because: str = ""

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells one finding from another: its cause, what has to change, and its place."""
        return self.cause, self.category, self.where.get("layer"), self.where.get("column")

    @property
    def told(self) -> str:
        """The level, the cause, what is wrong and what to change, in one line."""
        after = f" (Probably an effect of {self.because}.)" if self.because else ""
        return f"{self.level} ({self.cause}): {self.text} {self.remedy}{after}"

    def __str__(self) -> str:
        lines = [textwrap.fill(self.told, 88, subsequent_indent="  ")]
        lines += [f"  - {evidence}" for evidence in self.evidence]
        return "\n".join(lines)


class Findings(tuple[Finding, ...]):
    """Findings, the most serious and most certain first; prints as text.

    >>> print(Findings())
    The checks found nothing wrong.
    """

    __slots__ = ()

    @classmethod
    def ranked(cls, findings: Iterable[Finding]) -> Findings:
        """Return `findings` by level and confidence; of one cause in one place, the first."""
        first: dict[Any, Finding] = {}
        for f in sorted(findings, key=lambda f: (-LEVELS.index(f.level), -f.confidence)):
            first.setdefault(f.key, f)
        found = list(first.values())
        serious = {f.cause for f in found if f.level != "note"}
        roots, effects = [], []
        for f in found:
            causes = [
                c for c in EXPLAINS if c in serious and c != f.cause and f.cause in EXPLAINS[c]
            ]
            if causes:
                effects.append(replace(f, because=causes[0]))
            else:
                roots.append(f)
        return cls(_consistent([*roots, *effects]))

    @property
    def serious(self) -> Findings:
        """Those above the level "note"."""
        return Findings(f for f in self if f.level != "note")

    def to_json(self) -> list[dict[str, Any]]:
        """Return the findings as plain JSON values; infinite evidence becomes None."""
        plain: list[dict[str, Any]] = as_plain([asdict(finding) for finding in self])
        return plain

    @classmethod
    def from_json(cls, saved: Iterable[Mapping[str, Any]]) -> Findings:
        """Restore what `to_json` returned."""
        return cls(
            Finding(**{**one, "evidence": tuple(Evidence.from_json(e) for e in one["evidence"])})
            for one in saved
        )

    def __str__(self) -> str:
        if not self:
            return "The checks found nothing wrong."
        return "\n".join([f"{counted(len(self), 'finding')}:", *map(str, self)])

    __repr__ = __str__


def _consistent(found: Iterable[Finding]) -> Iterator[Finding]:
    """Leave out what repeats an earlier finding, and advice that contradicts it.

    Of the findings that a training ended poorly, one for each category is kept, and none that asks
    for more epochs where the targets can't be learned.  A learning rate is raised or lowered.
    """
    told: set[str] = set()
    lower: bool | None = None
    found = list(found)
    hopeless = any(f.cause == "targets_unlearnable" and f.level != "note" for f in found)
    for f in found:
        if f.cause in _ENDED_POORLY:
            if f.category in told or (hopeless and f.cause == "still_falling"):
                continue
            told.add(f.category)
        factor = f.change.get("learning_rate")
        if factor is not None:
            if lower is not None and lower != (factor < 1):
                if f.level != "fault":
                    continue
                f = replace(f, remedy="First mend what was found before it.", change={})
            lower = factor < 1 if lower is None else lower
        yield f
