"""The study: which settings to try next, which trainings to prune, and the file that keeps them.

Optuna decides: its sampler (TPE) draws settings, and its pruner ends a training whose validation
loss is above the median of earlier ones at the same epoch.  Decisions are made in memory, and a
trial is written to an SQLite file when it ends, because a write for every epoch would take longer
than the training of a small network.  The file is a study of Optuna, and can be opened by it.

Read next: :mod:`chainrule.search.trials`.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from chainrule.core.errors import RunError, not_installed
from chainrule.core.plain import as_plain
from chainrule.search.space import Choices, Range, Space

__all__ = ["NAME", "Study", "optuna_library"]

NAME = "chainrule"  # of the study in its file
LOOKS = 20  # at a training, in which it may be pruned
FEW = 5  # complete trials, of which nothing can be said of the importance of parameters
AT_FIRST = 8  # trainings that are not pruned, as there is too little to compare with
IDENTITY = "chainrule"  # the attribute of the study that says what is searched


def optuna_library() -> Any:
    """Return the package optuna.

    Raises OptionError where it is not installed.
    """
    try:
        import optuna
        import optuna.importance
    except ImportError as error:
        raise not_installed("tune", "optuna", "optuna", error) from error
    return optuna


class Study:
    """A study of the `space` for trainings of `epochs` epochs, kept in `file` unless it is None.

    `identity` says what is searched.  Raises RunError if the file holds a study of something else,
    or can't be used.  Every method may be called from several threads.
    """

    def __init__(
        self, space: Space, epochs: int, seed: int, file: Path | None, identity: Mapping[str, Any]
    ):
        self.optuna = optuna_library()
        self.space, self.lock = space, Lock()
        self.epochs, self.every = epochs, max(1, epochs // LOOKS)
        self.kept: Any = None
        earlier: list[Any] = []
        with _quiet(self.optuna):
            if file is not None:
                self.kept = self._opened(file, json.loads(json.dumps(as_plain(dict(identity)))))
                earlier = self.kept.trials
            self.study = self.optuna.create_study(
                direction="minimize",
                sampler=self.optuna.samplers.TPESampler(seed=(seed + len(earlier)) % 2**32),
                pruner=self.optuna.pruners.MedianPruner(
                    n_startup_trials=AT_FIRST, n_warmup_steps=epochs // 8
                ),
            )
            self.study.add_trials(earlier)

    def _opened(self, file: Path, identity: dict[str, Any]) -> Any:
        storage = f"sqlite:///{file}"
        try:
            kept = self.optuna.create_study(
                study_name=NAME, storage=storage, direction="minimize", load_if_exists=True
            )
            before = kept.user_attrs.get(IDENTITY)
        except Exception as error:  # of the library of the database
            told = str(error).splitlines()[0]
            raise RunError(f"tune: {str(file)!r} can't be used as a study: {told}") from error
        if before is None:
            kept.set_user_attr(IDENTITY, identity)
        elif before != identity:
            name = next(k for k in identity | before if identity.get(k) != before.get(k))
            then, now = before.get(name), identity.get(name)
            raise RunError(
                f"tune: the study in {str(file)!r} is another one: its {name} is {then}, and that "
                f"of this search {now}. Give the same again, or another file."
            )
        return kept

    @property
    def trials(self) -> list[Any]:
        """The trials that have ended, those of earlier calls first."""
        with self.lock:
            return [t for t in self.study.get_trials(deepcopy=False) if t.state.is_finished()]

    def ask(self) -> tuple[Any, dict[str, Any]]:
        """Return a new trial and the parameters to try."""
        with self.lock, _quiet(self.optuna):
            trial = self.study.ask()
            for name, part in self.space.items():
                _draw(trial, name, part)
            return trial, self.values(trial.params)

    def values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of a trial as settings have them, not as the file has."""
        found = {}
        for name, value in params.items():
            part = self.space[name]
            found[name] = _texts(part)[value] if isinstance(part, Choices) else value
            if isinstance(part, Range) and part.step:
                found[name] = round(value, 9)  # 0.3, not 0.30000000000000004
        return found

    def hopeless(self, trial: Any, epoch: int, loss: float) -> bool:
        """Note the validation loss of an epoch; return whether the training is to be pruned."""
        if epoch % self.every or epoch == self.epochs:
            return False
        with self.lock:
            trial.report(loss, epoch)
            return bool(trial.should_prune())

    def tell(self, trial: Any, loss: float, pruned: bool, about: Mapping[str, Any]) -> None:
        """End a trial: with its lowest loss, pruned, or failed if the loss is not finite."""
        states = self.optuna.trial.TrialState
        with self.lock, _quiet(self.optuna):
            for name, value in about.items():
                trial.set_user_attr(name, value)
            state = states.PRUNED if pruned else states.COMPLETE
            if not math.isfinite(loss):
                state = states.PRUNED  # which the sampler learns from, unlike from a failure
                trial.set_user_attr("diverged", True)
            done = self.study.tell(trial, loss if state == states.COMPLETE else None, state)
            if self.kept is not None:
                self.kept.add_trial(done)

    def importances(self) -> dict[str, float]:
        """Return how much each parameter decides which trials are among the best; sums to 1.

        It compares the values of the best tenth with those of all (PED-ANOVA, Watanabe et al.,
        2023).  Empty where there are too few trials to tell.
        """
        importance = self.optuna.importance
        if sum(t.state.name == "COMPLETE" for t in self.trials) < FEW:
            return {}
        with self.lock, _quiet(self.optuna):
            try:
                found = importance.get_param_importances(
                    self.study, evaluator=importance.PedAnovaImportanceEvaluator()
                )
            except (ValueError, RuntimeError):
                return {}
        return {k: float(v) for k, v in found.items()} if any(found.values()) else {}


def _draw(trial: Any, name: str, part: Range | Choices) -> None:
    if isinstance(part, Choices):
        trial.suggest_categorical(name, list(_texts(part)))
    elif part.whole:
        trial.suggest_int(name, int(part.low), int(part.high), log=part.log)
    else:
        trial.suggest_float(name, part.low, part.high, log=part.log, step=part.step)


def _texts(part: Choices) -> dict[Any, Any]:
    """Return choices by what the file has of them: sizes of layers as text, as in an option."""
    return {
        (",".join(map(str, v)) or "none") if isinstance(v, tuple) else v: v for v in part.values
    }


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Silence what Optuna logs, and its warnings of features that may still change."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
