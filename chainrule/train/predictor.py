"""Predict single rows fast: everything that does not depend on the row is prepared once.

A predictor is made from a run's compiled model and a copy of its weights, and is called with a row
or rows.  It exists because a small network takes a microsecond or two for a row.  To find in each
call what to check, which code to run and where the weights are took twenty times as long.

Read next: :class:`chainrule.run.llvm.native.NativeFunction`.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from chainrule.core.graph import Graph
from chainrule.core.tensor import input
from chainrule.data.frames import read_array
from chainrule.nn.layer import Layer, Sequential, check_input
from chainrule.run.program import Brief, Engine, RowFunction, prepare_function
from chainrule.step.record import ROWS, forward

__all__ = ["Predictor"]

Array = np.ndarray[Any, Any]


class Predicting(Protocol):
    """What a predictor asks of the run that makes it."""

    features: tuple[int, ...]
    feature_names: tuple[str, ...] | None
    engine: Engine

    @property
    def model(self) -> Layer:
        """The trained model."""
        ...

    def check(self, X: Any) -> Array:
        """Return X as rows the model takes, or raise."""
        ...

    def encode(self, X: Any) -> Any:
        """Return what the model is given for X."""
        ...

    def decide(self, outputs: Array) -> Array:
        """Return the predictions that the model's `outputs` stand for."""
        ...

    def probabilities(self, outputs: Array) -> Array:
        """Return the probabilities that the model's `outputs` stand for."""
        ...


class Predictor:
    """Predict for a row or for rows, as the run that made it does, at the least cost for each call.

    ``predictor(X)`` is ``run.predict(X)`` for rows X of shape (n, features) and, without the first
    axis, for a single row of shape (features,); :meth:`outputs` and :meth:`probabilities` are
    ``run.outputs`` and ``run.predict_proba``.  Rows in the dtype of :attr:`dtype` cost the least;
    others are converted.  Raises what the run raises, for example for NaN and infinity.

    The weights are a copy, so further training of the run does not change the predictor.
    Threads may share a predictor and take turns.  With a predictor each, they need not wait.

    >>> import numpy as np
    >>> import chainrule as cr
    >>> X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
    >>> model = cr.nn.Linear(2, 1)
    >>> run = cr.fit(model, (X, X.sum(1)), loss="mse", optimizer=cr.optim.LBFGS(), progress=False)
    >>> predict = run.predictor()
    >>> predict(X[3]).round(3), predict(X[1:]).round(3)
    (np.float32(2.0), array([1., 1., 2.], dtype=float32))
    """

    def __init__(
        self,
        run: Predicting,
        dtype: np.dtype[Any],
        row: tuple[int, ...],
    ):
        self.dtype, self._run, self._features = dtype, run, run.features
        self._row = row  # the shape of what is given to predict; pixels may be encoded first
        self._models = (run.model,)
        self._function: RowFunction = prepare_function(
            _checked(run.model, run.features, dtype), ["x"], run.engine, frozen=True
        )
        self.looks_up = _looks_up(run.model)
        self._prepare()

    def _prepare(self) -> None:
        """Ask the function for its form with the least overhead, which can't be pickled."""
        self._brief: Brief | None
        self._brief, self._most = self._function.brief() or (None, 0)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_brief"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._prepare()

    def __call__(self, X: Any) -> Any:
        """Return predictions for the rows of X, or the one for a single row."""
        rows, single = self._rows(X, self._row)
        predictions = self._run.decide(self._compute(self._run.encode(rows)))
        return predictions[0] if single else predictions

    def outputs(self, X: Any) -> Array:
        """Return the model's raw outputs for the rows of X, or for a single row."""
        rows, single = self._rows(X, self._features)
        outputs = self._compute(rows)
        result: Array = outputs[0] if single else outputs
        return result

    def probabilities(self, X: Any) -> Any:
        """Return the probability of each class, or label, for the rows of X or for a single row.

        Raises OptionError when the loss trains no probabilities.
        """
        rows, single = self._rows(X, self._row)
        found = self._run.probabilities(self._compute(self._run.encode(rows)))
        return found[0] if single else found

    def _rows(self, X: Any, row: tuple[Any, ...]) -> tuple[Any, bool]:
        """Return X with its axis of rows, and whether it is a single row that had none."""
        if not isinstance(X, np.ndarray):  # a masked array is one, and keeps its mask
            try:
                X = np.asarray(read_array(X, "X", self._run.feature_names))
            except ValueError:  # lists of unequal length, which the check tells of
                return X, False
        return (X[None], True) if X.shape == row else (X, False)

    def _compute(self, X: Any) -> Array:
        """Return the raw outputs for rows; what is not clearly in order is checked as ever."""
        usual = (
            type(X) is np.ndarray
            and X.dtype == self.dtype
            and X.shape[1:] == self._features
            and len(X) > 0
        )
        if usual and self.looks_up:
            check_input(self._models, X)
        if usual and len(X) <= self._most and self._brief is not None:
            output, trouble = self._brief(X)
            if trouble != 0.0:  # NaN is not
                self._run.check(X)
            return output
        results = self._function({"x": X if usual else self._run.check(X)})
        if results.get("trouble", 0.0) != 0.0:  # NaN is not
            self._run.check(X)
        found: Array = results["output"]
        return found


def _looks_up(layer: Any) -> bool:
    """Return whether a layer may refuse finite numbers, as an embedding refuses some codes."""
    if type(layer) is Sequential:
        return any(_looks_up(first) for first in layer.layers[:1])
    return hasattr(layer, "check_input")


def _checked(model: Layer, features: tuple[int, ...], dtype: np.dtype[Any]) -> Graph:
    """Return the graph from ``x`` to ``output`` and ``trouble``.

    ``trouble = sum(0 * x)`` is 0, or NaN where a number of x is NaN or infinite: native code
    finds that out in less time than Python takes to ask.
    """
    x = input("x", (ROWS, *features), dtype)
    outputs = {"output": forward(model, x)}
    if dtype.kind == "f":
        outputs["trouble"] = (x * 0.0).sum()
    return Graph(outputs, {"x": x})
