"""The column to predict: its task, its classes or its scale.

Enters a table and a column name, leaves a `Target` that turns the column into numbers
and predictions back into what the table holds.  It exists so that a wrong target
is refused before a network is built for it.

Read next: :mod:`chainrule.data.pipeline`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.core.errors import DataError, OptionError, did_you_mean
from chainrule.core.wording import counted
from chainrule.data.columns import choose_target
from chainrule.data.parse import parse_number
from chainrule.data.spelling import advise
from chainrule.data.table import Column, Table
from chainrule.data.unread import respell

__all__ = ["Target", "Task", "check_learnable", "inspect_target", "make_target", "settle_task"]

Task = Literal["classification", "regression"]
_MAX_CLASSES = 20  # whole numbers with more distinct values are a quantity, unless asked


@dataclass(frozen=True)
class Target:
    """What is predicted.

    `classes` (classification) are in sorted order, as text, or as whole numbers
    when the column holds numbers; `mean` and `scale` (regression) are those
    of the training rows.
    """

    name: str
    task: Task
    classes: tuple[str | int | float, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    spelling: str = ""

    def fitted(self, column: Column, where: str) -> Target:
        """Return the target with the mean and scale of `column`, of training rows alone."""
        if self.task == "classification":
            return self
        values = _numbers(column, where)
        spread = float(values.std())
        return replace(self, mean=float(values.mean()), scale=spread if spread > 0 else 1.0)

    def encode(self, column: Column, where: str) -> NDArray[Any]:
        """Return class numbers (int64) or standardized values (float32), shape (rows,).

        Raises DataError on a missing cell, a class training did not have, or
        text where training had numbers.
        """
        _reject_missing(column, where)
        if self.task == "regression":
            values = _numbers(respell(column, self.spelling, where), where)
            return ((values - self.mean) / self.scale).astype(np.float32)
        place = {str(name): i for i, name in enumerate(self.classes)}
        codes = np.empty(len(column), dtype=np.int64)
        for row, cell in enumerate(column.as_text()):
            if cell not in place:
                raise DataError(
                    f"{where}: row {column.row_number(row)} of target {self.name!r} is {cell!r}, "
                    f"a class training did not have. {did_you_mean(cell, place)}"
                )
            codes[row] = place[cell]
        return codes

    def decode(self, predicted: ArrayLike) -> NDArray[Any]:
        """Return classes for class numbers, or values for standardized values."""
        array = np.asarray(predicted)
        if self.task == "regression":
            return array.astype(np.float64) * self.scale + self.mean
        return np.array(self.classes)[array.astype(np.intp)]

    def to_json(self) -> dict[str, Any]:
        """Return a plain JSON dict; `from_json` restores the target exactly."""
        return {**asdict(self), "classes": list(self.classes)}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Target:
        """Restore what `to_json` returned."""
        return cls(**{**saved, "classes": tuple(saved["classes"])})


def inspect_target(
    table: Table,
    target: str | None = None,
    task: str | None = None,
    rows: NDArray[np.intp] | None = None,
) -> tuple[Target, NDArray[np.intp], tuple[str, ...]]:
    """Return (target, the rows that have one, notes), from `rows` alone (None: all).

    The task is classification for text, booleans, and whole numbers of at most 20
    different values that recur; otherwise regression.  Raises DataError on
    an unknown target, dates, infinity, one class only, and, for a whole
    table, a class with one row, which can't be both learned and tested.
    """
    check_task(task)
    name, chosen = choose_target(table, target)
    given = np.arange(len(table)) if rows is None else np.asarray(rows, dtype=np.intp)
    if len(given) == 0:
        raise DataError(f"{table.source}: no rows were given to learn from.")
    column = table[name].take(given)
    kept = given[~column.missing]
    if len(kept) < len(given):
        column = table[name].take(kept)
    with told_if_chosen(chosen):
        settled, told = settle_task(column, len(given) - len(kept), task, table.source)
        found = make_target(column, settled, table.source, whole=rows is None)
    return found, kept, (*((chosen,) if chosen else ()), *told)


@contextmanager
def told_if_chosen(note: str) -> Iterator[None]:
    """Add to a DataError that the target was chosen and not given, where there is such a `note`."""
    try:
        yield
    except DataError as error:
        if not note:
            raise
        raise DataError(f"{error} ({note}; name another with --target, or target=...)") from None


def check_task(task: str | None) -> None:
    """Raise OptionError for a task that is neither None nor one of the two there are."""
    known = ("classification", "regression")
    if task is not None and task not in known:
        raise OptionError(f"Task {task!r} is unknown. {did_you_mean(task, known)}")


def settle_task(
    column: Column, missing: int, task: str | None, where: str
) -> tuple[Task, tuple[str, ...]]:
    """Return the task of a target and the notes on it.

    `column` holds the target of every row that has one, or, unless it holds numbers, each
    different value once; `missing` is the number of rows without one.  Raises DataError where
    no row has one, and for dates.
    """
    check_task(task)
    name, notes = column.name, []
    if len(column) == 0:
        raise DataError(f"{where}: target {name!r} has no value in any row.")
    if missing:
        notes.append(f"left out {counted(missing, 'row')} without a value of `{name}`")
    if column.kind == "date":
        raise DataError(f"{where}: target {name!r} holds dates; predict a number or class.")
    if column.spelling:
        notes.append(f"target `{name}`: numbers written as {column.spelling}")
    if task is not None:
        return cast(Task, task), tuple(notes)
    inferred, why = _infer_task(column)
    return inferred, (*notes, f"target `{name}`: {why}, so {inferred}")


def make_target(column: Column, task: Task, where: str, whole: bool) -> Target:
    """Return the target that `column` holds, fitted to it.

    With `whole`, `column` stands for all rows of the table, and each class needs two of them.
    Raises DataError for one class only, infinity, and text where numbers are needed.
    """
    if task == "classification":
        return Target(column.name, task, _classes(column, where, whole))
    return Target(column.name, task, spelling=column.spelling).fitted(column, where)


def check_learnable(target: Target, column: Column, rows: int, where: str) -> None:
    """Raise DataError if a target of `rows` rows is one row, or one number in every row."""
    if rows < 2:
        raise DataError(f"{where} has one row; training needs rows to learn and to test on.")
    if target.task == "regression" and np.ptp(column.values.astype(np.float64)) == 0:
        raise DataError(
            f"{where}: target {column.name!r} is {column.take(np.arange(1)).as_text()[0]} in every "
            "row; there is nothing to predict. Name another with --target."
        )


def _infer_task(column: Column) -> tuple[Task, str]:
    """Return the task that a target column without missing cells asks for, and why."""
    if column.kind in ("text", "boolean"):
        return "classification", column.kind
    values = column.values
    distinct = len(np.unique(values))
    if not np.isfinite(values).all() or bool((values != np.floor(values)).any()):
        return "regression", "real numbers"
    if distinct <= 2 or (distinct <= _MAX_CLASSES and 2 * distinct <= len(values)):
        return (
            "classification",
            f"{distinct} different whole numbers in {counted(len(values), 'row')}",
        )
    return "regression", f"{distinct} different whole numbers"


def _classes(column: Column, where: str, whole: bool) -> tuple[str | int | float, ...]:
    name = column.name
    words, first, counts = np.unique(
        column.as_text().astype(str), return_index=True, return_counts=True
    )
    if len(words) == 1:
        raise DataError(
            f"{where}: target {name!r} is {str(words[0])!r} in every row; "
            "a classifier needs two classes."
        )
    lonely = np.flatnonzero(counts == 1)
    if whole and len(lonely):
        row = column.row_number(int(first[lonely[0]]))
        raise DataError(
            f"{where}: class {str(words[lonely[0]])!r} of target {name!r} has one row (row {row}); "
            "a class needs two, one to learn from and one to test on. Remove or relabel it, "
            "or ask for task 'regression' if the target is a quantity." + _advice(column)
        )
    if column.kind != "number" or column.spelling:
        return tuple(words.tolist())
    _reject_infinite(column, where)
    numbers: Sequence[float] = np.unique(column.values).tolist()
    return tuple(int(number) if number.is_integer() else number for number in numbers)


def _advice(column: Column) -> str:
    advice = advise(column.as_text().tolist()) if column.kind == "text" else ""
    return f" Here {advice}." if advice else ""


def _numbers(column: Column, where: str) -> NDArray[np.float64]:
    if column.kind == "text":
        row = next((i for i, c in enumerate(column.values) if parse_number(c) is None), 0)
        raise DataError(
            f"{where}: row {column.row_number(row)} of target {column.name!r} holds "
            f"{column.values[row]!r}; regression needs numbers.{_advice(column)}"
        )
    if column.kind == "date":
        raise DataError(f"{where}: target {column.name!r} holds dates; regression needs numbers.")
    _reject_infinite(column, where)
    return column.values.astype(np.float64)


def _reject_infinite(column: Column, where: str) -> None:
    infinite = np.flatnonzero(np.isinf(column.values))
    if len(infinite):
        raise DataError(
            f"{where}: row {column.row_number(infinite[0])} of target {column.name!r} is infinite; "
            "correct or clear the cell."
        )


def _reject_missing(column: Column, where: str) -> None:
    missing = np.flatnonzero(column.missing)
    if len(missing):
        raise DataError(
            f"{where}: row {column.row_number(missing[0])} of target {column.name!r} has no value "
            f"({len(missing)} in all); leave such rows out."
        )
