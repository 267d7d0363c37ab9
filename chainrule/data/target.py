"""The target column: its task, its classes or its scale.

A `Target` encodes the column as numbers, and decodes predictions.  Unsuitable targets are
rejected here, before training.

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
from chainrule.data.columns import Roles, choose_target, natural_order
from chainrule.data.gaps import find_sentinels
from chainrule.data.parse import parse_number
from chainrule.data.spelling import advise
from chainrule.data.table import Column, Table
from chainrule.data.unread import respell

__all__ = [
    "Target",
    "Task",
    "check_learnable",
    "check_several",
    "in_order",
    "inspect_target",
    "inspect_targets",
    "left_out_of_several",
    "make_target",
    "order_of",
    "settle_task",
    "target_names",
    "without_orders",
]

Task = Literal["classification", "regression", "several"]
_LISTS = ("classes", "errors", "widths")  # the fields that JSON writes as lists
_MAX_CLASSES = 20  # whole numbers with more distinct values are regression by default


@dataclass(frozen=True)
class Target:
    """The target of a model.

    `classes` (classification) are sorted, or in their own order if they are `ordered`; they are
    text, or numbers if the column contains numbers.  `mean` and `scale` (regression) are those of
    the training rows.  Standardized values are ``(value - mean) / scale``, and ``value / mean`` if
    the target has `counts`.  `errors` are the calibration scores of rows that were not trained on,
    sorted, and `widths` what the expected error depends on, from which
    :mod:`chainrule.tabular.conformal` makes prediction intervals.
    Several targets of one network are the `parts` of a target, whose task is "several".
    """

    name: str
    task: Task
    classes: tuple[str | int | float, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    spelling: str = ""
    ordered: bool = False
    counts: bool = False
    errors: tuple[float, ...] = ()
    widths: tuple[float, ...] = ()
    parts: tuple[Target, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of the target, several if it has `parts`."""
        return tuple(part.name for part in self.parts) or (self.name,)

    def fitted_to(self, table: Table, rows: NDArray[np.intp]) -> Target:
        """Return the target with the mean and scale of the training rows `rows` of `table`."""
        if self.parts:
            return replace(self, parts=tuple(part.fitted_to(table, rows) for part in self.parts))
        return self.fitted(table[self.name].take(rows), table.source)

    def encode_from(self, table: Table, rows: NDArray[np.intp] | None = None) -> NDArray[Any]:
        """Return :meth:`encode` of the target's column in `rows` of `table` (None: all).

        Several targets are the columns of a float32 array (rows, targets).
        """
        if self.parts:
            found = [part.encode_from(table, rows).astype(np.float32) for part in self.parts]
            return np.stack(found, axis=1)
        return self.encode(table[self.name].take(rows), table.source)

    def fitted(self, column: Column, where: str) -> Target:
        """Return the target with the mean and scale of `column`, which has training rows only."""
        if self.task == "classification":
            return self
        values = _numbers(column, where)
        with np.errstate(over="ignore"):
            spread = float(values.std())
        if not np.isfinite(spread):
            row = int(np.abs(values).argmax())
            raise DataError(
                f"{where}: row {column.row_number(row)} of target {self.name!r} is "
                f"{values[row]:.3g}, too large for its square to be computed; correct the cell, or "
                "give the target in another unit."
            )
        return replace(self, mean=float(values.mean()), scale=spread if spread > 0 else 1.0)

    def encode(self, column: Column, where: str) -> NDArray[Any]:
        """Return class indices (int64) or standardized values (float32), shape (rows,).

        Raises DataError on a missing cell, a class that was not in training, or text instead
        of numbers.
        """
        _reject_missing(column, where)
        if self.task == "regression":
            values = _numbers(respell(column, self.spelling, where), where)
            return self.standardize(values)
        place = {str(name): i for i, name in enumerate(self.classes)}
        codes = np.empty(len(column), dtype=np.int64)
        for row, cell in enumerate(column.as_text()):
            if cell not in place:
                raise DataError(
                    f"{where}: row {column.row_number(row)} of target {self.name!r} is {cell!r}, "
                    f"a class that was not in training. {did_you_mean(cell, place)}"
                )
            codes[row] = place[cell]
        return codes

    def standardize(self, values: ArrayLike) -> NDArray[Any]:
        """Return standardized values (float32) of values in the units of the target."""
        zero, unit = self._units
        standard: NDArray[Any] = (np.asarray(values, np.float64) - zero) / unit
        if self.counts:  # 0 may come from standardized numbers, with their rounding
            standard = np.where(np.abs(standard) < 1e-5, 0.0, standard)
        return standard.astype(np.float32)

    @property
    def _units(self) -> tuple[float, float]:
        """The value that is standardized to 0, and what is added to it for 1."""
        return (0.0, self.mean or 1.0) if self.counts else (self.mean, self.scale)

    def decode(self, predicted: ArrayLike) -> NDArray[Any]:
        """Return the classes of class indices, or the values of standardized values."""
        array = np.asarray(predicted)
        if self.parts:
            decoded = [part.decode(array[:, k]).tolist() for k, part in enumerate(self.parts)]
            return np.array(decoded, dtype=object).T
        if self.task == "regression":
            zero, unit = self._units
            return array.astype(np.float64) * unit + zero
        return np.array(self.classes)[array.astype(np.intp)]

    def to_json(self) -> dict[str, Any]:
        """Return a plain JSON dict; `from_json` restores the target exactly."""
        lists = {name: list(getattr(self, name)) for name in _LISTS}
        return {**asdict(self), **lists, "parts": [part.to_json() for part in self.parts]}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Target:
        """Restore a target from what `to_json` returned."""
        more = {name: tuple(saved.get(name, ())) for name in _LISTS}
        parts = tuple(cls.from_json(part) for part in saved.get("parts", ()))
        return cls(**{**saved, **more, "parts": parts})


