"""Predict for the rows of several requests at once, and write the answer to each as JSON.

Read next: :mod:`chainrule.serve.batching`, which decides what is predicted together.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import OptionError
from chainrule.data.pipeline import Pipeline
from chainrule.data.target import Target
from chainrule.serve.array_rows import ArrayRows
from chainrule.serve.column_cells import ColumnCells
from chainrule.serve.request_error import RequestError
from chainrule.serve.table_rows import TableRows
from chainrule.step.objective import Objective
from chainrule.tabular.conformal import intervals_of
from chainrule.tabular.table_prediction import columns_of
from chainrule.train.run import Run

__all__ = ["Asked", "Predicting"]

Array = NDArray[Any]
Answer = dict[str, Any]
MOST_NOTES = 100  # in one answer
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"), check_circular=False)


@dataclass(frozen=True)
class Asked:
    """The rows of one request: `values` as its reader returned them, and the interval wanted."""

    values: Any
    interval: float | None = None

    def __len__(self) -> int:
        return len(self.values)


class Predicting:
    """A run ready to answer: the reader of its rows, and a predictor, which never changes.

    >>> import chainrule as cr
    >>> X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
    >>> model = cr.nn.Linear(2, 1)
    >>> run = cr.fit(model, (X, X.sum(1)), loss="mse", optimizer=cr.optim.LBFGS(), progress=False)
    >>> ready = Predicting(run)
    >>> ready.answers([Asked(ready.rows.read([[1, 1]]))])
    [b'{"predictions":[{"row":1,"prediction":2.0...}]}']
    """

    def __init__(self, run: Run):
        self.run, self._predictor = run, run.predictor()
        table = isinstance(run.pipeline, Pipeline)
        self.rows: TableRows | ArrayRows = (
            TableRows(run.pipeline)
            if isinstance(run.pipeline, Pipeline)
            else ArrayRows(run, self._predictor.dtype, self._predictor.looks_up)
        )
        self.target: Target | None = None if run.pipeline is None else run.pipeline.target
        zeros = np.zeros((1, *run.features), np.float32 if table else self._predictor.dtype)
        # The first call compiles; it also shows the number of outputs.
        self._one = self._predictor.outputs(zeros)
        self._apart = run.function({"x": run.check(zeros)}).whole

    @property
    def columns(self) -> list[ColumnCells]:
        """The columns of a run that was trained on a table; none of one on arrays."""
        return self.rows.columns if isinstance(self.rows, TableRows) else []

    def rows_within(self, seconds: float, most: int = 4096) -> int:
        """Return about how many rows are answered in this time, as measured; 0 if not even one."""
        rows = 1
        while rows <= most:
            asked = [Asked(np.repeat(self.rows.usual(), rows, axis=0))]
            times = []
            for _ in range(3):
                began = time.perf_counter()
                self.answers(asked)
                times.append(time.perf_counter() - began)
            if min(times) > seconds:
                return rows // 2
            rows *= 2
        return most

    def check_interval(self, interval: float) -> None:
        """Raise RequestError unless the run has intervals of this share."""
        try:
            if not isinstance(self.run.pipeline, Pipeline):
                raise OptionError("interval needs a run that was trained on a table.")
            assert self.target is not None
            ends = [
                intervals_of(target, aim, outputs, interval)
                for target, aim, outputs in self._parts(self._one)
                if target.task == "regression"
            ]
            if not ends:
                raise OptionError("interval needs a target of numbers; classes have probabilities.")
        except OptionError as error:
            raise RequestError(422, str(error)) from None

    def answers(self, asked: Sequence[Asked]) -> list[bytes | RequestError]:
        """Return the answer to each request, predicted together.

        They are predicted one by one where the network combines rows, so that no request changes
        the answer to another.
        """
        if self._apart and len(asked) > 1:
            return [self.answers([one])[0] for one in asked]
        values = np.concatenate([np.asarray(one.values, np.float64) for one in asked])
        with np.errstate(all="ignore"):
            X = self.rows.features(values)
            wrong: Any = ~np.isfinite(X.reshape(len(X), -1)).all(axis=1)
            given = np.where(wrong.reshape(-1, *[1] * (X.ndim - 1)), 0, X) if wrong.any() else X
            outputs = self._predictor.outputs(given.astype(X.dtype, copy=False))
            rows = self._described(outputs)
            notes = self.rows.notes(values)
            found: list[bytes | RequestError] = []
            start = 0
            for one in asked:
                stop = start + len(one)
                if wrong[start:stop].any():
                    found.append(self._too_large(X[start:stop]))
                else:
                    own = [(row - start, *told) for row, *told in notes if start <= row < stop]
                    found.append(self._answer(rows[start:stop], outputs[start:stop], one, own))
                start = stop
        return found

    def _answer(
        self, rows: list[Answer], outputs: Array, asked: Asked, notes: list[Any]
    ) -> bytes | RequestError:
        for number, row in enumerate(rows, 1):
            row["row"] = number
        if asked.interval is not None:
            self._add_intervals(rows, outputs, asked.interval)
        answer: Answer = {"predictions": rows}
        if notes:
            answer["notes"] = [
                {"row": row + 1, "column": column, "note": note}
                for row, column, note in notes[:MOST_NOTES]
            ]
            if len(notes) > MOST_NOTES:
                answer["more_notes"] = len(notes) - MOST_NOTES
        try:
            return _ENCODER.encode(answer).encode()
        except ValueError:
            worst = next(row for row in rows if not _is_finite(row))
            told = "the prediction is too large for a number; its values are far from training."
            return RequestError(422, told, row=worst["row"])

    def _too_large(self, X: Array) -> RequestError:
        row, feature = np.argwhere(~np.isfinite(X.reshape(len(X), -1)))[0]
        told = "the number is too large for a float32 feature."
        return RequestError(422, told, row=int(row) + 1, column=self.rows.column_of(int(feature)))

    # --- what is said about each row -----------------------------------------------------

    def _described(self, outputs: Array) -> list[Answer]:
        """Return the prediction for each row of `outputs`, with what belongs to it."""
        if self.target is None:
            return self._plain(outputs)
        if not self.target.parts:
            return _rows(self.target, columns_of(self.target, self.run, outputs, None))
        found: list[Answer] = [{"row": 0, "prediction": {}} for _ in outputs]
        for target, aim, own in self._parts(outputs):
            each = _rows(target, columns_of(target, aim, own, None))
            for row, told in zip(found, each, strict=True):
                for name in told.keys() - {"row"}:
                    row.setdefault(name, {})[target.name] = told[name]
        return found

    def _parts(self, outputs: Array) -> list[tuple[Target, Objective, Array]]:
        """Return each target with its objective and its columns of `outputs`."""
        assert self.target is not None
        if not self.target.parts:
            return [(self.target, self.run.objective, outputs)]
        aims = self.run.objective.parts
        return [
            (target, aim, outputs[:, own])
            for target, (aim, own) in zip(self.target.parts, aims, strict=True)
        ]

    def _plain(self, outputs: Array) -> list[Answer]:
        """Return predictions in the form of the training's `y`, and probabilities in a list."""
        run = self.run
        found = [{"row": 0, "prediction": told} for told in run.decide(outputs).tolist()]
        kind = run.objective.kind
        if run.objective.probabilistic and kind in ("classes", "ordered", "labels"):
            for row, told in zip(found, run.probabilities(outputs).tolist(), strict=True):
                row["probabilities"] = told
        return found

    def _add_intervals(self, rows: list[Answer], outputs: Array, level: float) -> None:
        for target, aim, own in self._parts(outputs):
            if target.task == "regression":
                low, high = intervals_of(target, aim, own, level)
                for row, ends in zip(rows, zip(low.tolist(), high.tolist(), strict=True),
                                     strict=True):  # fmt: skip
                    if self.target is target:
                        row["interval"] = ends
                    else:
                        row.setdefault("interval", {})[target.name] = ends


def _rows(target: Target, columns: dict[str, Array]) -> list[Answer]:
    """Return the columns predicted for one target as a dict for each row."""
    found = [{"row": 0, "prediction": told} for told in columns.pop("prediction").tolist()]
    if not columns:
        return found
    if target.task == "classification":
        kind, names = "probabilities", list(map(str, target.classes))
    else:
        kind, names = "quantiles", [name.removeprefix("quantile_") for name in columns]
    for row, told in zip(found, np.stack(list(columns.values()), 1).tolist(), strict=True):
        row[kind] = dict(zip(names, told, strict=True))
    return found


def _is_finite(told: Any) -> bool:
    if isinstance(told, dict):
        return all(map(_is_finite, told.values()))
    if isinstance(told, (list, tuple)):
        return all(map(_is_finite, told))
    return not isinstance(told, float) or bool(np.isfinite(told))
