"""Choose the role of each column: how it is used as a feature, or why it is dropped.

The reason for each choice is given as a readable note, so that a user can correct it.

Read next: :mod:`chainrule.data.encode`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np

from chainrule.core.errors import DataError, OptionError, did_you_mean
from chainrule.core.wording import counted
from chainrule.data.dates import parse_date
from chainrule.data.spelling import advise
from chainrule.data.table import Column, Table, format_number, reread
from chainrule.data.writing import Writing, split_role

__all__ = [
    "MAX_LEVELS",
    "Role",
    "Roles",
    "Understanding",
    "as_said",
    "choose_target",
    "natural_order",
    "said_writing",
    "understand",
]

Role = Literal[
    "number", "category", "ordinal", "embedded", "date", "cyclic",
    "id", "constant", "empty", "text", "dropped",
]  # fmt: skip
"""Columns with a role of the first line are features; the others are dropped."""

Roles = Mapping[str, str | Sequence[str]]
"""Roles of columns by name: a role, or the ordered categories of an ordinal column."""

MAX_LEVELS = 32
MAX_EMBEDDED = 10_000
_YEARS = (1800, 2100)
_USED = ("number", "category", "ordinal", "embedded", "date", "cyclic")
_SHOWN_LEVELS = 6
_TARGET_NAMES = ("target", "label", "class", "y")
_ID_NAME = re.compile(r"(^|[_\W])(id|uuid|guid|index|key|rowid|row|unnamed)$|^column1$")


@dataclass(frozen=True)
class Understanding:
    """The role of one column, and the note that reports it.

    `levels` are the categories kept, most frequent first, or those of an ordinal column in
    order; `other` is True if rarer categories were merged.
    """

    name: str
    role: Role
    note: str = ""
    levels: tuple[str, ...] = ()
    other: bool = False

    @property
    def used(self) -> bool:
        """Whether the column is a feature."""
        return self.role in _USED


def choose_target(table: Table, target: str | None = None) -> tuple[str, str]:
    """Return (target column, note).

    Without `target`: the column called target, label, class or y, otherwise the
    last column.  Raises DataError on an unknown name.
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


def said_writing(roles: Roles | None) -> dict[str, Writing]:
    """Return how columns are written, by name, as roles like ``number(thousands=",")`` say.

    Raises OptionError for a role that says something else in parentheses.
    """
    split = {k: split_role(role) for k, role in (roles or {}).items() if isinstance(role, str)}
    return {name: written for name, (_, written) in split.items() if written is not None}


def as_said(table: Table, roles: Roles | None, target: str) -> tuple[Table, Roles | None]:
    """Return `table` with its cells read as `roles` say, and the roles without what they say.

    The role "number" of the target is left out, because it is no feature.
    """
    said = said_writing(roles)
    if not said or roles is None:
        return table, roles
    columns = tuple(reread(c, said[c.name]) if c.name in said else c for c in table)
    plain = {
        name: split_role(role)[0] if name in said and isinstance(role, str) else role
        for name, role in roles.items()
    }
    if target in said and plain[target] == "number":
        del plain[target]
    return replace(table, columns=columns), plain


def understand(columns: list[Column], roles: Roles | None = None) -> tuple[Understanding, ...]:
    """Return the role of each column, chosen from its training rows.

    - text, and columns that a frame declares categorical: categories, the 32 most frequent words
      and "other" for the rest;
    - booleans and numbers: numbers (a boolean is 0 or 1);
    - dates: the parts of the date;
    - dropped: columns with a single value, without any value, with text that differs in every
      row, and row numbers (whole numbers that all differ, and that either have a name like an
      id, count up from 0 or 1 through the file, or increase by one in each row from any start
      that is not a year).

    `roles` overrides the choice by column name:

    - "number", "category", "date" or "dropped"; 'number(thousands=",")', 'number(decimal=",")',
      "date(dayfirst)" and "date(monthfirst)" also say how the cells are written;
    - "ordinal": the rank of each word in natural order ("grade 2" before "grade 10"); a list of
      words gives another order;
    - "embedded": category indices, for up to 10,000 categories, that an embedding layer reads;
      words that occur once share an index, so that new words have a trained vector;
    - "cyclic": a date whose month, day, weekday and hour become the sine and cosine of an angle,
      so that December is close to January.

    Raises OptionError on an unknown role, DataError on a role that does not fit the column.
    """
    asked = dict(roles or {})
    names = [column.name for column in columns]
    for name, role in asked.items():
        if name not in names:
            raise DataError(f"There is no feature {name!r}. {did_you_mean(name, names)}")
        if isinstance(role, str) and role not in (*_USED, "dropped"):
            hint = did_you_mean(role, (*_USED, "dropped"))
            raise OptionError(f"Role {role!r} of {name!r} is unknown. {hint}")
    found = [
        _obey(column, asked[column.name]) if column.name in asked else _decide(column)
        for column in columns
    ]
    if not any(item.used for item in found):
        # A counter may be the only feature: y = f(x), x = 0, 1, 2, ...
        for i, column in enumerate(columns):
            if found[i].role == "id" and column.kind == "number" and column.name not in asked:
                found[i] = Understanding(column.name, "number")
    return tuple(found)


