"""The options of ``chainrule train`` with the change of a remedy made: ``cured.toml``.

Read next: :mod:`chainrule.doctor.cure`, which makes the same changes to a case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

from chainrule.cli.config_file import as_options
from chainrule.core.errors import OptionError
from chainrule.data.preprocess import NAMES
from chainrule.doctor.finding import Finding
from chainrule.optim.named import optimizer as optimizer_of
from chainrule.tabular.problem import Problem
from chainrule.tabular.settings import Settings, loss_names

__all__ = ["CURED", "cured_options", "in_options", "remedies_in_options"]

CURED = "cured.toml"  # in the directory of a run
SCALINGS = NAMES[:5]
WITH_OPTIMIZER = ("schedule", "warmup", "weight_decay", "max_norm", "clip_norm", "clip_value",
                  "accumulate", "average")  # fmt: skip


def cured_options(
    change: Mapping[str, Any],
    settings: Settings,
    problem: Problem,
    preprocess: Sequence[str] | None,
) -> tuple[Settings, list[str] | None]:
    """Return the settings and the preprocessing with the `change` of a finding made.

    Raises OptionError for a change that has no option, and says how to make it by hand.
    """
    names = None if preprocess is None else list(preprocess)
    for name, value in change.items():
        if name == "learning_rate":
            settings = _with_rate(settings, value)
        elif name == "schedule" and not _decays_apart(settings):
            settings = replace(settings, schedule="constant", warmup=0.0)
        elif name == "optimizer":
            settings = _with_optimizer(settings, value)
        elif name == "width" and settings.activation != "maxout":
            settings = replace(settings, hidden=tuple(max(value, size) for size in settings.hidden))
        elif name == "epochs":
            settings = replace(settings, epochs=round(settings.epochs * value))
        elif name == "batch_size":
            settings = replace(settings, batch_size=value)
        elif name == "activation" and settings.activation != "maxout":
            settings = replace(settings, activation=value)
        elif name == "init":
            settings = replace(settings, init=None, bias_init=0.0)
        elif name == "bias_init":
            settings = replace(settings, bias_init=value)
        elif name == "dropout":
            settings = replace(settings, dropout=min(settings.dropout, value))
        elif name == "early_stopping" and problem.validation is not None:
            settings = replace(settings, patience=value)
        elif name == "loss" and value in loss_names(problem.pipeline.task):
            settings = replace(settings, loss=value)
        elif name == "class_weight" and value == "balanced":
            settings = replace(settings, class_weight=value)
        elif name == "preprocess" and _unscaled(names, problem):
            names = ["standardize"]
        else:
            raise OptionError(
                f"no option of chainrule train makes the change {name} = {value!r} here; make it "
                "by hand, in Python, with chainrule.fit."
            )
    return settings, names


def in_options(
    change: Mapping[str, Any],
    settings: Settings,
    problem: Problem,
    preprocess: Sequence[str] | None,
) -> str:
    """Return the options that differ with the `change` of a finding made, as they are written.

    Raises OptionError as :func:`cured_options` does.
    """
    changed, names = cured_options(change, settings, problem, preprocess)
    before = {"preprocess": preprocess, **as_options(settings)}
    after = {"preprocess": names, **as_options(changed)}
    differing = {k: v for k, v in after.items() if v is not None and v != before.get(k)}
    words = [f"--{k.replace('_', '-')} {_word(v)}" for k, v in differing.items()]
    dropped = [f"--{k.replace('_', '-')}" for k in before if k not in after]
    without = f"without {' '.join(dropped)}" if dropped else ""
    return ", ".join(filter(None, [" ".join(words), without]))


def remedies_in_options(
    found: Iterable[Finding],
    settings: Settings,
    problem: Problem,
    preprocess: Sequence[str] | None,
) -> Iterator[str]:
    """Yield the remedy of each of the serious causes that options can make, as a line."""
    for f in found:
        if f.level == "note" or f.because or not f.change:
            continue
        with suppress(OptionError):
            words = in_options(f.change, settings, problem, preprocess)
            if words:
                yield f"on the command line, for {f.cause}: {words}"


def _word(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _with_rate(settings: Settings, factor: float) -> Settings:
    """Multiply the learning rate, and leave what weights decay by in each step as it was."""
    method, decay = optimizer_of(settings.optimizer), settings.weight_decay
    rate = settings.learning_rate or getattr(method, "learning_rate", None)
    if rate is None:
        raise OptionError(f"{settings.optimizer} has no learning rate to change.")
    if decay and _decays_apart(settings):
        decay /= factor
    return replace(settings, learning_rate=rate * factor, weight_decay=decay)


def _decays_apart(settings: Settings) -> bool:
    """Whether weights decay by a part of its own, which has the schedule of the learning rate."""
    return bool(settings.weight_decay) and not hasattr(
        optimizer_of(settings.optimizer), "weight_decay"
    )


def _with_optimizer(settings: Settings, name: str) -> Settings:
    """Use an optimizer at its default learning rate, without schedule, clipping and decay."""
    usual: dict[str, Any] = {
        f.name: f.default for f in fields(Settings) if f.name in WITH_OPTIMIZER
    }
    rate = getattr(optimizer_of(name), "learning_rate", None)
    return replace(settings, **{**usual, "optimizer": name, "learning_rate": rate})


def _unscaled(names: Sequence[str] | None, problem: Problem) -> bool:
    """Whether the option can standardize: pixels, or another scaling without a projection."""
    if names is None:
        return problem.pixels
    return len(names) == 1 and names[0] in SCALINGS and names[0] != "standardize"