def inspect_target(
    table: Table,
    target: str | None = None,
    task: str | None = None,
    rows: NDArray[np.intp] | None = None,
    roles: Roles | None = None,
) -> tuple[Target, NDArray[np.intp], tuple[str, ...]]:
    """Return (target, rows with a target, notes) for `rows` (None: all).

    The task is classification for text, booleans, and whole numbers with at most 20 distinct
    values that recur; otherwise regression.  A target to which `roles` gives an order, as in
    ``{"grade": ["low", "mid", "high"]}``, has classes in that order, and with "ordinal" in natural
    order.  Raises DataError on an unknown target, dates,
    infinity, a single class, and, for a whole table, a class with only one row, which can't
    be in both the training and the test set.
    """
    check_task(task)
    name, chosen = choose_target(table, target)
    order = order_of(name, roles, task)
    task = task if order is None else "classification"
    given = np.arange(len(table)) if rows is None else np.asarray(rows, dtype=np.intp)
    if len(given) == 0:
        raise DataError(f"{table.source}: got no rows to fit to.")
    column = table[name].take(given)
    kept = given[~column.missing]
    if len(kept) < len(given):
        column = table[name].take(kept)
    with told_if_chosen(chosen):
        settled, told = settle_task(column, len(given) - len(kept), task, table.source)
        found = make_target(column, settled, table.source, whole=rows is None)
    if order is not None:
        found, note = in_order(found, column, order, table.source)
        told = (*told, note)
    return found, kept, (*((chosen,) if chosen else ()), *told)


def order_of(name: str, roles: Roles | None, task: str | None) -> str | Sequence[str] | None:
    """Return the order that `roles` gives the classes of target `name`: words, or "ordinal".

    None if they give none.  Raises OptionError if the task is regression.
    """
    order = (roles or {}).get(name)
    if isinstance(order, str) and order != "ordinal":
        return None
    if order is not None and task == "regression":
        raise OptionError(f"target {name!r} has an order of classes, but the task is regression.")
    return order


