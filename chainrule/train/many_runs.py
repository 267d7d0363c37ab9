"""The results of many trainings of one network: losses, weights, and each as a run.

Read next: :mod:`chainrule.train.run`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.core.foreign import no_member
from chainrule.core.wording import counted
from chainrule.nn.layer import parameters
from chainrule.train.run import Run

__all__ = ["Result", "Runs"]

Array = np.ndarray[Any, Any]


@dataclass
class Result:
    """What is kept of one training, and whether it diverged; `read` returns :attr:`columns`."""

    read: Callable[[], dict[str, Array]]
    seconds: float
    diverged: bool

    @cached_property
    def columns(self) -> dict[str, Array]:
        """The columns of its history by name, made of the sums when they are asked for."""
        return self.read()

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle the columns, not the function that makes them."""
        return {"columns": self.columns, "seconds": self.seconds, "diverged": self.diverged}


@dataclass(repr=False)
class Runs(Sequence[Run]):
    """Trainings of one network; ``runs[i]`` is the :class:`~chainrule.train.run.Run` of one.

    `variations` are the settings that each was trained with, as they were given.  A run is made
    when it is asked for, with a model of its own, so a thousand trainings take little more memory
    than their weights.  For a training that diverged, ``runs[i]`` raises the DivergedError of
    :func:`chainrule.fit`, which would also end a loop over ``runs``.  `diverged` (trainings,) tells
    which did, and ``[runs[i] for i in runs.ranking()]`` leaves them out.
    """

    variations: list[Mapping[str, Any]]
    epochs: int
    seconds: float
    results: list[Result]
    parameters: dict[str, Array]
    make: Callable[[int, Runs], Run] = field(repr=False)
    rising: frozenset[str] = frozenset()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise no_member(self, name)

    def __len__(self) -> int:
        return len(self.results)

    @overload
    def __getitem__(self, index: int) -> Run: ...

    @overload
    def __getitem__(self, index: slice) -> list[Run]: ...

    def __getitem__(self, index: int | slice) -> Run | list[Run]:
        """Return the run of a training, or those of several."""
        places = range(len(self))[index]
        if isinstance(places, int):
            return self.make(places, self)
        return [self.make(i, self) for i in places]

    def __iter__(self) -> Iterator[Run]:
        return (self.make(i, self) for i in range(len(self)))

    def __repr__(self) -> str:
        """Say in a few lines how many there are, and which is the best."""
        lines = [f"{counted(len(self), 'training')} of {counted(self.epochs, 'epoch')}"]
        if self.diverged.any():
            lines.append(f"{int(self.diverged.sum())} diverged")
        if not self.diverged.all():
            name, best = self._measure(None), self.ranking()[0]
            lines.append(f"best {name}: {self.scores(name)[best, -1]:.4g}, training {best}")
        return "\n  ".join(lines)

    @property
    def diverged(self) -> Array:
        """Whether each training diverged: bool (trainings,)."""
        return np.array([result.diverged for result in self.results])

    @property
    def losses(self) -> Array:
        """The loss of every epoch: (trainings, epochs), NaN from where one diverged."""
        return self.scores("loss")

    def scores(self, name: str) -> Array:
        """Return an entry of the history of every training: (trainings, epochs).

        `name` is "loss", "accuracy", "val_loss" and so on.  NaN stands for the epochs from the
        one in which a training diverged.  Raises OptionError for a name that no history has.
        """
        if name not in self.results[0].columns:
            known = self.results[0].columns
            raise OptionError(f"the histories have no {name!r}. {did_you_mean(name, known)}")
        return np.array([result.columns[name] for result in self.results])

    def weights(self, path: str) -> Array:
        """Return a parameter of every training: (trainings, ...); `path` is as in "0.weight".

        Those of a training that diverged are what it ended with.  Raises OptionError for a
        parameter that the model does not have.
        """
        if path not in self.parameters:
            known = did_you_mean(path, self.parameters)
            raise OptionError(f"the model has no parameter {path!r}. {known}")
        return self.parameters[path].copy()

    def ranking(self, by: str | None = None) -> list[int]:
        """Return the numbers of the trainings, the best first, without those that diverged.

        They are compared by an entry of their last record: `by`, or "val_loss", or "loss" where
        nothing was validated.
        """
        name = self._measure(by)
        last = self.scores(name)[:, -1]
        if name.removeprefix("val_") in self.rising:
            last = -last
        order = np.argsort(last, kind="stable")
        return [int(i) for i in order if not self.results[i].diverged and not np.isnan(last[i])]

    def best(self, by: str | None = None) -> Run:
        """Return the run that ended best, as :meth:`ranking` compares them.

        Raises the DivergedError of the first training if all of them diverged.
        """
        ranking = self.ranking(by)
        return self[ranking[0] if ranking else 0]

    def _measure(self, by: str | None) -> str:
        if by is not None:
            return by
        return "val_loss" if "val_loss" in self.results[0].columns else "loss"

    # --- predictions of all of them ------------------------------------------------------------

    def outputs(self, X: Any) -> Array:
        """Return the raw outputs of every training that did not diverge: (trainings, rows, ...)."""
        return np.array(self._each(lambda run: run.outputs(X)))

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class (rows, classes), or label, averaged over trainings.

        Those that diverged are left out.  Raises OptionError when the loss trains no
        probabilities.
        """
        mean: Array = np.mean(self._each(lambda run: run.predict_proba(X)), axis=0)
        return mean

    def predict(self, X: Any) -> Array:
        """Return what the trainings predict together, shaped like the `y` of training.

        Classes and labels are those of the averaged probabilities, or of the averaged outputs
        where the loss trains none; real values and counts are averaged.
        """
        run = self[self._sound()[0]]
        if run.objective.kind in ("values", "quantiles", "counts", "custom"):
            mean: Array = np.mean(self._each(lambda one: one.predict(X)), axis=0)
            return mean
        if not run.objective.probabilistic:
            return run.decide(np.mean(self.outputs(X), axis=0))
        shares = self.predict_proba(X)
        if run.objective.kind in ("classes", "ordered"):
            chosen: Array = shares.argmax(axis=1)
            return chosen
        decided: Array = (shares > 0.5).astype(np.int64)
        return decided

    def _each(self, work: Callable[[Run], Array]) -> list[Array]:
        """Call `work` with the run of every sound training: one run, with the weights of each."""
        sound = self._sound()
        run = self[sound[0]]
        found = []
        for i in sound:
            for path, parameter in parameters(run.model).items():
                parameter.value = self.parameters[path][i]
            found.append(work(run))
        return found

    def _sound(self) -> list[int]:
        sound = [i for i, result in enumerate(self.results) if not result.diverged]
        if not sound:
            self.make(0, self)  # raises its DivergedError
        return sound
