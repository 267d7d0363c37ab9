"""A table prepared for training: read, split, and encoded by a pipeline.

The pipeline is fitted to the training rows alone.

Read next: :mod:`chainrule.tabular.table_training`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import DataError, OptionError, did_you_mean
from chainrule.core.wording import counted
from chainrule.data.builtin import Dataset, load, names, read_idx_folder
from chainrule.data.columns import Roles, as_said, choose_target, said_writing
from chainrule.data.copies import row_codes
from chainrule.data.gaps import said_missing, with_gaps
from chainrule.data.leaks import Leak, find_leaks
from chainrule.data.pipeline import Pipeline
from chainrule.data.pixels import PixelPipeline
from chainrule.data.preprocess import Preprocessing, plan
from chainrule.data.read import is_query, read_table
from chainrule.data.read_errors import reject_near_query
from chainrule.data.splits import (
    VALIDATION_FRACTION,
    mixed,
    split,
    split_folds,
    split_groups,
    split_parts,
    split_times,
)
from chainrule.data.streaming import stream as encode_to_disk
from chainrule.data.streaming import too_large_for_memory
from chainrule.data.table import Table
from chainrule.data.target import (
    Target,
    check_learnable,
    inspect_target,
    inspect_targets,
    target_names,
    without_orders,
)
from chainrule.data.together import (
    check_named,
    groups_of,
    times_of,
    weights_of,
)
from chainrule.data.unread import held_out_notes
from chainrule.train.progress import Progress

__all__ = ["Pair", "Problem", "fold_problems", "read_problem"]

Pair = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class Problem:
    """A table prepared for training: the pipeline, and the features and target of each part.

    `validation` is None if there are too few rows; `own_test` is True if the data set defines
    its test set.  `weights` are the weights of the training and the validation rows, if a column
    gives them.  `raw` is the data read (a table, or the pixels of test images) and the indices of
    the test rows in it, or None if it is no longer in memory.  `train_rows` are
    the indices of the training rows in the data read, or None if they are not known.  `leaks`
    are the columns that give the target away.

    `divides` is whether training and validation rows may be divided otherwise; `groups` are those
    of training and validation rows that must stay together.  `parts` are the parts of rows that
    :func:`chainrule.tabular.cross_fit.crossed` divided.
    """

    name: str
    pipeline: Pipeline | PixelPipeline
    train: Pair
    validation: Pair | None
    test: Pair
    own_test: bool = False
    weights: tuple[NDArray[Any] | None, NDArray[Any] | None] = (None, None)
    raw: tuple[Table | NDArray[Any], NDArray[np.intp]] | None = field(
        default=None, compare=False, repr=False
    )
    train_rows: NDArray[np.intp] | None = field(default=None, compare=False, repr=False)
    leaks: tuple[Leak, ...] = ()
    divides: bool = False
    groups: tuple[NDArray[np.intp], NDArray[np.intp]] | None = field(default=None, compare=False)
    parts: NDArray[np.intp] | None = field(default=None, compare=False, repr=False)

    @property
    def pixels(self) -> bool:
        """Whether the features are uint8 pixels of 0 to 255."""
        return isinstance(self.pipeline, PixelPipeline) and not self.pipeline.steps

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the columns of the features, each with that of its source column.

        Several features of one column are ``column=category`` or ``column.part``; a projection
        mixes columns, and gives "component 1" and so on.
        """
        names = self.pipeline.feature_names
        for step in getattr(self.pipeline, "steps", ()):
            names = step.feature_names(names)
        return names

    @property
    def rows(self) -> dict[str, int]:
        """The number of rows in each part."""
        held = 0 if self.validation is None else len(self.validation[0])
        return {"train": len(self.train[0]), "validation": held, "test": len(self.test[0])}


