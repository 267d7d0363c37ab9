"""Split rows into training, validation and test sets, or into folds.

Splits are arrays of row indices.  They are reproducible from a seed, and can be stratified so
that every class is in each set.

Read next: :mod:`chainrule.data.check_arrays`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.core.errors import DataError, OptionError
from chainrule.core.options import is_number

__all__ = [
    "folds", "hold_out", "mixed", "split", "split_folds", "split_groups", "split_parts",
    "split_times", "stratified_folds",
]  # fmt: skip

Rows = NDArray[np.intp]
VALIDATION_FRACTION = 0.15
_DRAWS = 20  # of groups of unequal sizes
_FEWEST_GROUPS = 4  # to be divided into parts other than those of a split
_FEWEST_TO_VALIDATE = 40  # with fewer rows, all of them are needed for training


def split(
    y_or_n: ArrayLike, test_fraction: float = 0.2, seed: int = 0, stratify: bool | None = None
) -> tuple[Rows, Rows]:
    """Return (train_rows, test_rows), sorted; the same seed gives the same rows.

    `y_or_n` is the target or a number of rows.  `stratify` (default: True if the
    target does not contain floats) keeps the share of each class; then each class of
    two rows or more is in both sets, and a class of one row in the training set.
    Raises OptionError on a fraction outside (0, 1), DataError on fewer than two rows.

    >>> train, test = split([0, 0, 0, 1, 1, 1], test_fraction=0.34, seed=1)
    >>> len(train), sorted(int(row) // 3 for row in test)
    (4, [0, 1])
    """
    if not is_number(test_fraction):
        raise OptionError(
            f"split: test_fraction must be a number between 0 and 1, not "
            f"{type(test_fraction).__name__}. split takes only the target and returns row indices: "
            "train, test = split(y, 0.2)."
        )
    if not 0.0 < test_fraction < 1.0:
        raise OptionError(
            f"test_fraction must be between 0 and 1, both excluded; got {test_fraction}."
        )
    y, n = _target_and_count(y_or_n)
    if n < 2:
        raise DataError(f"A split needs at least 2 rows, one for each set; got {n}.")
    if stratify is None:
        stratify = y is not None and y.dtype.kind != "f"
    rng = _generator(seed)
    wanted = min(max(round(n * test_fraction), 1), n - 1)
    if not stratify:
        test = np.sort(rng.permutation(n)[:wanted])
    else:
        if y is None:
            raise OptionError("stratify needs the target, not a number of rows.")
        groups = _groups(y)
        counts = _share(np.array([len(group) for group in groups]), wanted)
        if counts.sum() == 0:
            raise DataError(
                "Every class has one row, so none can be tested. Use stratify=False, or more rows."
            )
        picked = [rng.permutation(g)[:k] for g, k in zip(groups, counts, strict=True)]
        test = np.sort(np.concatenate(picked))
    return _others(n, test), test


def split_parts(
    classes_or_n: NDArray[np.int64] | int, test_fraction: float = 0.2, seed: int = 0
) -> tuple[Rows, Rows | None, Rows]:
    """Return sorted (train, validation, test) rows; validation is None if there are too few rows.

    Classes, given as indices from 0, keep their shares.  The validation set is 15 % of the rows
    that are not in the test set, which is empty for a `test_fraction` of 0.

    >>> [len(part) for part in split_parts(100)]
    [68, 12, 20]
    """
    if test_fraction == 0:
        every = np.arange(classes_or_n if isinstance(classes_or_n, int) else len(classes_or_n))
        return *hold_out(classes_or_n, every, seed), every[:0]
    learn, test = split(classes_or_n, test_fraction, seed)
    return *hold_out(classes_or_n, learn, seed), test


def hold_out(
    classes_or_n: NDArray[np.int64] | int, learn: Rows, seed: int = 0
) -> tuple[Rows, Rows | None]:
    """Divide the rows `learn` into (train, validation), as `split_parts` does.

    >>> [len(part) for part in hold_out(100, np.arange(80))]
    [68, 12]
    """
    strata = None if isinstance(classes_or_n, int) else classes_or_n[learn]
    if len(learn) < _FEWEST_TO_VALIDATE or (
        strata is not None and np.bincount(strata).max() < 2  # every class stays in training
    ):
        return learn, None
    inner, held = split(len(learn) if strata is None else strata, VALIDATION_FRACTION, seed + 1)
    return learn[inner], learn[held]


def split_groups(
    groups: ArrayLike,
    classes: NDArray[np.int64] | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> tuple[Rows, Rows | None, Rows]:
    """Return (train, validation, test) rows with all rows of a group in one of them.

    Of several draws of groups, the one is used whose share of test rows is nearest to
    `test_fraction`.  The shares of `classes` are kept as far as the first rows of groups have
    them.  For a fraction of 0, no rows are for testing.  Raises DataError for fewer than two
    groups.

    >>> train, _, test = split_groups(["a", "a", "b", "b", "c"], test_fraction=0.4)
    >>> len(train), len(test)
    (3, 2)
    """
    _, first, codes = np.unique(np.asarray(groups), return_index=True, return_inverse=True)
    if len(first) < 2:
        raise DataError("All rows are of one group; a split needs two groups or more.")
    strata = None if classes is None else classes[first]
    learn, test = _draw_groups(codes, len(first), strata, test_fraction, seed)
    inside = np.flatnonzero(np.isin(codes, learn))
    if len(inside) < _FEWEST_TO_VALIDATE or len(learn) < 2:
        return inside, None, np.flatnonzero(np.isin(codes, test))
    left = None if strata is None else strata[learn]
    renumbered = np.searchsorted(learn, codes[inside])
    inner, held = _draw_groups(renumbered, len(learn), left, VALIDATION_FRACTION, seed + 1)
    return (
        inside[np.isin(renumbered, inner)],
        inside[np.isin(renumbered, held)],
        np.flatnonzero(np.isin(codes, test)),
    )


def _draw_groups(
    codes: Rows, count: int, strata: NDArray[np.int64] | None, fraction: float, seed: int
) -> tuple[Rows, Rows]:
    """Return (groups kept, groups held out) of the draw with the share nearest to `fraction`."""
    if fraction == 0:
        return np.arange(count), np.arange(0)
    sizes = np.bincount(codes, minlength=count)
    if strata is not None and np.bincount(strata).max() < 2:
        strata = None
    drawn = [
        split(count if strata is None else strata, fraction, seed + 1_000_003 * k)
        for k in range(1 if np.ptp(sizes) == 0 else _DRAWS)
    ]
    return min(drawn, key=lambda pair: abs(float(sizes[pair[1]].sum()) / len(codes) - fraction))


def mixed(groups: Sequence[ArrayLike] | None) -> bool:
    """Return whether rows in these `groups`, arrays of one set or of several, fall into parts.

    There are at least four groups then, and none has most of the rows.  None: rows on their own.

    >>> mixed(None), mixed([[1, 2], [3, 4]]), mixed([[1, 2, 3, 4, 1, 1, 1]])
    (True, True, False)
    """
    if groups is None:
        return True
    sizes = np.unique(np.concatenate(groups), return_counts=True)[1]
    return len(sizes) >= _FEWEST_GROUPS and bool(sizes.max() <= sizes.sum() / 2)


def split_times(times: NDArray[Any], test_fraction: float = 0.2) -> tuple[Rows, Rows | None, Rows]:
    """Return (train, validation, test) rows in the order of `times`, the last rows for testing.

    Rows of one time are in one part, so that no part holds times of a later one.  For a fraction of
    0, no rows are for testing.  Raises DataError if all times are equal.

    >>> [part.tolist() for part in split_times(np.array([3, 1, 2, 4, 4]), 0.2) if part is not None]
    [[0, 1, 2], [3, 4]]
    """
    learn, test = _last(times, test_fraction)
    if len(learn) < _FEWEST_TO_VALIDATE or np.ptp(times[learn]) == 0:
        return learn, None, test
    inner, held = _last(times[learn], VALIDATION_FRACTION)
    return learn[inner], learn[held], test


def _last(times: NDArray[Any], fraction: float) -> tuple[Rows, Rows]:
    """Return (earlier rows, last rows), the latter about the share `fraction`."""
    if fraction == 0:
        return np.arange(len(times)), np.arange(0)
    if len(times) < 2 or times.min() == times.max():
        raise DataError("All rows are of one time; a split by time needs two times or more.")
    n = len(times)
    wanted = min(max(round(n * fraction), 1), n - 1)
    border = max(np.sort(times)[n - wanted], np.unique(times)[1])
    return np.flatnonzero(times < border), np.flatnonzero(times >= border)


def split_folds(
    n: int,
    classes: NDArray[np.int64] | None,
    groups: NDArray[Any] | None,
    k: int,
    seed: int = 0,
) -> list[tuple[Rows, Rows | None, Rows]]:
    """Return `k` times (train, validation, test) rows of `n`, with each row in one test set.

    Classes keep their shares, or all rows of one of the `groups` are in one set.  The validation
    set is that of :func:`split_parts`, 15 % of the rows or groups that are not in the test set.

    >>> [[len(part) for part in parts] for parts in split_folds(100, None, None, 2)]
    [[42, 8, 50], [42, 8, 50]]
    """
    if groups is None:
        pairs = folds(n, k, seed) if classes is None else stratified_folds(classes, k, seed)
        whole = n if classes is None else classes
        return [(*hold_out(whole, learn, seed), test) for learn, test in pairs]
    codes = np.unique(groups, return_inverse=True)[1]
    found: list[tuple[Rows, Rows | None, Rows]] = []
    for _, some in folds(int(codes.max()) + 1, k, seed):
        test = np.flatnonzero(np.isin(codes, some))
        learn = _others(n, test)
        own = codes[learn]
        if len(learn) < _FEWEST_TO_VALIDATE or own.min() == own.max():
            found.append((learn, None, test))
            continue
        strata = None if classes is None else classes[learn]
        inner, more, held = split_groups(own, strata, VALIDATION_FRACTION, seed + 1)
        train = inner if more is None else np.sort(np.r_[inner, more])
        found.append((learn[train], learn[held], test))
    return found


def folds(n: int, k: int, seed: int = 0) -> list[tuple[Rows, Rows]]:
    """Return `k` pairs (train_rows, test_rows), with each of `n` rows in one test set.

    Raises OptionError on fewer than two folds, DataError on fewer rows than folds.

    >>> sorted(row for _, test in folds(4, 2) for row in test.tolist())
    [0, 1, 2, 3]
    """
    _check_folds(n, k)
    return _pairs(np.array_split(_generator(seed).permutation(n), k), n)


def stratified_folds(y: ArrayLike, k: int, seed: int = 0) -> list[tuple[Rows, Rows]]:
    """Return `k` folds in which the numbers of rows of each class differ by at most one.

    Raises OptionError on fewer than two folds, DataError on fewer rows than folds or a
    class with fewer than two rows.
    """
    labels = np.asarray(y)
    _check_folds(len(labels), k)
    groups = _groups(labels)
    for group in groups:
        if len(group) < 2:
            raise DataError(
                f"Class {labels[group[0]]!s} has one row (row {group[0]}); folds need two of each."
            )
    rng = _generator(seed)
    # Dealing the classes one after another, like cards, also keeps the sizes of the folds equal.
    dealt = np.concatenate([rng.permutation(group) for group in groups])
    return _pairs([dealt[i::k] for i in range(k)], len(labels))


def _generator(seed: int) -> np.random.Generator:
    if seed < 0:
        raise OptionError(f"seed must be 0 or more; got {seed}.")
    return np.random.Generator(np.random.Philox(seed))


def _target_and_count(y_or_n: ArrayLike) -> tuple[NDArray[Any] | None, int]:
    array = np.asarray(y_or_n)
    if array.ndim == 0:
        if array.dtype.kind not in "iu":
            raise DataError(f"Give a target or a number of rows; got {y_or_n!r}.")
        return None, int(array)
    if array.ndim != 1:
        raise DataError(f"The target must be one-dimensional; its shape is {array.shape}.")
    return array, len(array)


def _groups(y: NDArray[Any]) -> list[Rows]:
    _, codes = np.unique(y, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    groups: list[Rows] = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    return groups


def _share(sizes: NDArray[np.intp], wanted: int) -> NDArray[np.intp]:
    """Distribute `wanted` test rows over classes by largest remainder, 1 to size - 1 each."""
    low, high = np.minimum(sizes - 1, 1), sizes - 1
    exact = sizes * (wanted / sizes.sum())
    counts: NDArray[np.intp] = np.clip(np.floor(exact).astype(np.intp), low, high)
    while counts.sum() < wanted and (counts < high).any():
        lack = np.where(counts < high, exact - counts, -np.inf)
        counts[np.argmax(lack)] += 1
    return counts


def _others(n: int, rows: Rows) -> Rows:
    """Return the indices below `n` that are not in `rows`; needs one byte of memory per row."""
    left = np.ones(n, dtype=bool)
    left[rows] = False
    return np.flatnonzero(left)


def _check_folds(n: int, k: int) -> None:
    if k < 2:
        raise OptionError(f"k must be 2 folds or more; got {k}.")
    if n < k:
        raise DataError(f"{k} folds need at least {k} rows; got {n}.")


def _pairs(tests: list[Rows], n: int) -> list[tuple[Rows, Rows]]:
    return [(_others(n, test), np.sort(test)) for test in tests]
