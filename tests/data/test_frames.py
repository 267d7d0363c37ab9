"""Frames and arrays of other libraries: values, gaps and names arrive as they are, where they lie.

Each test runs with the real library, and is skipped where it is not installed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import date, datetime, timezone
from typing import Any

import numpy as np
import pytest

from chainrule.core.errors import DataError, GraphError
from chainrule.data import Standardize, Table, check_classes, check_features
from chainrule.data.frames import column_names, read_array
from chainrule.data.gaps import find_sentinels
from chainrule.data.pipeline import Pipeline

pytestmark = pytest.mark.oracle

pytest.importorskip("narwhals", reason="frames are read by narwhals")
LIBRARIES = ("pandas", "polars", "pyarrow")
Make = Callable[[dict[str, list[Any]]], Any]


def library(name: str) -> Any:
    return pytest.importorskip(name, reason=f"reads the arrays or frames of {name}")


@pytest.fixture(params=LIBRARIES)
def make(request: pytest.FixtureRequest) -> Make:
    """Return the function that makes a frame of a library from columns."""
    module = library(request.param)
    return module.table if request.param == "pyarrow" else module.DataFrame


CELLS: dict[str, list[Any]] = {
    "size": [1.5, None, -3.0],
    "rooms": [3, 4, 5],
    "city": ["Rome", None, "Oslo"],
    "code": ["007", "1", "2"],
    "sold": [True, False, True],
    "on": [datetime(2024, 1, 31, 10, 30), None, datetime(1999, 12, 31)],
}


def same(one: Table, other: Table) -> None:
    """Assert that two tables have the same columns, kinds, values and gaps."""
    assert one.names == other.names
    for left, right in zip(one, other, strict=True):
        assert (left.name, left.kind, left.values.dtype) == (
            right.name,
            right.kind,
            right.values.dtype,
        )
        assert left.missing.tolist() == right.missing.tolist()
        assert left.as_text().tolist() == right.as_text().tolist()


def test_a_table_of_a_frame_is_that_of_its_columns(make: Make) -> None:
    same(Table.from_arrays(make(CELLS)), Table.from_arrays(CELLS))


def test_column_names(make: Make) -> None:
    assert column_names(make(CELLS)) == tuple(CELLS)
    assert column_names(CELLS) is None
    assert column_names(np.ones(3)) is None


def declared(name: str) -> Any:
    """Return a frame with a gap in a column of each of the library's own types."""
    module = library(name)
    words, numbers, said = ["b", "a", None], [1, None, 3], [True, None, False]
    if name == "pandas":
        return module.DataFrame({
            "word": module.Categorical(words, categories=["z", "b", "a"]),
            "number": module.array(numbers, dtype="Int64"),
            "said": module.array(said, dtype="boolean"),
            "text": module.array(["x", None, "y"], dtype="string"),
            "on": module.to_datetime(["2024-01-31", None, "2024-02-01"]),
        })  # fmt: skip
    if name == "polars":
        return module.DataFrame({
            "word": module.Series(words, dtype=module.Enum(["z", "b", "a"])),
            "number": module.Series(numbers, dtype=module.Int8),
            "said": said, "text": ["x", None, "y"],
            "on": [date(2024, 1, 31), None, date(2024, 2, 1)],
        })  # fmt: skip
    return module.table({
        "word": module.array(words).dictionary_encode(), "number": numbers, "said": said,
        "text": ["x", None, "y"], "on": [date(2024, 1, 31), None, date(2024, 2, 1)],
    })  # fmt: skip


@pytest.mark.parametrize("name", LIBRARIES)
def test_gaps_in_each_type_are_missing_cells(name: str) -> None:
    table = Table.from_arrays(declared(name))
    kinds = ["text", "number", "boolean", "text", "date"]
    assert [column.kind for column in table] == kinds
    assert [column.missing.tolist() for column in table] == [
        [False, False, True], *[[False, True, False]] * 4
    ]  # fmt: skip
    assert table["number"].values[[0, 2]].tolist() == [1, 3]
    assert table["said"].values[[0, 2]].tolist() == [True, False]
    assert table["on"].as_text().tolist() == ["2024-01-31", "", "2024-02-01"]
    assert [column.categorical for column in table] == [True, False, False, False, False]


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_moments_with_a_time_zone_are_read_in_utc(name: str) -> None:
    module = library(name)
    noon = datetime(2024, 6, 1, 12, tzinfo=timezone.utc)
    frame = module.DataFrame({"on": [noon, noon]})
    if name == "pandas":
        frame["on"] = frame["on"].dt.tz_convert("Asia/Tokyo")
    else:
        frame = frame.with_columns(module.col("on").dt.convert_time_zone("Asia/Tokyo"))
    assert Table.from_arrays(frame)["on"].as_text()[0] == "2024-06-01T12:00"


