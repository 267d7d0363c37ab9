"""The inputs of `bench/bad_input.py`: data made in code, and what chainrule is to answer to each.

Read next: `bench/bad_input.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

__all__ = ["CASES", "CLEAN", "Answer", "Case", "Data"]

Array = np.ndarray[Any, Any]
Kind = Literal["error", "warning", "finding", "note", "right", "wrong"]


@dataclass(frozen=True)
class Data:
    """What is trained on, and what is asked afterwards: `true` are the right answers for `new`.

    The data are arrays X and y, or CSV files: then X is the file to train on, whose target is the
    column ``y``, and `new` the file to predict for.  `true` is None where no answer is right.
    """

    X: Any
    y: Any
    new: Any
    true: Any
    task: Literal["classes", "values"] = "classes"
    outputs: int = 3
    rate: float = 0.01
    loss: str = ""  # "" is cross-entropy for classes and mse for values
    weight: Any = None
    flat: bool = False  # whether the output of the network has shape (rows,)
    as_given: bool = False  # whether y keeps its shape where the loss needs (rows, 1)


class Answer(NamedTuple):
    """A kind of answer that is wanted, and words that it contains: the place, or the cause.

    "right" and "wrong" are silent; "wrong" is for what an array can't show, such as its units.
    """

    kind: Kind
    says: str = ""


@dataclass(frozen=True)
class Case:
    """One bad input, and the answers wanted of `cr.fit` and of `fit_table`; None: it can't ask."""

    name: str
    make: Callable[[], Data]
    fit: Answer | None
    table: Answer | None


CENTERS = np.array([[2.0, 0, 0, 1], [0, 2.0, 1, 0], [-1.0, -1, 2, 0]])


def _blobs(rows: int, seed: int) -> tuple[Array, Array]:
    y = np.arange(rows) % 3
    return CENTERS[y] + 0.6 * np.random.default_rng(seed).normal(size=(rows, 4)), y


def classes(**changes: Any) -> Data:
    """Return three classes that are told apart with an accuracy of 0.98, with `changes`."""
    (X, y), (new, true) = _blobs(300, 0), _blobs(150, 1)
    return replace(Data(X, y, new, true), **changes)


def two() -> Data:
    """Return the three classes for a network with an output for each of two."""
    return classes(outputs=2)


def values(**changes: Any) -> Data:
    """Return real values that are known but for 1 % of their variance, with `changes`."""
    generator = np.random.default_rng(2)
    X, new = generator.normal(size=(300, 4)), generator.normal(size=(150, 4))
    slopes = np.array([1.0, -2.0, 0.5, 0.0])
    y = X @ slopes + 0.2 * generator.normal(size=300)
    return replace(Data(X, y, new, new @ slopes, "values", 1), **changes)


def _put(array: Array, place: Any, value: Any) -> Array:
    changed = array.copy() if array.dtype.kind == "f" else array.astype(float)
    changed[place] = value
    return changed


def features(change: Callable[[Array], Any], base: Callable[[], Data] = classes) -> Data:
    """Return the clean data with changed features, before and after training."""
    data = base()
    return replace(data, X=change(data.X), new=change(data.new))


def targets(change: Callable[[Array], Any], base: Callable[[], Data] = classes) -> Data:
    """Return the clean data with changed targets; the right answers are changed alike."""
    data = base()
    return replace(data, y=change(data.y), true=change(data.true))


def _nan_in_targets() -> Data:
    data = values()
    return replace(data, y=_put(data.y, slice(10, 14), np.nan))


def _masked(X: Array) -> Any:
    hidden = np.zeros(X.shape, bool)
    hidden[::7, 1] = True
    return np.ma.masked_array(np.where(hidden, -9999.0, X), mask=hidden)


def _mismatch() -> Data:
    data = classes()
    return replace(data, y=data.y[10:])


def _imbalance() -> Data:
    generator = np.random.default_rng(3)

    def draw(rare: int, usual: int) -> tuple[Array, Array]:
        y = np.repeat([1, 0], [rare, usual])
        return generator.normal(size=(len(y), 4)) + 0.9 * y[:, None], y

    (X, y), (new, true) = draw(10, 990), draw(100, 100)
    return Data(X, y, new, true, outputs=2)


def _weights() -> Data:
    data = classes()
    return replace(data, weight=np.where(np.arange(300) % 7 == 5, -1.0, 1.0))