def in_order(
    target: Target, column: Column, given: str | Sequence[str], where: str
) -> tuple[Target, str]:
    """Return `target` with the classes of `column` in the order of :func:`order_of`, and a note.

    Raises DataError unless the order lists each class once.
    """
    order = natural_order(column) if given == "ordinal" else list(map(str, given))
    known = {str(name): name for name in target.classes}
    for word in order:
        if word not in known:
            raise DataError(
                f"{where}: no row of target {target.name!r} is {word!r}, which the order lists. "
                f"{did_you_mean(word, known)}"
            )
    if len(set(order)) < len(order) or len(order) < len(known):
        left = [word for word in known if word not in order]
        why = f"{left[0]!r} is missing" if left else "one is listed twice"
        raise DataError(
            f"{where}: the order of target {target.name!r} must list each of its "
            f"{counted(len(known), 'class', 'classes')} once; {why}."
        )
    note = f"target `{target.name}`: {' < '.join(order)}, as given"
    return replace(target, classes=tuple(known[word] for word in order), ordered=True), note


def inspect_targets(
    table: Table, names: Sequence[str], task: str | None = None, roles: Roles | None = None
) -> tuple[Target, NDArray[np.intp], tuple[str, ...]]:
    """Return :func:`inspect_target` of several columns at once, for the rows that have them all.

    Raises OptionError for a task, which each target has of its own, and for a name given twice.
    """
    check_several(names, task)
    missing = np.zeros(len(table), dtype=bool)
    for name in names:
        missing |= table[choose_target(table, name)[0]].missing
    rows, notes = np.flatnonzero(~missing), [*left_out_of_several(missing)]
    found = [inspect_target(table, name, None, rows, roles) for name in names]
    notes += [note for _, _, told in found for note in told]
    parts = tuple(target for target, _, _ in found)
    return Target(", ".join(names), "several", parts=parts), rows, tuple(notes)


