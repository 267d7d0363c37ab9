"""Read, check, split and encode data for training.

Importing this package is cheap: the first `read_table` imports DuckDB, and the first use of a
built-in data set imports the module that downloads them, and with it the HTTP client.

Read next: :mod:`chainrule.data.table`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from chainrule.data.check_arrays import (
    check_classes,
    check_features,
    check_numbers,
    check_same_length,
)
from chainrule.data.columns import Understanding, choose_target, understand
from chainrule.data.idx import read_idx
from chainrule.data.pipeline import CategoryCodes, Pipeline
from chainrule.data.preprocess import preprocessing
from chainrule.data.projection import PCA, Projection, Whiten
from chainrule.data.read import is_query, read_table
from chainrule.data.scaling import Center, MinMax, Robust, Scaling, Standardize, Unscaled
from chainrule.data.splits import (
    folds,
    split,
    split_groups,
    split_parts,
    split_times,
    stratified_folds,
)
from chainrule.data.table import Column, Table
from chainrule.data.target import Target, inspect_target

if TYPE_CHECKING:
    from chainrule.data.builtin import Dataset, Summary, load, names, read_idx_folder
    from chainrule.data.streaming import Stream, stream

__all__ = [
    "PCA",
    "CategoryCodes",
    "Center",
    "Column",
    "Dataset",
    "MinMax",
    "Pipeline",
    "Projection",
    "Robust",
    "Scaling",
    "Standardize",
    "Stream",
    "Summary",
    "Table",
    "Target",
    "Understanding",
    "Unscaled",
    "Whiten",
    "check_classes",
    "check_features",
    "check_numbers",
    "check_same_length",
    "choose_target",
    "folds",
    "inspect_target",
    "is_query",
    "load",
    "names",
    "preprocessing",
    "read_idx",
    "read_idx_folder",
    "read_table",
    "split",
    "split_groups",
    "split_parts",
    "split_times",
    "stratified_folds",
    "stream",
    "understand",
]

_BUILTIN = frozenset({"Dataset", "Summary", "load", "names", "read_idx_folder"})
_STREAMING = frozenset({"Stream", "stream"})


def __getattr__(name: str) -> Any:
    if name in _BUILTIN:
        return getattr(import_module("chainrule.data.builtin"), name)
    if name in _STREAMING:
        return getattr(import_module("chainrule.data.streaming"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