def read_problem(
    source: str | os.PathLike[str] | Table | Mapping[str, Any],
    target: str | Sequence[str] | None = None,
    *,
    task: str | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    roles: Roles | None = None,
    preprocess: Preprocessing = None,
    weight: str | None = None,
    stream: bool | None = None,
    skip: int | None = None,
    na: Sequence[str] | None = None,
    group: str | None = None,
    time: str | None = None,
    progress: bool = False,
) -> Problem:
    """Read `source`, split its rows, and fit the pipeline to the training rows.

    source: the name of a built-in data set, a file, a directory of IDX files, SQL, a Table, or
    a mapping of columns.  Classes keep their shares in every part.  Data sets with a test set
    keep it.  With a `test_fraction` of 0 there are no test rows, and no scores.

    With `stream` (None: for a file larger than a quarter of the memory) a file or SQL
    is encoded to disk, see :func:`chainrule.data.streaming.stream`; `progress` shows a progress
    bar for it.

    target: the column to predict, or several, whose rows must have them all: a list of names, or
    one text with commas between them.  roles may give the classes of a target an order.

    preprocess: "standardize" (None), "center", "minmax", "robust" or "none" for the numbers of
    each column; "pca", "whiten" or "zca" for all features together; a specification such as
    ``PCA(variance=0.95)``; or a list of a scaling and then a projection.  By default, images are
    not preprocessed, because all pixels have the same range.  roles: the roles of columns, see
    :func:`chainrule.data.columns.understand`.  weight: the column with the weight of each row in
    training; it is not a feature.  skip: the lines above the header of a file (None: found).
    na: words and numbers that mean "no value", as in ``["unknown", "-999", "age=0"]``.
    group: the column of groups, such as patients, whose rows are all in one part; it is no feature
    unless it has a role.  time: the column of times; the last rows are for testing, those before
    them for validation, so that no row of the future is trained on.
    Raises DataError or OptionError for data or options that can't be used.

    >>> problem = read_problem("iris")
    >>> problem.rows, problem.pipeline.classes[0]
    ({'train': 102, 'validation': 18, 'test': 30}, 'setosa')
    """
    plan(preprocess)  # check it before anything is read
    if not isinstance(source, (str, os.PathLike, Table)):
        source = Table.from_arrays(source)
    if stream is None:
        stream = not isinstance(source, Table) and too_large_for_memory(source)
    if group is not None and time is not None:
        raise OptionError("give group or time, not both: a split can keep to one of them.")
    if stream:
        options: dict[str, Any] = {"task": task, "test_fraction": test_fraction, "seed": seed}
        options |= {"roles": roles, "preprocess": preprocess, "skip": skip, "weight": weight}
        options |= {"na": tuple(na or ()), "group": group, "time": time}
        return _streamed_problem(source, target, options, progress)
    found = _open(source, skip, roles)
    if isinstance(found, Dataset):
        target = target if target is None or isinstance(target, str) else ", ".join(target)
        if roles or weight is not None:
            what = "roles can't be given" if roles else "it has no column of weights"
            raise DataError(f"{found.name} is a set of images; {what}.")
        return _image_problem(found, target, task, seed, preprocess)
    na = tuple(na or ())
    table, roles = _as_said(found, target, roles, na)
    rows = _split(table, target, task, test_fraction, seed, roles, _Together(group, time))
    kept = without_orders(roles, rows.target)
    options = {"roles": kept, "preprocess": preprocess, "na": na}
    if weight is not None or group is not None:
        named = {name: "dropped" for name in (group,) if name is not None}
        options["roles"] = {**named, **(kept or {}), **({weight: "dropped"} if weight else {})}
    problem = _table_problem(table, _title(source), rows, weight, options)
    copies = None if group or time else _copies_across(problem, table, rows)
    if copies is None:
        return problem
    apart = _split(table, target, task, test_fraction, seed, roles, _Together(codes=copies))
    return _table_problem(table, _title(source), apart, weight, options)