def target_names(target: str | Sequence[str] | None, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the targets; a text with commas is one name if a column has it.

    >>> target_names("price, grade", ["price", "grade"]), target_names(None, ["price"])
    (('price', 'grade'), ())
    """
    if target is None:
        return ()
    if not isinstance(target, str):
        return tuple(target)
    parts = tuple(part.strip() for part in target.split(","))
    return (target,) if target in names or not all(parts) else parts


def without_orders(roles: Roles | None, target: Target) -> Roles | None:
    """Return the roles without those that order the classes of targets, which are no features."""
    ordered = [one.name for one in target.parts or (target,) if one.ordered]
    return {name: role for name, role in roles.items() if name not in ordered} if roles else roles


def check_several(names: Sequence[str], task: str | None) -> None:
    """Raise OptionError for a task of several targets, and for a name given twice."""
    if task is not None:
        raise OptionError(
            f"task {task!r} can't be given for several targets; give the order of classes as a "
            "role, or write numbers that are classes as words."
        )
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise OptionError(f"target {twice[0]!r} is given twice.")


def left_out_of_several(missing: NDArray[np.bool_]) -> tuple[str, ...]:
    """Return the note on rows that miss one of several targets, or none."""
    count = int(missing.sum())
    return (f"left out {counted(count, 'row')} without a value of each target",) if count else ()


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
    """Raise OptionError unless `task` is None, "classification" or "regression"."""
    known = ("classification", "regression")
    if task is not None and task not in known:
        raise OptionError(f"Task {task!r} is unknown. {did_you_mean(task, known)}")


def settle_task(
    column: Column, missing: int, task: str | None, where: str
) -> tuple[Task, tuple[str, ...]]:
    """Return the task of a target, and notes on it.

    `column` contains the target of every row that has one (for text, booleans and dates, each
    distinct value once is enough); `missing` is the number of rows without a target.  Raises
    DataError if no row has a target, and for dates.
    """
    check_task(task)
    name, notes = column.name, []
    if len(column) == 0:
        raise DataError(f"{where}: target {name!r} has no value in any row.")
    if missing:
        notes.append(f"left out {counted(missing, 'row')} without a value of `{name}`")
    if column.kind == "date":
        raise DataError(f"{where}: target {name!r} holds dates; predict a number or a class.")
    if column.spelling:
        why = f"; {column.writing.why}" if column.writing.why else ""
        notes.append(f"target `{name}`: numbers written as {column.spelling}{why}")
    notes += [f"target `{name}`: {sentinel.doubted}" for sentinel in find_sentinels(column)]
    if task is not None:
        return cast(Task, task), tuple(notes)
    inferred, why = _infer_task(column)
    notes.append(f"target `{name}`: {why}, so {inferred}")
    if _looks_counted(column):
        notes.append(
            f"target `{name}`: small whole numbers with a long tail; if they count something, "
            "--loss poisson predicts expected counts"
        )
    return inferred, tuple(notes)


def make_target(column: Column, task: Task, where: str, whole: bool) -> Target:
    """Return the target fitted to `column`.

    With `whole`, `column` represents all rows of the table, and each class needs two rows.
    Raises DataError for a single class, infinity, and text instead of numbers.
    """
    if task == "classification":
        return Target(column.name, task, _classes(column, where, whole))
    return Target(column.name, task, spelling=column.spelling).fitted(column, where)


def check_learnable(target: Target, column: Column, rows: int, where: str) -> None:
    """Raise DataError if there is only one row, or if a regression target is constant."""
    if rows < 2:
        raise DataError(f"{where} has one row; give at least one to train on and one to test on.")
    if target.task == "regression" and np.ptp(column.values.astype(np.float64)) == 0:
        raise DataError(
            f"{where}: target {column.name!r} is {column.take(np.arange(1)).as_text()[0]} in every "
            "row; there is nothing to predict. Choose another with --target."
        )


def _infer_task(column: Column) -> tuple[Task, str]:
    """Return the task inferred from a target column without missing cells, and the reason."""
    if column.kind in ("text", "boolean"):
        return "classification", column.kind
    if column.categorical:
        return "classification", "declared categorical"
    values = column.values
    distinct = len(np.unique(values))
    if not np.isfinite(values).all() or bool((values != np.floor(values)).any()):
        return "regression", "real numbers"
    if _looks_counted(column) and (np.unique(values, return_counts=True)[1] == 1).any():
        return "regression", "small whole numbers, some in one row only"
    if distinct <= 2 or (distinct <= _MAX_CLASSES and 2 * distinct <= len(values)):
        return (
            "classification",
            f"{distinct} different whole numbers in {counted(len(values), 'row')}",
        )
    return "regression", f"{distinct} different whole numbers"


def _looks_counted(column: Column) -> bool:
    """Whether values are those of a count: whole, from 0 or 1, often the same, some far above."""
    if column.kind != "number" or column.categorical or not np.isfinite(column.values).all():
        return False
    values = column.values
    distinct = np.unique(values)
    return bool(
        (distinct == np.floor(distinct)).all()
        and distinct[0] in (0, 1)
        and 4 < len(distinct) <= len(values) / 2
        and distinct[-1] > values.mean() + 2.5 * values.std()
    )


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
            "a class needs two, one to train on and one to test on. Remove or relabel it, "
            "or use task 'regression' if the target is a quantity." + _advice(column)
        )
    if column.kind != "number" or column.spelling:
        return tuple(words.tolist())
    _reject_infinite(column, where)
    numbers: Sequence[float] = np.unique(column.values).tolist()
    return tuple(int(number) if number.is_integer() else number for number in numbers)


def _advice(column: Column) -> str:
    advice = advise(column.as_text().tolist(), column.name) if column.kind == "text" else ""
    return f" Note: {advice}." if advice else ""


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
            f"({len(missing)} such rows in total); leave these rows out."
        )
