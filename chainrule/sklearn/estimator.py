"""The training that all estimators share: epochs, validation, stopping, the best weights.

Read next: :mod:`chainrule.sklearn.classifying`.
"""

from __future__ import annotations

import sys
import time
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from chainrule.core.errors import DataError, DivergedError, OptionError
from chainrule.nn.layer import Layer, initialize
from chainrule.optim.lbfgs import Minimum
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.schedules import Schedule
from chainrule.sklearn.session import Session
from chainrule.sklearn.solvers import LOSS_STALLS, full_batch, solver_of
from chainrule.sklearn.telling import Telling
from chainrule.step.logits import check_logits
from chainrule.step.objective import Objective
from chainrule.step.part import Part
from chainrule.step.record import data_input, forward, model_dtype
from chainrule.train.callbacks import Callbacks, Gradients
from chainrule.train.full_batch_program import FullBatchProgram
from chainrule.train.progress import Progress
from chainrule.train.run import Run

__all__ = ["NetworkEstimator"]

Array = np.ndarray[Any, Any]
MOST_DENSE = 2**30  # bytes of a sparse X as the array that training reads
LEAST_RATE = 1e-6  # at which an adaptive learning rate ends training
NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed. Standardize X (and y, for regression), or lower learning_rate_init."
)


@dataclass
class Held:
    """Rows that are scored after each epoch: `y` as the user gave it, `part` as the loss reads."""

    X: Array
    y: Array
    part: Part
    weight: Array | None


@dataclass(frozen=True)
class Ending:
    """Why a training ended, and whether that is worth a ConvergenceWarning."""

    text: str
    warned: bool = False