def _obey(column: Column, role: str | Sequence[str]) -> Understanding:
    name = column.name
    if role != "dropped" and column.missing.all():
        raise DataError(f"Column {name!r} has no values in the training rows, so it can't be used.")
    if not isinstance(role, str):
        return _ordered(column, [str(word) for word in role])
    kinds = {"number": ("number", "boolean"), "date": ("date",), "cyclic": ("date",)}
    if column.kind not in kinds.get(role, (column.kind,)):
        raise DataError(f"Column {name!r} can't have the role {role!r}: its kind is {column.kind}.")
    if role == "category":
        return _category(column, keep_any=True)
    if role == "embedded":
        found = _category(column, keep_any=True, most=MAX_EMBEDDED, keep_lone=False)
        count = counted(len(found.levels), "category", "categories")
        note = found.note or f"`{name}`: {count}, embedded, as given"
        return replace(found, role="embedded", note=note)
    if role == "ordinal":
        return _ordered(column, natural_order(column))
    note = f"`{name}`: {role}, as given"
    if role == "number":
        return Understanding(name, "number", _spelling_note(column) or note)
    return Understanding(name, cast(Role, role), note)


def _ordered(column: Column, levels: Sequence[str]) -> Understanding:
    name = column.name
    if len(set(levels)) < max(2, len(levels)):
        raise OptionError(
            f"The order of {name!r} must list two or more different words; got {list(levels)}."
        )
    cells = column.as_text()
    strange = np.flatnonzero(~column.missing & ~np.isin(cells.astype(str), levels))
    if len(strange):
        cell = str(cells[strange[0]])
        raise DataError(
            f"Row {column.row_number(strange[0])} of column {name!r} is {cell!r}, which is not in "
            f"the order given. {did_you_mean(cell, levels)}"
        )
    shown = [*levels[: _SHOWN_LEVELS - 1], "...", levels[-1]]
    order = " < ".join(levels if len(levels) <= _SHOWN_LEVELS else shown)
    return Understanding(name, "ordinal", f"`{name}`: {order}, as given", tuple(levels))


def natural_order(column: Column) -> list[str]:
    """Return the words of `column` in natural order: digits in them compare as numbers."""
    words = np.unique(column.as_text()[~column.missing].astype(str)).tolist()
    if column.kind == "number" and not column.spelling:
        return sorted(words, key=float)

    def key(word: str) -> list[str | int]:
        parts = re.split(r"(\d+)", word.lower())  # the parts with odd index are digits
        return [int(part) if i % 2 else part for i, part in enumerate(parts)]

    return sorted(words, key=key)


def _decide(column: Column) -> Understanding:
    name = column.name
    present = column.values[~column.missing]
    if len(present) == 0:
        return Understanding(name, "empty", f"dropped `{name}`: no row has a value")
    if column.kind == "text" or column.categorical:
        return _category(column, keep_any=False)
    distinct = np.unique(present)
    if len(distinct) == 1 and not column.missing.any():
        shown = column.as_text()[0]
        return Understanding(name, "constant", f"dropped `{name}`: every value is {shown}")
    if column.kind == "date":
        return Understanding(name, "date", _order_note(column))
    if column.kind == "number" and len(distinct) == len(column) > 2:
        if _ID_NAME.search(name.lower()) and bool((present == np.floor(present)).all()):
            return Understanding(name, "id", f"dropped `{name}`: every value differs")
        if _counts_up(column):
            return Understanding(name, "id", f"dropped `{name}`: it numbers the rows")
    return Understanding(name, "number", _spelling_note(column))