def _one_hot(factor: float, loss: str = "") -> Data:
    data = classes()
    return replace(data, y=np.eye(3, dtype=np.float32)[data.y] * factor, loss=loss)


def _one_dimension() -> Data:
    data = values()
    return replace(data, X=data.X[:, 1], y=-2 * data.X[:, 1], new=data.new[:, 1],
                   true=-2 * data.new[:, 1])  # fmt: skip


def _small_integers() -> Data:
    """Return grids of 8 by 8 whole numbers from 0 to 9: of type uint8 in the shape of images."""
    generator = np.random.default_rng(4)
    y, true = np.arange(300) % 3, np.arange(150) % 3
    patterns = generator.integers(0, 10, (3, 8, 8))

    def draw(k: Array) -> Array:
        noise = generator.integers(0, 10, (len(k), 8, 8))
        return np.where(generator.random((len(k), 8, 8)) < 0.6, noise, patterns[k]).astype(np.uint8)

    return Data(draw(y), y, draw(true), true)


def _bits() -> Data:
    data = _small_integers()
    return replace(data, X=(data.X > 4).astype(np.uint8), new=(data.new > 4).astype(np.uint8))


def _after(change: Callable[[Array], Any], **more: Any) -> Data:
    """Return the clean data with features that are changed at prediction only."""
    data = classes()
    return replace(data, new=change(data.new), **more)


def _hole(value: float) -> Data:
    """Return rows of class 2 with a number that is none, at prediction only."""
    data = classes()
    return replace(data, new=_put(data.new, (data.true == 2, 1), value))


# --- files ------------------------------------------------------------------------------------

TOWNS = ("Köln", "Zürich", "Wien")


def _rows(count: int, seed: int) -> list[dict[str, Any]]:
    generator = np.random.default_rng(seed)
    rows = []
    for k in range(count):
        a, b = generator.normal(size=2).round(3)
        rows.append({"a": a, "b": b, "town": TOWNS[k % 3],
                     "y": round(2 * a - b + k % 3 + 0.1 * generator.normal(), 3)})  # fmt: skip
    return rows


def _text(rows: list[dict[str, Any]], separator: str = ",") -> str:
    lines = [separator.join(rows[0]), *(separator.join(map(str, r.values())) for r in rows)]
    return "\n".join(lines) + "\n"


def file(
    train: Callable[[str], str] = str,
    new: Callable[[str], str] = str,
    encoding: str = "utf-8",
    **changes: Any,
) -> Data:
    """Return CSV files whose text is changed by `train` and `new`, and then encoded."""
    rows, asked = _rows(300, 5), _rows(150, 6)
    true = np.array([row.pop("y") for row in asked])
    X, asking = train(_text(rows)).encode(encoding), new(_text(asked)).encode(encoding)
    data = Data(X, "y", asking, true, "values", 1)
    return replace(data, **changes)


def _columns(*order: int) -> Callable[[str], str]:
    """Return a change of a CSV text to the columns `order`."""

    def change(text: str) -> str:
        return "".join(
            ",".join(cells[k] for k in order) + "\n"
            for cells in (line.split(",") for line in text.splitlines())
        )

    return change


def _extra(text: str) -> str:
    head, *lines = text.splitlines()
    return "\n".join([f"zip,{head}", *(f"{k % 7},{line}" for k, line in enumerate(lines))]) + "\n"


def _commas(text: str) -> str:
    return text.replace(",", ";").replace(".", ",")


def _cell(row: int, column: int, value: str) -> Callable[[str], str]:
    """Return a change of one cell; the first row is row 1."""

    def change(text: str) -> str:
        lines = text.splitlines()
        cells = lines[row].split(",")
        cells[column] = value
        return "\n".join([*lines[:row], ",".join(cells), *lines[row + 1 :]]) + "\n"

    return change


def _unmarked() -> Data:
    data = file()
    texts = (data.X, data.new)
    X, new = (t.decode().replace("ö", "oe").replace("ü", "ue").encode("utf-16-be") for t in texts)
    return replace(data, X=X, new=new)


def _dates(text: str) -> str:
    head, *lines = text.splitlines()
    days = (f"{1 + k % 12}/{1 + k % 11}/2024" for k in range(len(lines)))
    return "\n".join([f"day,{head}", *map(",".join, zip(days, lines, strict=True))]) + "\n"