def fold_problems(
    source: str | os.PathLike[str] | Table | Mapping[str, Any],
    target: str | Sequence[str] | None = None,
    *,
    folds: int = 5,
    task: str | None = None,
    seed: int = 0,
    roles: Roles | None = None,
    preprocess: Preprocessing = None,
    weight: str | None = None,
    group: str | None = None,
    time: str | None = None,
    skip: int | None = None,
    na: Sequence[str] | None = None,
) -> list[Problem]:
    """Read `source`, and return a problem for each of `folds` parts of its rows, its test rows.

    Every row is a test row once, and classes keep their shares.  With `group`, and where rows are
    copies of others, rows of one group are in one part.  Each pipeline is fitted to its own
    training rows.  The arguments are those of :func:`read_problem`.
    Raises OptionError for a `time`, because folds would train on the future; DataError for a data
    set that defines its test set; and as :func:`read_problem` does.
    """
    plan(preprocess)
    if time is not None:
        raise OptionError(
            "folds can't be combined with time: they would train on the future; leave one out."
        )
    if not isinstance(source, (str, os.PathLike, Table)):
        source = Table.from_arrays(source)
    found = _open(source, skip, roles)
    if isinstance(found, Dataset):
        raise DataError(f"{found.name} has its own test set; it is not divided into folds.")
    na = tuple(na or ())
    table, roles = _as_said(found, target, roles, na)
    every, notes, kept, strata = _inspect(table, target, task, roles)
    dropped = {name: "dropped" for name in (group, weight) if name is not None}
    given = {**(without_orders(roles, every) or {}), **dropped}
    options = {"roles": given, "preprocess": preprocess, "na": na}
    groups = None
    if group is not None:
        check_named("group", group, table.names, every.names)
        groups = groups_of(table[group].take(kept))[0]

    def divided(groups: NDArray[Any] | None) -> Iterator[_Parts]:
        for train, held, test in split_folds(len(kept), strata, groups, folds, seed):
            held = None if held is None else kept[held]
            own = None if groups is None else _spread(groups, kept, len(table))
            yield _Parts(every, notes, kept[train], held, kept[test], own)

    def made(parts: _Parts) -> Problem:
        return _table_problem(table, _title(source), parts, weight, options)

    parts = list(divided(groups))
    first = made(parts[0])
    copies = None if group else _copies_across(first, table, parts[0])
    if copies is not None:
        return [made(part) for part in divided(copies[kept])]
    return [first, *(made(part) for part in parts[1:])]


def _as_said(
    found: Table, target: str | Sequence[str] | None, roles: Roles | None, na: Sequence[str]
) -> tuple[Table, Roles | None]:
    """Return the table and the roles with what the user said of gaps and of writing applied."""
    table = with_gaps(found, na)
    told = said_missing(found, table, na)
    named = target_names(target, table.names)
    table, roles = as_said(table, roles, named[0] if named else choose_target(table)[0])
    return replace(table, notes=(*table.notes, *told)), roles


def _open(
    source: str | os.PathLike[str] | Table, skip: int | None, roles: Roles | None
) -> Table | Dataset:
    if isinstance(source, Table):
        return source
    text = os.fspath(source)
    if not is_query(text) and not os.path.exists(text):
        reject_near_query(text)
    if text in names() and not Path(text).is_file():
        dataset = load(text)
        return dataset if dataset.X_test is not None else dataset.to_table()
    if is_query(text):
        return read_table(text, skip=skip)
    path = Path(text)
    if path.is_dir() and any(path.glob("train-images-idx3-ubyte*")):
        return read_idx_folder(path)
    if not path.exists() and not path.suffix and path.parent == Path():
        raise DataError(
            f"{text!r} is neither a built-in data set nor a file. {did_you_mean(text, names())} "
            "Give a file with its extension, such as houses.csv."
        )
    return read_table(path, skip=skip, writing=said_writing(roles))


def _title(source: str | os.PathLike[str] | Table) -> str:
    """Return a short name for runs on `source`."""
    text = source.source if isinstance(source, Table) else os.fspath(source)
    if is_query(text):
        return "query"
    kept = [c if c.isalnum() or c in "-_" else "-" for c in Path(text).name.split(".")[0]]
    return "".join(kept).strip("-") or "table"