def _spelling_note(column: Column) -> str:
    """Return the note on how the numbers of `column` were read; "" for plain numbers."""
    if not column.spelling or column.cells is None:
        return ""
    told = column.missing | np.array([cell.strip().isdecimal() for cell in column.cells])
    row = int(np.argmin(told if not told.all() else column.missing))
    cell, value = column.cells[row].strip(), format_number(float(column.values[row]))
    why = f"; {column.writing.why}" if column.writing.why else ""
    return f"`{column.name}`: numbers written as {column.spelling}, so {cell!r} is {value}{why}"


def _order_note(column: Column) -> str:
    """Return the note on dates in several formats, or with days and months that can be exchanged.

    It is "" for others.
    """
    forms = column.date_format.split("|")
    if column.cells is None:
        return ""
    row = next(
        (
            row
            for row in np.flatnonzero(~column.missing).tolist()
            if re.match(r"\d{1,2}[/-]\d{1,2}[/-]", column.cells[row].strip())
        ),
        None,
    )
    if row is None or column.writing.day_first is not None:
        shown = ", ".join(f"{_example(column, form)!r}" for form in forms)
        return (
            f"`{column.name}`: dates written in several ways, such as {shown}"
            if (len(forms) > 1)
            else ""
        )
    cell, meant = column.cells[row].strip(), str(column.values[row])[:10]
    return (
        f"`{column.name}`: no day is above 12, so {cell!r} was read month first, as {meant}; if "
        f"the day is first, say --role '{column.name}=date(dayfirst)'"
    )


def _example(column: Column, form: str) -> str:
    """Return the first cell of `column` in the date format `form`."""
    cells = (cell.strip() for cell in (() if column.cells is None else column.cells))
    return next((cell for cell in cells if parse_date(cell, form) is not None), form)


def _counts_up(column: Column) -> bool:
    """Whether `column` is a row number, with gaps where rows are held out."""
    values = column.values
    if len(values) < 10 or values[0] < 0 or not np.isfinite(values).all():
        return False
    rising = bool((values == np.floor(values)).all() and (np.diff(values) > 0).all())
    origin = np.arange(len(values)) if column.origin is None else column.origin
    rows = int(origin[-1]) + 1
    if rising and rows >= 0.5 * (values[-1] + 1):
        return True
    # Any start is a row number if each row adds one, except years, which are a feature.
    years = values[0] >= _YEARS[0] and values[-1] <= _YEARS[1]
    return bool(len(np.unique(values - origin)) == 1) and not years


def _case_advice(words: list[str]) -> str:
    """Return the note on two of `words` that differ only in case; "" if there are none."""
    seen: dict[str, str] = {}
    for word in words:
        other = seen.setdefault(word.casefold(), word)
        if other != word:
            return f"{other!r} and {word!r}, different in case alone, count as two"
    return ""


def _category(
    column: Column, keep_any: bool, most: int = MAX_LEVELS, keep_lone: bool = True
) -> Understanding:
    name = column.name
    words, counts = np.unique(column.as_text()[~column.missing].astype(str), return_counts=True)
    total = int(counts.sum())
    if len(words) == 1 and not column.missing.any() and not keep_any:
        return Understanding(
            name, "constant", f"dropped `{name}`: every value is {str(words[0])!r}"
        )
    advice = advise(words.tolist(), name) or _case_advice(words.tolist())
    why = f"; {advice}" if advice else ""
    if len(words) == total > 1 and not keep_any:
        return Understanding(name, "id", f"dropped `{name}`: every value differs{why}")
    order = np.lexsort((words, -counts))  # ties in alphabetical order, for reproducibility
    if len(words) <= most and (keep_lone or counts.min() > 1):
        note = (
            f"`{name}`: {counted(len(words), 'category', 'categories')}{why}"
            if why and not keep_any
            else ""
        )
        return Understanding(name, "category", note, levels=tuple(words[order].tolist()))
    kept = [i for i in order[:most] if counts[i] > 1]
    share = counts[kept].sum() / total
    if share < 0.05 and not keep_any:
        note = f"dropped `{name}`: free text, {len(words)} different values in {total} rows{why}"
        return Understanding(name, "text", note)
    note = (
        f"`{name}`: kept the {len(kept)} most frequent of {len(words)} values "
        f"({share:.0%} of the rows), the rest as 'other'{why}"
    )
    return Understanding(name, "category", note, tuple(words[kept].tolist()), other=True)
