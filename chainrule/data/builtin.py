"""Built-in data sets: five small ones inside the package, and MNIST-like sets from IDX files.

The small sets need neither a file nor the internet.

Read next: :mod:`chainrule.data.idx`, :mod:`chainrule.data.download`.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import DataError, OptionError, did_you_mean
from chainrule.data.download import download
from chainrule.data.idx import read_idx
from chainrule.data.table import Table

__all__ = ["Dataset", "Summary", "load", "names", "read_idx_folder"]

_FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_DIGITS = tuple(str(digit) for digit in range(10))
_IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_FASHION_URL = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"
_FASHION_SHA256 = {  # of the unpacked files, so that a recompressed file passes
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


@dataclass(frozen=True)
class Summary:
    """Description of a data set that is not loaded yet; `classes` is 0 for regression."""

    name: str
    description: str
    rows: int
    features: int
    classes: int
    source: str
    licence: str
    target_names: tuple[str, ...] | None = None
    image_shape: tuple[int, int] | None = None

    @property
    def task(self) -> Literal["classification", "regression"]:
        """Classification or regression."""
        return "classification" if self.classes else "regression"


@dataclass(frozen=True)
class Dataset:
    """A data set as arrays.

    `X` has shape (rows, features), float32, or uint8 for image files; `y` is int64
    class indices or float32 values.  `X_test` and `y_test` are the fixed test set, or None
    if the data set does not define one.
    """

    name: str
    X: NDArray[Any]
    y: NDArray[Any]
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...] | None
    task: Literal["classification", "regression"]
    image_shape: tuple[int, ...] | None
    source: str
    licence: str
    description: str
    X_test: NDArray[Any] | None = None
    y_test: NDArray[Any] | None = None

    def to_table(self) -> Table:
        """Return the training set as a table; the last column, ``target``, has the class names."""
        target = self.y if self.target_names is None else np.array(self.target_names)[self.y]
        columns = {name: self.X[:, i] for i, name in enumerate(self.feature_names)}
        return Table.from_arrays({**columns, "target": target}, source=self.name)


_UCI = "UCI Machine Learning Repository, by way of scikit-learn"
_SETS = {
    item.name: item
    for item in (
        Summary("digits", "handwritten digits, 8x8 pixels of 0 to 16", 1797, 64, 10, _UCI,
                "CC BY 4.0", _DIGITS, (8, 8)),
        Summary("iris", "three species of iris by the size of sepals and petals", 150, 4, 3, _UCI,
                "CC BY 4.0", ("setosa", "versicolor", "virginica")),
        Summary("wine", "three cultivars of wine by chemical analysis", 178, 13, 3, _UCI,
                "CC BY 4.0", ("class_0", "class_1", "class_2")),
        Summary("breast-cancer", "malignant or benign tumors by shape of cell nuclei", 569, 30, 2,
                _UCI, "CC BY 4.0", ("malignant", "benign")),
        Summary("diabetes", "progress of diabetes after a year, from ten measurements", 442, 10, 0,
                "Efron et al., Least Angle Regression, 2004, by way of scikit-learn",
                "as scikit-learn redistributes it"),
        Summary("fashion-mnist", "clothes, 28x28 pixels (IDX files, 30 MB, not in the package)",
                60000, 784, 10, "Zalando Research, 2017", "MIT", _FASHION_CLASSES, (28, 28)),
        Summary("mnist", "handwritten digits, 28x28 pixels (IDX files, give a directory)",
                60000, 784, 10, "LeCun, Cortes and Burges, 1998", "see the source", _DIGITS,
                (28, 28)),
    )
}  # fmt: skip


def names() -> Mapping[str, Summary]:
    """Return the summary of every data set by name, without loading any.

    >>> names()["iris"].rows, names()["iris"].classes
    (150, 3)
    """
    return dict(_SETS)


def load(name: str) -> Dataset:
    """Return the data set called `name`.

    For mnist and fashion-mnist, the four IDX files (``NAME/train-images-idx3-ubyte.gz`` and so
    on) are searched for in the directory given by the environment variable CHAINRULE_DATA, then
    in ``~/.cache/chainrule``; for fashion-mnist also where Debian's package
    dataset-fashion-mnist installs them.  If fashion-mnist is not found, it is downloaded.
    Raises OptionError on an unknown name, DataError when files are missing or damaged.

    >>> load("iris").X.shape
    (150, 4)
    """
    if name not in _SETS:
        raise OptionError(f"There is no data set {name!r}. {did_you_mean(name, _SETS)}")
    summary = _SETS[name]
    if name in ("fashion-mnist", "mnist"):
        return _load_idx(_find_folder(name), summary)
    return _load_shipped(summary)


def read_idx_folder(folder: str | os.PathLike[str], name: str | None = None) -> Dataset:
    """Load a data set from a directory with four IDX files, named as those of MNIST.

    Raises DataError if a file is missing or damaged, or images and labels differ in number.
    """
    path = Path(folder)
    labels = read_idx(_idx_file(path, "train-labels-idx1-ubyte"))
    classes = int(labels.max()) + 1 if labels.size else 0
    title = name or path.name
    known = tuple(str(number) for number in range(classes))
    summary = Summary(title, f"IDX files in {path}", 0, 0, classes, str(path), "", known)
    return _load_idx(path, summary)


def _load_shipped(summary: Summary) -> Dataset:
    file = resources.files("chainrule.data") / "files" / f"{summary.name}.csv.gz"
    with file.open("rb") as packed, gzip.open(packed, "rt", encoding="utf-8") as lines:
        header = lines.readline().strip().split(",")
        values = np.loadtxt(lines, delimiter=",", dtype=np.float64)
    y = values[:, -1].astype(np.int64 if summary.classes else np.float32)
    return _dataset(summary, values[:, :-1].astype(np.float32), y, tuple(header[:-1]))


def _dataset(
    summary: Summary, X: NDArray[Any], y: NDArray[Any], features: tuple[str, ...], **more: Any
) -> Dataset:
    return Dataset(
        name=summary.name,
        X=X,
        y=y,
        feature_names=features,
        target_names=summary.target_names,
        task=summary.task,
        image_shape=more.pop("image_shape", summary.image_shape),
        source=summary.source,
        licence=summary.licence,
        description=summary.description,
        **more,
    )


def cache_folder() -> Path:
    """Return the directory for downloads."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chainrule"