@dataclass(frozen=True)
class _Parts:
    """The target of a table, and the rows of each part, all with a target.

    `groups` are those of all rows of the table; `ordered` parts follow one another in time.
    """

    target: Target
    notes: tuple[str, ...]
    train: NDArray[np.intp]
    validation: NDArray[np.intp] | None
    test: NDArray[np.intp]
    groups: NDArray[Any] | None = None
    ordered: bool = False


@dataclass(frozen=True)
class _Together:
    """What keeps rows in one part, or parts in order: a column of groups or times, or codes."""

    group: str | None = None
    time: str | None = None
    codes: NDArray[np.uint64] | None = None


def _split(
    table: Table,
    target: str | Sequence[str] | None,
    task: str | None,
    fraction: float,
    seed: int,
    roles: Roles | None,
    together: _Together,
) -> _Parts:
    found, notes, kept, strata = _inspect(table, target, task, roles)
    groups = None
    if together.time is not None:
        check_named("time", together.time, table.names, found.names)
        times, timed, told = times_of(table[together.time].take(kept))
        kept, notes = kept[timed], (*notes, told)
        train, validation, test = split_times(times, fraction)
    elif together.group is not None:
        check_named("group", together.group, table.names, found.names)
        groups, told = groups_of(table[together.group].take(kept))
        train, validation, test = split_groups(groups, strata, fraction, seed)
        notes = (*notes, told)
    elif together.codes is not None:
        groups = together.codes[kept]
        train, validation, test = split_groups(groups, strata, fraction, seed)
        copies = len(groups) - len(np.unique(groups))
        notes = (
            *notes,
            f"{counted(copies, 'row')} of {len(groups):,} are copies of others in every cell that "
            "is used; all copies of a row are in one part, so that no row is tested that was "
            "trained on",
        )
    else:
        rows = len(kept) if strata is None else strata
        train, validation, test = split_parts(rows, fraction, seed)
    held = None if validation is None else kept[validation]
    own = None if groups is None else _spread(groups, kept, len(table))
    return _Parts(found, notes, kept[train], held, kept[test], own, together.time is not None)


def _spread(groups: NDArray[Any], kept: NDArray[np.intp], rows: int) -> NDArray[np.intp]:
    """Return the number of the group of each row of a table, of which `kept` have one."""
    found = np.zeros(rows, np.intp)
    found[kept] = np.unique(groups, return_inverse=True)[1]
    return found


def _inspect(
    table: Table, target: str | Sequence[str] | None, task: str | None, roles: Roles | None
) -> tuple[Target, tuple[str, ...], NDArray[np.intp], NDArray[np.int64] | None]:
    """Return the target, the notes on it, the rows that have one, and the classes to stratify."""
    asked = target_names(target, table.names)
    if len(asked) > 1:
        found, kept, notes = inspect_targets(table, asked, task, roles)
    else:
        found, kept, notes = inspect_target(table, asked[0] if asked else None, task, roles=roles)
    every = found.parts or (found,)
    for one in every:
        check_learnable(one, table[one.name].take(kept), len(kept), table.source)
    # Only classes are stratified, those of the first target that has some.
    classes = next((one for one in every if one.task == "classification"), None)
    return found, notes, kept, None if classes is None else classes.encode_from(table, kept)


def _copies_across(problem: Problem, table: Table, parts: _Parts) -> NDArray[np.uint64] | None:
    """Return a code for each row, equal for copies, if some are trained and tested on."""
    names = [encoder.name for encoder in getattr(problem.pipeline, "encoders", ())]
    held = parts.test if parts.validation is None else np.r_[parts.validation, parts.test]
    codes = row_codes(table, [*names, *parts.target.names], np.arange(len(table)))
    if len(codes) == 0 or not np.isin(codes[held], codes[parts.train]).any():
        return None
    return codes