@dataclass(eq=False, repr=False, kw_only=True)
class NetworkEstimator(BaseEstimator):  # type: ignore[misc]
    """Base of the estimators: the parameters of training, and what happens in `fit`.

    Parameters have the names, the meaning and the defaults of scikit-learn's ``MLPClassifier``.
    """

    solver: str | Optimizer = "adam"
    alpha: float = 1e-4
    batch_size: int | str = "auto"
    learning_rate: str | Schedule = "constant"
    learning_rate_init: float = 1e-3
    power_t: float = 0.5
    max_iter: int = 200
    shuffle: bool = True
    random_state: Any = None
    tol: float = 1e-4
    verbose: bool | int = False
    warm_start: bool = False
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    n_iter_no_change: int | float = 10
    max_fun: int = 15000
    progress: bool = False
    callbacks: Sequence[object] | None = None

    # --- what subclasses know -------------------------------------------------------------------

    @abstractmethod
    def _build(self, inputs: int, outputs: int, dtype: np.dtype[Any]) -> Layer:
        """Return a new network."""

    @abstractmethod
    def _aims(self) -> tuple[Objective, Objective]:
        """Return the objective of training and that of the run."""

    @abstractmethod
    def _score_outputs(self, y: Array, outputs: Array, weight: Array | None) -> float:
        """Return the score of raw `outputs`, higher is better."""

    def _take_weights(self) -> None:
        """Give the network the weights that a user set as an attribute."""

    def _show_weights(self) -> None:
        """Show the weights of the network as attributes."""

    # --- data -------------------------------------------------------------------------------

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _rows(self, X: Any, **options: Any) -> Any:
        """Return X, or X and y, checked; float32 stays, other numbers become float64."""
        found = validate_data(
            self, X, accept_sparse=["csr", "csc", "coo"], dtype=(np.float64, np.float32), **options
        )
        if "y" in options:
            return _dense(found[0]), found[1]
        return _dense(found)

    def _outputs(self, X: Any) -> Array:
        """Return the raw outputs of the network for checked rows of X."""
        check_is_fitted(self, "network_")
        X = self._rows(X, reset=False)
        self._take_weights()
        return self.run_.outputs(X)

    # --- training ---------------------------------------------------------------------------

    def _learn(
        self,
        X: Array,
        y: Array,
        codes: Array,
        outputs: int,
        weight: Array | None,
        held: tuple[Any, Array, Array, Any] | None,
        first: bool,
        incremental: bool,
    ) -> None:
        """Train on checked `X`, on `y` as numbers: `codes`; `held` is the same for validation."""
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        if not (incremental and hasattr(self, "_random")):
            self._random = check_random_state(self.random_state)
        kept = (self.warm_start or incremental) and not first
        if kept:
            self._take_weights()
            if not incremental:
                self._session = self._new_session(X)
                self._no_improvement_count = 0
        else:
            self._begin(X, outputs)
            self._show_weights()
        aim, dtype = self._session.aim, model_dtype(self.network_)
        shape = self._output_shape
        target = aim.target(codes, shape, dtype)
        rows, validation = np.arange(len(X)), None
        if held is not None:
            Xv, yv, codes_v, given = held
            wv = None if given is None else _check_sample_weight(given, Xv, dtype=dtype)
            part = Part(Xv, aim.target(codes_v, shape, dtype), None, _mean_one(wv, slice(None)))
            validation = Held(Xv, yv, part, wv)
        elif self.early_stopping:
            rows, out = self._split(codes)
            wv = None if weight is None else weight[out]
            part = Part(X[out], target[out], None, _mean_one(wv, slice(None)))
            validation = Held(part.x, y[out], part, wv)
        scaled = _mean_one(weight, rows)
        alpha = self.alpha if weight is None else self.alpha / float(weight[rows].mean())
        self._session.give(
            Part(X, target, None, None if scaled is None else scaled.astype(dtype)),
            alpha, replaced=incremental,
        )  # fmt: skip
        trained = Part(X, target, rows, scaled)
        telling = Telling(
            Callbacks(() if self.callbacks is None else self.callbacks), self.run_,
            Gradients(replace(self._session.training, train=trained)),
            len(self.loss_curve_) + 1, self._steps,
        )  # fmt: skip
        self._session.training.connect()
        try:
            with telling.until_end():
                self._train(rows, validation, incremental, telling)
        finally:
            self._session.training.disconnect()
            self._show_weights()
            self._steps: int = telling.step
        self.learning_rate_ = self._session.rates.now()

    def _begin(self, X: Array, outputs: int) -> None:
        """Make the network and forget what was learned before."""
        self.n_outputs_ = outputs
        seed = int(self._random.randint(np.iinfo(np.int32).max))
        self.network_ = self._build(X.shape[1], outputs, X.dtype)
        initialize(self.network_, seed, keep_assigned=True)
        self._session = self._new_session(X, seed)
        recorded = forward(self.network_, data_input("x", X))
        check_logits(self.network_, self._session.aim, recorded)
        self._output_shape = recorded.shape
        self.run_ = Run(
            model=self.network_,
            objective=self._aims()[1],
            metrics=(),
            features=X.shape[1:],
            feature_dtype=X.dtype.name,
            flat_target=False,
            settings={"optimizer": repr(self._session.method)},
        )
        self._scoring = replace(self.run_, objective=self._session.aim, _functions={})
        self.t_ = self.n_iter_ = 0
        self._steps = 0
        self.loss_curve_: list[float] = []
        self.validation_loss_curve_: list[float] = []
        self.validation_scores_: list[float] | None = None
        self.best_validation_score_: float | None = None
        self.best_loss_: float | None = None if self.early_stopping else np.inf
        self._no_improvement_count = 0

    def _new_session(self, X: Array, seed: int | None = None) -> Session:
        method = solver_of(self)
        size = 200 if self.batch_size == "auto" else int(self.batch_size)
        if len(X) < size and self.batch_size != "auto":
            warnings.warn(
                f"batch_size={size} is more than the {len(X)} rows; all of them are one batch.",
                stacklevel=5,
            )
        if full_batch(method):
            size = len(X)
        drawn = self._random.randint(np.iinfo(np.int32).max) if seed is None else seed
        return Session(self.network_, self._aims()[0], method, size, self.max_iter, int(drawn))

    def _split(self, codes: Array) -> tuple[Array, Array]:
        """Return the rows that train and those held out; classes keep their shares."""
        alike = codes[:, None] if codes.ndim == 1 and codes.dtype.kind in "bi" else None
        rows, out = train_test_split(
            np.arange(len(codes)), test_size=self.validation_fraction,
            random_state=self._random, stratify=alike,
        )  # fmt: skip
        if len(out) < 2:
            raise DataError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        return rows, out

    def _train(self, rows: Array, held: Held | None, incremental: bool, telling: Telling) -> None:
        """Train for `max_iter` epochs, or one; leave the best weights, or the last ones."""
        session = self._session
        epochs = 1 if incremental else self.max_iter
        self.n_iter_, best = 0, session.weights()
        why: Ending | None = None
        if held is not None and self.validation_scores_ is None:
            self.validation_scores_, self.best_validation_score_ = [], -np.inf
        with Progress(self.progress, epochs, len(rows)) as bar:
            try:
                while self.n_iter_ < epochs and why is None:
                    started = time.perf_counter()
                    order = self._random.permutation(rows) if self.shuffle else rows
                    before = self.t_
                    why = self._epoch(order, bar, telling)
                    if self._judge(held):
                        best = session.weights()
                    unscored = not self.early_stopping or self.best_validation_score_ == -np.inf
                    if why is not None and unscored:
                        raise DataError(NOT_FINITE)
                    took = time.perf_counter() - started
                    telling.end_epoch(self._record(bar, held, self.t_ - before, took))
                    if why is None:
                        why = Ending(telling.asked) if telling.asked else self._why_end()
            except KeyboardInterrupt:
                warnings.warn("Training interrupted by user.", stacklevel=5)
                why = Ending("interrupted")
        if self.early_stopping:
            session.training.put_back(best)
        if not session.training.finite():
            raise DataError(NOT_FINITE)
        if why is None and not incremental:
            why = Ending(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                warned=True,
            )
        if why is not None and why.warned:
            warnings.warn(why.text, ConvergenceWarning, stacklevel=5)
        self.run_.stopped = None if why is None else why.text

    def _epoch(self, order: Array, bar: Progress, telling: Telling) -> Ending | None:
        """Train one epoch; return what to warn of where its numbers are not finite."""
        try:
            loss, done = self._session.run(order, self.n_iter_ + 1, bar, telling)
        except DivergedError:  # by a full-batch method, which looks before it starts
            loss, done = float("nan"), len(order)
        self.n_iter_ += 1
        self.t_ += done
        self.loss_ = loss
        self.loss_curve_.append(loss)
        if np.isfinite(loss) and self._session.training.finite():
            return None
        return Ending(
            f"Training diverged in iteration {self.n_iter_}; the best weights before it are kept. "
            "Standardize X and y, or lower learning_rate_init.",
            warned=True,
        )

    def _judge(self, held: Held | None) -> bool:
        """Score the weights, count epochs without improvement, and return whether to keep them."""
        better = False
        if held is not None:
            outputs = self.run_.function({"x": held.X})({"x": held.X})["output"]
            finite = bool(np.isfinite(outputs).all())
            with np.errstate(
                over="ignore", invalid="ignore"
            ):  # of outputs on their way to infinity
                score = self._score_outputs(held.y, outputs, held.weight) if finite else np.nan
            assert self.validation_scores_ is not None
            assert self.best_validation_score_ is not None
            self.validation_scores_.append(float(score))
            self.validation_loss_curve_.append(self._validation_loss(held.part))
            stalls = not score >= self.best_validation_score_ + self.tol
            if score > self.best_validation_score_:
                self.best_validation_score_, better = float(score), True
        if not self.early_stopping:
            assert self.best_loss_ is not None
            stalls = self.loss_ > self.best_loss_ - self.tol
            self.best_loss_ = min(self.best_loss_, self.loss_)
        self._no_improvement_count = self._no_improvement_count + 1 if stalls else 0
        return better and self.early_stopping

    def _validation_loss(self, part: Part) -> float:
        """Return the mean loss on rows held out, without the penalty."""
        return self._scoring.totals(part)["loss"]

    def _why_end(self) -> Ending | None:
        """Set the learning rate of the next epoch, or return why there is none."""
        program, rate = self._session.training.program, "hyper/learning_rate"
        state, plan = self._session.state, self.learning_rate
        by_hand = self.solver == "sgd" and isinstance(plan, str)
        if by_hand and plan == "invscaling":
            state[rate][...] = self.learning_rate_init / (self.t_ + 1) ** self.power_t
        self._session.rates.look(lambda name: self._monitored(name))
        if isinstance(program, FullBatchProgram):
            why = self._why_rests(program)
            if why is not None or not self.early_stopping:
                return why
        if self._no_improvement_count <= self.n_iter_no_change:
            return None
        if by_hand and plan == "adaptive" and float(state[rate]) > LEAST_RATE:
            state[rate][...] /= 5
            self._no_improvement_count = 0
            if self.verbose:
                sys.stdout.write(f"Setting learning rate to {float(state[rate]):f}\n")
            return None
        what = "validation score" if self.early_stopping else "training loss"
        return Ending(
            f"the {what} did not improve by tol={self.tol:g} in {self.n_iter_no_change} epochs"
        )

    def _why_rests(self, program: FullBatchProgram) -> Ending | None:
        """Return why a full-batch method has nothing more to gain, or may not go on."""
        if program.reason:
            return Ending(program.reason)
        found: Any = program.descent.here if program.descent is not None else None
        if not isinstance(found, Minimum):
            return None
        if float(np.abs(found.gradient).max(initial=0.0)) <= self.tol:
            return Ending(f"no part of the gradient is larger than tol={self.tol:g}")
        if len(self.loss_curve_) > 1:
            before, now = self.loss_curve_[-2:]
            if before - now <= LOSS_STALLS * max(abs(before), abs(now), 1.0):
                return Ending("the loss does not fall any more")
        if found.evaluations >= self.max_fun:
            return Ending(f"lbfgs has used max_fun={self.max_fun} evaluations of the loss.", True)
        return None

    def _monitored(self, name: str | None) -> float:
        """Return the entry of an epoch that a ReduceOnPlateau watches."""
        losses = {"loss": self.loss_curve_, "val_loss": self.validation_loss_curve_}
        name = name or ("val_loss" if self.validation_loss_curve_ else "loss")
        if not losses.get(name):
            raise OptionError(f"ReduceOnPlateau: there is no {name!r} to monitor.")
        return losses[name][-1]

    def _record(
        self, bar: Progress, held: Held | None, rows: int, seconds: float
    ) -> dict[str, Any]:
        """Add the epoch, of so many `rows`, to the history of the run, show it, and return it."""
        record: dict[str, Any] = {"epoch": len(self.loss_curve_), "loss": self.loss_}
        if self.verbose:
            sys.stdout.write(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}\n")
        if held is not None and self.validation_scores_:
            record["val_loss"] = self.validation_loss_curve_[-1]
            record["val_score"] = self.validation_scores_[-1]
            if self.verbose:
                sys.stdout.write(f"Validation score: {self.validation_scores_[-1]:f}\n")
        if (rate := self._session.rates.now()) is not None:
            record["learning_rate"] = rate
        record |= {"seconds": seconds, "samples_per_second": rows / max(seconds, 1e-9)}
        self.run_.history.append(record)
        bar.finish_epoch(record | {"epoch": self.n_iter_})
        return record


def _dense(X: Any) -> Array:
    """Return `X` as an array; raise DataError for a sparse matrix that is too large for that."""
    if not hasattr(X, "toarray"):
        return np.asarray(X)
    size = X.shape[0] * X.shape[1] * X.dtype.itemsize
    if size > MOST_DENSE:
        raise DataError(
            f"X is sparse, {X.shape[0]:,} x {X.shape[1]:,}; networks here train on dense rows, and "
            f"these would take {size / 2**30:.1f} GiB (at most {MOST_DENSE / 2**30:g} are used). "
            "Reduce the columns first, sklearn.decomposition.TruncatedSVD(100) in a pipeline, or "
            "train in parts: partial_fit(X[i:j], y[i:j])."
        )
    return np.asarray(X.toarray())


def _mean_one(weight: Array | None, rows: Any) -> Array | None:
    """Return weights divided by the mean of those of `rows`."""
    return None if weight is None else weight / weight[rows].mean()