@pytest.mark.parametrize("name", LIBRARIES)
def test_unused_categories_are_no_categories(name: str) -> None:
    pipeline = Pipeline.fit(Table.from_arrays(declared(name)), "word", rows=[0, 1])
    assert pipeline.classes == ("a", "b")


def test_numbers_that_are_declared_categorical_are_categories() -> None:
    pandas = library("pandas")
    zips = [12047, 10115, 12047, 80331] * 10
    frame = pandas.DataFrame({"zip": pandas.Categorical(zips), "y": [1.5, 2, 3, 4] * 10})
    table = Table.from_arrays(frame)
    names = ("zip=12047", "zip=10115", "zip=80331")
    assert Pipeline.fit(table, "y").feature_names == names
    assert Pipeline.fit(table, "y", roles={"zip": "number"}).feature_names == ("zip",)
    assert Pipeline.fit(table, "zip").task == "classification"
    frame["zip"] = frame["zip"].astype(int)
    assert Pipeline.fit(Table.from_arrays(frame), "y").feature_names == ("zip",)


def test_what_is_declared_categorical_stays_so() -> None:
    pandas = library("pandas")
    words, halves = ["1", "2", "3"] * 10 + ["unknown"] * 2, [0.5, 1.5] * 16
    numbers = [*range(20, 50), -999, -999]
    frame = pandas.DataFrame({
        name: pandas.Categorical(cells)
        for name, cells in {"word": words, "half": halves, "number": numbers}.items()
    })  # fmt: skip
    table = Table.from_arrays(frame.assign(y=np.arange(32.0)))
    assert "word=unknown" in Pipeline.fit(table, "y").feature_names  # no gap among numbers
    assert find_sentinels(table["number"]) == ()
    numeric = Pipeline.fit(table, "y", rows=range(30))  # all its words are numbers
    assert {"word=1", "word=2", "word=3"} <= {*numeric.feature_names}
    assert Pipeline.fit(table, "half").task == "classification"


def test_columns_of_other_types_are_refused_by_name() -> None:
    polars = library("polars")
    with pytest.raises(DataError, match=r"column 'tags' has the type List\(Int64\)"):
        Table.from_arrays(polars.DataFrame({"a": [1], "tags": [[1, 2]]}))
    with pytest.raises(DataError, match=r"not a frame in memory.*collect"):
        Table.from_arrays(polars.LazyFrame({"a": [1]}))
    with pytest.raises(DataError, match=r"not a frame in memory.*from_batches"):
        Table.from_arrays(library("pyarrow").record_batch({"a": [1]}))


def test_faulty_frames_are_refused() -> None:
    pandas = library("pandas")
    with pytest.raises(DataError, match="two columns of one name"):
        Table.from_arrays(pandas.DataFrame(np.ones((2, 2)), columns=["a", "a"]))
    with pytest.raises(DataError, match="two columns named '1'"):
        Table.from_arrays(pandas.DataFrame(np.ones((2, 2)), columns=[1, "1"]))
    with pytest.raises(DataError, match="no rows"):
        Table.from_arrays(pandas.DataFrame({"a": []}))