def _table_problem(
    table: Table, name: str, parts: _Parts, weight: str | None, options: Mapping[str, Any]
) -> Problem:
    weights = _weights(table, weight, parts)
    pipeline = Pipeline.fit(table, parts.target, rows=parts.train, **options)
    pipeline = replace(pipeline, notes=(*table.notes, *parts.notes, *pipeline.notes))

    def pair(rows: NDArray[np.intp]) -> Pair:
        return pipeline.transform(table, rows), pipeline.encode_target(table, rows)

    held_out = None if parts.validation is None else pair(parts.validation)
    pipeline = replace(pipeline, notes=(*pipeline.notes, *_held_out_notes(pipeline, table, parts)))
    train = pair(parts.train)
    given = tuple(options["roles"] or ())
    leaks = find_leaks(
        table, pipeline.encoders, parts.train, train[1], given, pipeline.target.parts
    )
    groups = None
    if parts.groups is not None and parts.validation is not None:
        groups = parts.groups[parts.train], parts.groups[parts.validation]
    return Problem(
        name, pipeline, train, held_out, pair(parts.test), weights=weights,
        raw=(table, parts.test), train_rows=parts.train, leaks=leaks,
        divides=held_out is not None and not parts.ordered and mixed(groups), groups=groups,
    )  # fmt: skip


def _held_out_notes(pipeline: Pipeline, table: Table, parts: _Parts) -> tuple[str, ...]:
    """Return the notes on cells that can't be read in validation and test rows."""
    held = parts.test if parts.validation is None else np.r_[parts.validation, parts.test]
    found = pipeline.unread(table, np.sort(held))
    return held_out_notes(found)


def _weights(
    table: Table, name: str | None, parts: _Parts
) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Return the weights of the training and the validation rows, from the column `name`."""
    if name is None:
        return None, None
    check_named("weight", name, table.names, parts.target.names)
    train = weights_of(table[name].take(parts.train))
    held = parts.validation
    return train, None if held is None else weights_of(table[name].take(held))


def _streamed_problem(
    source: str | os.PathLike[str] | Table,
    target: str | Sequence[str] | None,
    options: dict[str, Any],
    progress: bool,
) -> Problem:
    if isinstance(source, Table) or (os.fspath(source) in names() and not Path(source).is_file()):
        raise DataError("only files and SQL can be streamed; this table is already in memory.")
    with Progress(progress, 1, 1) as bar:

        def watch(done: int, rows: int) -> None:
            bar.rows = rows
            bar.advance(1, done)

        streamed = encode_to_disk(source, target, watch=watch, **options)
    return Problem(
        _title(source), streamed.pipeline, streamed.train, streamed.validation, streamed.test,
        weights=streamed.weights, leaks=streamed.leaks,
    )  # fmt: skip


def _image_problem(
    dataset: Dataset, target: str | None, task: str | None, seed: int, preprocess: Preprocessing
) -> Problem:
    if target not in (None, "label") or task == "regression":
        asked = f"column {target!r}" if target not in (None, "label") else "regression"
        raise DataError(
            f"{dataset.name} is a set of labelled images, whose target is the label; "
            f"it can't be used for {asked}."
        )
    if dataset.X_test is None or dataset.y_test is None:
        raise DataError(f"{dataset.name} has no test set.")
    classes = dataset.target_names or tuple(str(k) for k in range(int(dataset.y.max()) + 1))
    pipeline = PixelPipeline(
        dataset.feature_names,
        Target("label", "classification", tuple(classes)),
        ("pixels of 0 to 255 are scaled to 0 to 1; they share one range already",),
    )
    train, held = split(dataset.y, VALIDATION_FRACTION / 1.5, seed + 1)
    pipeline = pipeline.fit(plan(preprocess), dataset.X[train])
    return Problem(
        dataset.name,
        pipeline,
        (pipeline.encode(dataset.X[train]), dataset.y[train]),
        (pipeline.encode(dataset.X[held]), dataset.y[held]),
        (pipeline.encode(dataset.X_test), dataset.y_test),
        own_test=True,
        raw=(dataset.X_test, np.arange(len(dataset.X_test))),
        train_rows=train,
    )