def _find_folder(name: str) -> Path:
    """Return the first directory with all four files; download fashion-mnist if there is none."""
    asked = os.environ.get("CHAINRULE_DATA")
    candidates = [Path(asked) / name] if asked else []
    if asked and Path(asked).name == name:  # otherwise its files may belong to another set
        candidates.append(Path(asked))
    candidates.append(cache_folder() / name)
    if name == "fashion-mnist":
        candidates.append(_DEBIAN)
    for folder in candidates:
        if all(_find_file(folder, stem) for stem in _IDX_FILES):
            return folder
    looked = ", ".join(str(folder) for folder in candidates)
    how = (
        f"put {', '.join(_IDX_FILES)} (plain or .gz) in a directory called {name} "
        "and set the environment variable CHAINRULE_DATA to its parent"
    )
    if name != "fashion-mnist":
        raise DataError(f"{name}: no IDX files in {looked}. To use it, {how}.")
    try:
        for stem, checksum in _FASHION_SHA256.items():
            target = cache_folder() / name / f"{stem}.gz"
            if not target.exists():
                download(f"{_FASHION_URL}{stem}.gz", target, checksum)
    except DataError as error:
        raise DataError(
            f"fashion-mnist: no IDX files in {looked}, and the download failed: {error} "
            f"On Debian or Ubuntu: apt install dataset-fashion-mnist. Elsewhere: {how}."
        ) from error
    return cache_folder() / name


def _find_file(folder: Path, stem: str) -> Path | None:
    for path in (folder / f"{stem}.gz", folder / stem):
        if path.is_file():
            return path
    return None


def _idx_file(folder: Path, stem: str) -> Path:
    path = _find_file(folder, stem)
    if path is None:
        raise DataError(f"{folder} has no {stem} (plain or .gz).")
    return path


def _load_idx(folder: Path, summary: Summary) -> Dataset:
    X, y, image = _read_part(folder, "train")
    X_test, y_test, _ = _read_part(folder, "t10k")
    features = tuple(f"pixel_{r}_{c}" for r in range(image[0]) for c in range(image[1]))
    return _dataset(summary, X, y, features, X_test=X_test, y_test=y_test, image_shape=image)


def _read_part(folder: Path, part: str) -> tuple[NDArray[Any], NDArray[np.int64], tuple[int, ...]]:
    images_file = _idx_file(folder, f"{part}-images-idx3-ubyte")
    labels_file = _idx_file(folder, f"{part}-labels-idx1-ubyte")
    images, labels = read_idx(images_file), read_idx(labels_file)
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise DataError(
            f"{images_file} has shape {images.shape} and {labels_file} {labels.shape}; "
            "they must be (rows, height, width) and (rows,) of equal rows."
        )
    return images.reshape(len(images), -1), labels.astype(np.int64), images.shape[1:]