def _empty_words(text: str) -> str:
    return text.replace("Wien", "")


CLEAN = {"classes": classes, "values": values, "file": file}

_RIGHT = Answer("right")


def _error(says: str) -> Answer:
    return Answer("error", says)


def _warning(says: str) -> Answer:
    return Answer("warning", says)


def _finding(says: str) -> Answer:
    return Answer("finding", says)


def _note(says: str) -> Answer:
    return Answer("note", says)


CASES = [
    # features
    Case("NaN in X", lambda: classes(X=_put(classes().X, (17, 2), np.nan)),
         _error("row 17, column 2"), _RIGHT),
    Case("infinity in X", lambda: classes(X=_put(classes().X, (17, 2), np.inf)),
         _error("row 17, column 2"), _note("`x2`")),
    Case("1e300 in X (float64)", lambda: classes(X=_put(classes().X, (17, 2), 1e300)),
         _error("row 17, column 2"), _error("row 18 of column 'x2'")),
    Case("a constant column", lambda: features(lambda X: _put(X, (slice(None), 3), 5.0)),
         _RIGHT, _note("`x3`")),
    Case("every column constant", lambda: features(lambda X: np.full_like(X, 5.0)),
         _finding("constant_inputs"), _error("no usable feature")),
    Case("a feature times 1e6", lambda: features(lambda X: X * [1, 1, 1, 1e6]),
         _warning("scores"), _RIGHT),
    Case("1e9 + noise in X", lambda: features(lambda X: 1e9 + X), _warning("column"), _RIGHT),
    Case("numbers as text", lambda: features(lambda X: X.astype(str)), _error("text"), _RIGHT),
    Case("dates", lambda: features(lambda X: (X * 1e6).astype("datetime64[s]")),
         _error("datetime64"), _RIGHT),
    Case("an object array of numbers", lambda: features(lambda X: X.astype(object)),
         _error("object"), _RIGHT),
    Case("an object array with None", lambda: classes(X=_with_none(classes().X)),
         _error("object"), _RIGHT),
    Case("a masked array", lambda: features(_masked), _error("row 0, column 1"), _RIGHT),
    Case("complex numbers", lambda: features(lambda X: X + 1j), _error("complex"),
         _error("complex")),
    Case("uint8 in the shape of images, up to 9", _small_integers, _warning("255"), None),
    Case("uint8 in the shape of images, 0 and 1", _bits, _error("0 and 1"), None),
    Case("rows of unequal length", lambda: classes(X=[*classes().X.tolist()[:-1], [1.0]]),
         _error("unequal"), None),
    Case("X of shape (n,)", _one_dimension, _error("X[:, None]"), None),
    Case("zero rows", lambda: classes(X=np.zeros((0, 4)), y=np.zeros(0, int)),
         _error("no rows"), _error("no rows")),
    Case("zero columns", lambda: classes(X=np.zeros((300, 0))), _error("no features"),
         _error("no usable feature")),
    # targets
    Case("NaN in y", _nan_in_targets, _error("row 10"), _note("4 rows")),
    Case("infinity in y", lambda: values(y=_put(values().y, 10, np.inf)),
         _error("row 10"), _error("row 11")),
    Case("X and y of different lengths", _mismatch, _error("290"), _error("290")),
    Case("label -1", lambda: targets(lambda y: np.where(y == 0, -1, y)),
         _error("y[0]"), _RIGHT),
    Case("label -100", lambda: targets(lambda y: np.where(y == 0, -100, y)),
         _error("y[0]"), _RIGHT),
    Case("a label beyond the outputs", lambda: targets(lambda y: np.where(y == 2, 3, y)),
         _error("y[2]"), _RIGHT),
    Case("labels such as 1.5", lambda: targets(lambda y: np.where(y == 1, 1.5, y)),
         _error("y[1]"), _RIGHT),
    Case("labels as words", lambda: targets(lambda y: np.array(["cat", "dog", "eel"])[y]),
         _error("unique"), _RIGHT),
    Case("labels with empty words", lambda: targets(lambda y: np.array(["cat", "dog", ""])[y]),
         _error("unique"), _note("100 rows")),
    Case("bool labels", lambda: targets(lambda y: y == 1, two), _RIGHT, _RIGHT),
    Case("one class only", lambda: classes(y=np.zeros(300, int)),
         _finding("class_missing"), _error("every row")),
    Case("99 rows of one class for one of the other", _imbalance,
         _finding("few_of_a_class"), _finding("targets_unlearnable")),
    Case("y of shape (n, 1) for an output (n,)",
         lambda: values(y=values().y[:, None], flat=True), _error("(300, 1)"), None),
    Case("y of shape (n,) for an output (n, 1)", lambda: values(as_given=True), _RIGHT, _RIGHT),
    Case("1e9 + noise in y", lambda: targets(lambda y: 1e9 + y, values), _error("varies by"),
         _RIGHT),
    Case("1e300 in y (float64)", lambda: values(y=_put(values().y, slice(10, 20), 1e300)),
         _error("row 10"), _error("too large")),
    Case("one-hot rows that sum to 3", lambda: _one_hot(3.0), _error("y[0]"), None),
    Case("one-hot rows with mse", lambda: _one_hot(1.0, "mse"), _RIGHT, None),
    # settings
    Case("learning rate 1e6", lambda: classes(rate=1e6), _finding("learning_rate_too_high"),
         _error("DivergedError the loss became")),
    Case("negative sample weights", _weights, _error("sample_weight[5]"),
         _error("sample_weight[6]")),
    # prediction
    Case("NaN at prediction", lambda: _hole(np.nan), _error("row 2, column 1"),
         _note("50 rows have no value of `x1`")),
    Case("infinity at prediction", lambda: _hole(np.inf), _error("row 2, column 1"),
         _note("`x1`")),
    Case("other units at prediction", lambda: _after(lambda X: 32 + 1.8 * X), Answer("wrong"),
         _note("far from the training range")),
    Case("columns reordered at prediction", lambda: _after(lambda X: X[:, [3, 2, 1, 0]]),
         Answer("wrong"), None),
    Case("a column too few at prediction", lambda: _after(lambda X: X[:, :3]),
         _error("shape"), _error("x3")),
    Case("a column too many at prediction", lambda: _after(lambda X: np.c_[X, X[:, :1]]),
         _error("shape"), _RIGHT),
    # files
    Case("CSV: two columns of one name", lambda: file(lambda t: t.replace("a,b,town", "a,a,town")),
         None, _error("two columns are named 'a'")),
    Case("CSV: byte order mark", lambda: file(encoding="utf-8-sig"), None, _RIGHT),
    Case("CSV: latin-1", lambda: file(encoding="latin-1"), None, _note("Latin-1")),
    Case("CSV: UTF-16", lambda: file(encoding="utf-16"), None, _note("UTF-16")),
    Case("CSV: UTF-16 without a mark, ASCII only", _unmarked, None, _note("UTF-16")),
    Case("CSV: decimal commas", lambda: file(_commas, _commas), None,
         _note("1.234,5")),
    Case("CSV: a word in a column of numbers", lambda: file(_cell(7, 1, "n/k")), None,
         _note("row 7")),
    Case("CSV: an empty cell", lambda: file(_cell(7, 1, "")), None, _RIGHT),
    Case("CSV: an empty target", lambda: file(_cell(7, 3, "")), None, _note("1 row")),
    Case("CSV: dates that could be read in two ways", lambda: file(_dates, _dates), None,
         _note("`day`")),
    Case("CSV: no line of names", lambda: file(lambda t: t.split("\n", 1)[1]), None,
         _error("first line looks like data")),
    Case("CSV: a row too long", lambda: file(lambda t: t + "1,2,Wien,3,4\n"), None,
         _error("row 301")),
    Case("CSV: a quote not closed", lambda: file(_cell(7, 2, '"Wien')), None, _error("row 7")),
    Case("CSV: columns reordered at prediction", lambda: file(new=_columns(2, 1, 0)), None, _RIGHT),
    Case("CSV: a column missing at prediction", lambda: file(new=_columns(0, 2)), None,
         _error("'b'")),
    Case("CSV: a column more at prediction", lambda: file(new=_extra), None, _RIGHT),
    Case("CSV: a new word at prediction", lambda: file(new=_cell(7, 2, "Bern")), None,
         _note("'Bern'")),
    Case("CSV: empty words at prediction", lambda: file(new=_empty_words), None,
         _note("50 rows have no value of `town`")),
]  # fmt: skip


def _with_none(X: Array) -> Array:
    changed = X.astype(object)
    changed[17, 2] = None
    return changed
