"""The features of a request are those of the same rows in a table, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule import tabular
from chainrule.data.pipeline import Pipeline
from chainrule.data.read import read_table
from chainrule.data.table import Table
from chainrule.serve.request_error import RequestError
from chainrule.serve.table_rows import TableRows
from chainrule.train.run import Run
from tests.serve.conftest import columns


def rows_of(table: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of columns as JSON has them."""
    return [
        {name: getattr(cells[i], "item", lambda cell=cells[i]: cell)() for name, cells in
         table.items()} for i in range(len(table["size"]))
    ]  # fmt: skip


@pytest.mark.parametrize("preprocess", [None, "minmax", "pca"])
def test_features_are_those_of_the_pipeline(preprocess: str | None) -> None:
    table = columns()
    roles = {"state": ["poor", "fair", "good"], "heating": "embedded", "kind": "dropped"}
    pipeline = tabular.read_problem(table, "price", roles=roles, preprocess=preprocess).pipeline
    assert isinstance(pipeline, Pipeline)
    rows = TableRows(pipeline)
    found = rows.features(np.array(rows.read(rows_of(table))))
    wanted = pipeline.transform(Table.from_arrays(table))
    assert found.dtype == wanted.dtype
    assert np.array_equal(found, wanted)


def test_features_of_a_file(repository: Path) -> None:
    file = repository / "examples" / "houses.csv"
    pipeline = tabular.read_problem(file, "price").pipeline
    table, rows = read_table(file), TableRows(pipeline)
    texts = [column.as_text() for column in table]
    given = [dict(zip(table.names, cells, strict=True)) for cells in zip(*texts, strict=True)]
    assert len(given) > 100
    assert np.array_equal(rows.features(np.array(rows.read(given))), pipeline.transform(table))


def test_what_is_wrong_with_a_row_is_told(classes: Run) -> None:
    rows = TableRows(classes.pipeline)
    good = rows_of(columns())[0]
    cases = [
        (5, "row 2: must be an object"),
        ({**good, "heating": "gass"}, "row 2, column 'heating': 'gass' is not a value known"),
        ({"sizes" if k == "size" else k: v for k, v in good.items()},
         "row 2, column 'size': is not there; null is a missing value. Did you mean 'sizes'?"),
        ({}, "row 2, column 'size': is not there, nor are 6 others"),
    ]  # fmt: skip
    for bad, message in cases:
        with pytest.raises(RequestError) as caught:
            rows.read([good, bad])
        assert message in str(caught.value)
        assert (caught.value.status, caught.value.row) == (422, 2)


def test_what_differs_from_training_is_noted(classes: Run) -> None:
    rows = TableRows(classes.pipeline)
    good = rows_of(columns())[0]
    odd = {**good, "size": 5000, "sold": "1850-01-01", "heating": None, "garage": None}
    found = rows.notes(np.array(rows.read([good, odd])))
    assert {(row, column): note.split()[0] for row, column, note in found} == {
        (1, "size"): "5000", (1, "sold"): "1850-01-01", (1, "heating"): "no", (1, "garage"): "no",
    }  # fmt: skip
    assert "far from the training range" in found[0][2]
