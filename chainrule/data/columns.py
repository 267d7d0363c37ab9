"""Understand columns: which one feeds the network as what, which is dropped, and why.

Enters one column of the training rows, leaves a role with a reason a person can
read.  It exists because a row number or a constant makes a model worse in silence,
and a silent choice can't be corrected.

Read next: :mod:`chainrule.data.encode`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from chainrule.core.errors import DataError, OptionError, did_you_mean
from chainrule.data.spelling import advise
from chainrule.data.table import Column, Table, format_number

__all__ = ["MAX_LEVELS", "Role", "Understanding", "choose_target", "understand"]

Role = Literal["number", "category", "date", "id", "constant", "empty", "text", "dropped"]
"""The first three feed the network; the others are dropped."""

MAX_LEVELS = 32
_TARGET_NAMES = ("target", "label", "class", "y")
_ID_NAME = re.compile(r"(^|[_\W])(id|uuid|guid|index|key|rowid|row|unnamed)$|^column1$")


@dataclass(frozen=True)
class Understanding:
    """What one column is used as, and the line that says so.

    `levels` are the categories kept, most frequent first; `other` says that rarer
    ones were merged.
    """

    name: str
    role: Role
    note: str = ""
    levels: tuple[str, ...] = ()
    other: bool = False

    @property
    def used(self) -> bool:
        """Whether the column feeds the network."""
        return self.role in ("number", "category", "date")


def choose_target(table: Table, target: str | None = None) -> tuple[str, str]:
    """Return (target column, note).

    Without `target`: the column called target, label, class or y, else the
    last.  Raises DataError on an unknown name.
    """
    if target is not None:
        if target not in table:
            raise DataError(
                f"{table.source} has no column {target!r} to predict. "
                f"{did_you_mean(target, table.names)}"
            )
        return target, ""
    folded = {name.lower(): name for name in reversed(table.names)}
    for name in _TARGET_NAMES:
        if name in folded:
            return folded[name], f"target `{folded[name]}`: chosen by its name"
    return table.names[-1], f"target `{table.names[-1]}`: the last column, as none was named"


def understand(
    columns: list[Column], roles: Mapping[str, str] | None = None
) -> tuple[Understanding, ...]:
    """Decide the role of each column from the training rows given.

    - text and booleans stored as words: one category per word; more than 32
      words keep the 32 most frequent, the rest become "other";
    - booleans and numbers: numbers (a boolean is 0 or 1);
    - dates: parts of the date;
    - dropped: a column of one value, of no value, of words that all differ, and a
      row number (whole numbers that all differ, either named like an id, or counting up
      from 0 or 1 through the file).

    `roles` overrides by name with "number", "category", "date" or "dropped".
    Raises OptionError on an unknown role, DataError on a role the column can't have.
    """
    asked = dict(roles or {})
    names = [column.name for column in columns]
    for name, role in asked.items():
        if name not in names:
            raise DataError(f"There is no feature {name!r}. {did_you_mean(name, names)}")
        if role not in ("number", "category", "date", "dropped"):
            known = ("number", "category", "date", "dropped")
            raise OptionError(f"Role {role!r} of {name!r} is unknown. {did_you_mean(role, known)}")
    found = [
        _obey(column, asked[column.name]) if column.name in asked else _decide(column)
        for column in columns
    ]
    if not any(item.used for item in found):
        # A lone counter may be the only thing to learn from: y = f(x), x = 0, 1, 2, ...
        for i, column in enumerate(columns):
            if found[i].role == "id" and column.kind == "number" and column.name not in asked:
                found[i] = Understanding(column.name, "number")
    return tuple(found)


def _obey(column: Column, role: str) -> Understanding:
    note = f"`{column.name}`: {role}, as asked"
    if role == "number" and column.spelling:
        note = _spelling_note(column)
    if role == "category":
        return _category(column, keep_any=True)
    if (role == "number" and column.kind not in ("number", "boolean")) or (
        role == "date" and column.kind != "date"
    ):
        raise DataError(f"Column {column.name!r} can't be a {role}: it holds {column.kind}.")
    if role == "number":
        return Understanding(column.name, "number", note)
    return Understanding(column.name, "date" if role == "date" else "dropped", note)


def _decide(column: Column) -> Understanding:
    name = column.name
    present = column.values[~column.missing]
    if len(present) == 0:
        return Understanding(name, "empty", f"dropped `{name}`: no row has a value")
    if column.kind == "text":
        return _category(column, keep_any=False)
    distinct = np.unique(present)
    if len(distinct) == 1 and not column.missing.any():
        shown = column.as_text()[0]
        return Understanding(name, "constant", f"dropped `{name}`: every value is {shown}")
    if column.kind == "date":
        return Understanding(name, "date")
    if column.kind == "number" and len(distinct) == len(column) > 2:
        if _ID_NAME.search(name.lower()) and bool((present == np.floor(present)).all()):
            return Understanding(name, "id", f"dropped `{name}`: every value differs")
        if _counts_up(column):
            return Understanding(name, "id", f"dropped `{name}`: it numbers the rows")
    return Understanding(name, "number", _spelling_note(column))


def _spelling_note(column: Column) -> str:
    """Return the line that says how the numbers of `column` were read; "" for plain ones."""
    if not column.spelling or column.cells is None:
        return ""
    row = int(np.argmin(column.missing))
    cell, value = column.cells[row].strip(), format_number(float(column.values[row]))
    return f"`{column.name}`: numbers written as {column.spelling}, so {cell!r} is {value}"


def _counts_up(column: Column) -> bool:
    """Whether `column` numbers the rows; rows that are held out leave gaps."""
    values = column.values
    if len(values) < 10 or values[0] < 0 or not np.isfinite(values).all():
        return False
    rising = bool((values == np.floor(values)).all() and (np.diff(values) > 0).all())
    rows = len(values) if column.origin is None else int(column.origin[-1]) + 1
    return rising and rows >= 0.5 * (values[-1] + 1)


def _category(column: Column, keep_any: bool) -> Understanding:
    name = column.name
    words, counts = np.unique(column.as_text()[~column.missing].astype(str), return_counts=True)
    total = int(counts.sum())
    if len(words) == 1 and not column.missing.any() and not keep_any:
        return Understanding(
            name, "constant", f"dropped `{name}`: every value is {str(words[0])!r}"
        )
    advice = advise(words.tolist())
    why = f"; {advice}" if advice else ""
    if len(words) == total > 1 and not keep_any:
        return Understanding(name, "id", f"dropped `{name}`: every value differs{why}")
    order = np.lexsort((words, -counts))  # ties in alphabetical order, so no run differs
    if len(words) <= MAX_LEVELS:
        note = f"`{name}`: {len(words)} categories{why}" if why and not keep_any else ""
        return Understanding(name, "category", note, levels=tuple(words[order].tolist()))
    kept = [i for i in order[:MAX_LEVELS] if counts[i] > 1]
    share = counts[kept].sum() / total
    if share < 0.05 and not keep_any:
        note = f"dropped `{name}`: free text, {len(words)} different values in {total} rows{why}"
        return Understanding(name, "text", note)
    note = (
        f"`{name}`: kept the {len(kept)} most frequent of {len(words)} values "
        f"({share:.0%} of the rows), the rest as 'other'{why}"
    )
    return Understanding(name, "category", note, tuple(words[kept].tolist()), other=True)