def test_without_narwhals_it_is_told_how_to_install_it(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = make({"a": [1.0]})
    monkeypatch.setitem(sys.modules, "narwhals.stable.v2", None)
    with pytest.raises(DataError, match="pip install narwhals"):
        check_features(frame)
    assert check_features(np.ones((1, 1))).shape == (1, 1)


# --- arrays ------------------------------------------------------------------------------------


def test_the_numbers_of_a_frame(make: Make) -> None:
    X = check_features(make({"a": [1, 2], "b": [0.5, 4.0], "c": [True, False]}))
    assert X.tolist() == [[1, 0.5, 1], [2, 4, 0]]
    assert X.flags.c_contiguous
    assert read_array(make({"a": [1], "b": [2], "c": [3]}), "X", ("c", "a")).tolist() == [[3, 1]]
    small = {"a": np.ones(2, np.float32), "b": np.ones(2, np.float32)}
    assert read_array(make(small)).dtype == np.float32  # type: ignore[arg-type]
    assert Standardize().fit(make({"a": [1.0, 3]})).transform(make({"a": [3.0]})).tolist() == [[1]]


def test_what_is_no_number_is_refused_by_name(make: Make) -> None:
    with pytest.raises(DataError, match=r"X has columns that hold no numbers: 'city' .*fit_table"):
        check_features(make({"a": [1, 2], "city": ["x", "y"]}))
    with pytest.raises(DataError, match="column 'a' of X has 2 missing values, the first in row 1"):
        check_features(make({"a": [1.0, None, None]}))
    with pytest.raises(DataError, match=r"'b', which the network was trained on\. .*a"):
        read_array(make({"a": [1]}), "X", ("b",))


@pytest.mark.parametrize("name", LIBRARIES)
def test_series(name: str) -> None:
    module = library(name)

    def series(values: Any) -> Any:
        return module.chunked_array([values]) if name == "pyarrow" else module.Series(values)

    assert check_classes(series([0, 2, 1]), 3).tolist() == [0, 2, 1]
    if name == "pandas":
        assert check_classes(module.Series([0, 2], dtype="Int64"), 3).tolist() == [0, 2]
    with pytest.raises(DataError, match="y has 1 missing value, the first in row 1"):
        check_classes(series([0, None]), 3)
    held = series(np.arange(5.0))
    assert np.shares_memory(read_array(held), held.to_numpy())


def test_arrow_arrays_of_rows() -> None:
    pa = library("pyarrow")
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 2)
    for given in (lists, pa.FixedShapeTensorArray.from_numpy_ndarray(rows)):
        assert np.shares_memory(read_array(given), rows)
        assert read_array(given).tolist() == rows.tolist()
    assert read_array(lists[1:]).tolist() == rows[1:].tolist()
    both = pa.chunked_array([lists, lists[:1]])
    assert read_array(both).tolist() == [*rows.tolist(), [0, 1]]
    with pytest.raises(DataError, match=r"row 1.* is NaN"):
        check_features(pa.array([1, None]))


@pytest.mark.parametrize("name", [pytest.param("torch", marks=pytest.mark.oracle), "jax"])
def test_tensors_are_read_where_they_lie(name: str) -> None:
    module = library(f"{name}.numpy" if name == "jax" else name)
    rows = module.ones((3, 2))
    where = rows.__array__()
    assert np.shares_memory(check_features(rows), where)
    assert np.shares_memory(check_features(module.from_dlpack(rows)), where)


@pytest.mark.oracle
def test_a_tensor_that_is_not_in_memory_is_refused() -> None:
    torch = library("torch")
    with pytest.raises(DataError, match=r"X is a torch.Tensor .*detach\(\)"):
        check_features(torch.ones(2, 2, requires_grad=True))
    with pytest.raises(DataError, match=r"X is a torch.Tensor .*BFloat16"):
        check_features(torch.ones(2, 2, dtype=torch.bfloat16))


class Lent:
    """An array with DLPack alone, as on the CPU or, for a `device` of 2, on a GPU."""

    def __init__(self, array: np.ndarray[Any, Any], device: int = 1):
        self.array, self.device = array, device

    def __dlpack__(self, **options: Any) -> Any:
        if self.device != 1:
            raise BufferError("the memory is on a GPU")
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, 0


def test_dlpack_alone_is_enough() -> None:
    rows = np.ones((2, 3))
    assert np.shares_memory(check_features(Lent(rows)), rows)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"X is a .*Lent that can't be read"):
        check_features(Lent(rows, device=2))  # type: ignore[arg-type]


def test_an_input_without_a_value_is_told_as_such() -> None:
    import chainrule as cr

    with pytest.raises(GraphError, match="input 'x'"):
        check_features(cr.input("x", (2,)))  # type: ignore[arg-type]
