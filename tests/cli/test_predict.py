"""Predict with what was saved: columns by name, unseen categories, nothing overwritten."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import chainrule as cr
from chainrule import data, nn
from chainrule.core.durable import read_folder, write_folder
from chainrule.core.errors import DataError
from chainrule.data import pass_through
from chainrule.data.duck import execute
from chainrule.data.pass_through import PassThrough
from chainrule.data.read import store_table
from chainrule.tabular import table_prediction
from chainrule.tabular.table_prediction import predict_table

Call = Callable[..., Result]


@pytest.fixture
def trained(call: Call, colors: Path) -> Path:
    """Return a run that tells small from large."""
    words = ("--target", "kind", "--epochs", 60, "--lr", 0.02, "--out", "run", "--quiet")
    assert call("train", colors, *words).exit_code == 0
    return Path("run")


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_every_column_then_prediction_and_probabilities(
    call: Call, trained: Path, colors: Path
) -> None:
    result = call("predict", trained, colors)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    rows = rows_of(result.stdout)
    assert list(rows[0]) == [
        "size", "color", "weight", "kind",
        "prediction", "probability_large", "probability_small",
    ]  # fmt: skip
    assert [row["prediction"] for row in rows] == [row["kind"] for row in rows]
    for row in rows:
        large, small = float(row["probability_large"]), float(row["probability_small"])
        assert large + small == pytest.approx(1, abs=1e-5)
        assert (large > small) == (row["prediction"] == "large")


def test_columns_are_matched_by_name_and_the_target_is_not_needed(
    call: Call, trained: Path, colors: Path, place: Path
) -> None:
    whole = rows_of(call("predict", trained, colors).stdout)
    with (place / "turned.csv").open("w") as file:
        writer = csv.DictWriter(file, ["extra", "weight", "color", "size"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**row, "extra": "a, b"} for row in whole)
    turned = rows_of(call("predict", trained, "turned.csv").stdout)
    assert [r["probability_large"] for r in turned] == [r["probability_large"] for r in whole]
    assert turned[0]["extra"] == "a, b"


def test_an_unseen_category_is_handled_and_said(call: Call, trained: Path, place: Path) -> None:
    (place / "new.csv").write_text("size,color,weight\n5,teal,50\n1,,10\n")
    result = call("predict", trained, "new.csv")
    assert result.exit_code == 0
    assert [row["prediction"] for row in rows_of(result.stdout)] == ["large", "small"]
    assert "1 row has a value of `color` that was not in training, such as 'teal'" in result.stderr


def test_a_missing_column_is_named(call: Call, trained: Path, place: Path) -> None:
    (place / "new.csv").write_text("size,colour,weight\n5,red,50\n")
    result = call("predict", trained, "new.csv")
    assert result.exit_code == 2
    assert "does not have the column 'color'" in result.stderr
    assert "Did you mean 'colour'?" in result.stderr


def test_text_where_a_number_was_is_named(call: Call, trained: Path, place: Path) -> None:
    (place / "new.csv").write_text("size,color,weight\n5,red,50\nbig,red,50\n")
    result = call("predict", trained, "new.csv")
    assert result.exit_code == 2
    assert "row 2 of column 'size' holds 'big'" in result.stderr


def test_a_cell_that_cannot_be_read_is_told(call: Call, trained: Path, place: Path) -> None:
    (place / "new.csv").write_text("size,color,weight\n5,red,50\nbig,red,50\n5,red,50\n")
    result = call("predict", trained, "new.csv")
    assert result.exit_code == 0
    said = "note: `size`: 1 cell that can't be read counts as missing, 'big' in row 2."
    assert said in result.stderr
    assert len(rows_of(result.stdout)) == 3


def test_a_file_is_not_overwritten(call: Call, trained: Path, colors: Path) -> None:
    out = Path("preds.csv")
    result = call("predict", trained, colors, "--out", out)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "wrote preds.csv: 8 rows" in result.stderr
    written = out.read_text()
    assert rows_of(written)[0]["prediction"] == "small"
    out.write_text("mine")
    result = call("predict", trained, colors, "--out", out)
    assert result.exit_code == 2
    assert "preds.csv exists" in result.stderr
    assert out.read_text() == "mine"
    assert call("predict", trained, colors, "--out", out, "--force").exit_code == 0
    assert out.read_text() == written
    assert [p.name for p in Path().iterdir() if p.name.startswith("tmp")] == []


def test_a_place_that_is_not_there_is_named(call: Call, trained: Path, colors: Path) -> None:
    assert "no directory" in call("predict", trained, colors, "--out", "no/p.csv").stderr
    assert "is a directory" in call("predict", trained, colors, "--out", "run").stderr


def test_predictions_of_predictions_are_refused(call: Call, trained: Path, colors: Path) -> None:
    call("predict", trained, colors, "--out", "p.csv")
    result = call("predict", trained, "p.csv")
    assert result.exit_code == 2
    assert "already has a column 'prediction'" in result.stderr


def test_json(call: Call, trained: Path, colors: Path) -> None:
    found = json.loads(call("predict", trained, colors, "--json").stdout)
    assert found["classes"] == ["large", "small"]
    assert found["predictions"][0] == "small"
    assert np.sum(found["probabilities"], axis=1) == pytest.approx(np.ones(8), abs=1e-5)
    assert "ids" not in found


def test_json_has_what_tells_the_rows_apart(call: Call, trained: Path, place: Path) -> None:
    rows = "key,name,note,size,color,weight\n7,Ann,x,5,red,50\n9,Bo,x,1,blue,10\n"
    (place / "new.csv").write_text(rows)
    found = json.loads(call("predict", trained, "new.csv", "--json").stdout)
    assert found["ids"] == {"key": ["7", "9"], "name": ["Ann", "Bo"]}


def test_values_come_in_the_targets_own_units(call: Call, repository: Path) -> None:
    houses = repository / "examples" / "houses.csv"
    assert call("train", houses, "--out", "run", "--quiet").exit_code == 0
    result = call("predict", "run", houses)
    assert result.exit_code == 0, result.output
    rows = rows_of(result.stdout)
    price = np.array([float(row["price"]) for row in rows])
    error = np.array([float(row["prediction"]) for row in rows]) - price
    assert np.abs(error).mean() < 0.1 * price.mean()
    assert rows[0]["sold"] == "2020-07-01"
    assert rows[0]["garage"] == "false"
    assert rows[0]["remarks"] == "needs work,\nbut solid"


def test_a_run_of_a_built_in_set_takes_its_columns(call_default: Call, place: Path) -> None:
    call = call_default
    assert call("train", "iris", "--epochs", 40, "--out", "run", "--quiet").exit_code == 0
    table = data.load("iris").to_table()
    rows = [table.names, *zip(*(column.as_text() for column in table), strict=True)]
    (place / "iris.csv").write_text("\n".join(map(",".join, rows)) + "\n")
    found = rows_of(call("predict", "run", "iris.csv").stdout)
    assert np.mean([row["prediction"] == row["target"] for row in found]) > 0.85
    columns = predict_table(cr.load("run"), table)
    assert columns["prediction"].tolist() == [row["prediction"] for row in found]


def test_what_is_no_run_is_named(call: Call, trained: Path, colors: Path) -> None:
    result = call("predict", "rum", colors)
    assert result.exit_code == 2
    assert "not a saved run" in result.stderr
    assert "Did you mean 'run'?" in result.stderr


def test_a_run_trained_on_arrays_says_how_to_predict(call: Call, colors: Path) -> None:
    X = np.array([[0.0], [1.0]], "float32")
    model = nn.Sequential([nn.Linear(1, 2)])
    run = cr.fit(model, (X, [0, 1]), loss="cross_entropy", epochs=1, progress=False)
    run.save("arrays")
    assert cr.load("arrays").pipeline is None
    result = call("predict", "arrays", colors)
    assert result.exit_code == 2
    assert "trained on arrays" in result.stderr


def test_a_damaged_pipeline_is_named(call: Call, trained: Path, colors: Path) -> None:
    files = read_folder(trained) | {"pipeline.json": b'{"version": 2}'}
    write_folder(files, trained)
    result = call("predict", trained, colors)
    assert result.exit_code == 2
    assert "pipeline.json': The saved pipeline is damaged" in result.stderr


@pytest.mark.parametrize("form", ["csv", "tsv", "parquet"])
def test_the_extension_names_the_format(
    form: str, call: Call, trained: Path, colors: Path, place: Path
) -> None:
    assert call("predict", trained, colors, "--out", f"p.{form}").exit_code == 0
    table = data.read_table(place / f"p.{form}")
    assert table.names[:5] == ("size", "color", "weight", "kind", "prediction")
    assert [column.kind for column in table][:5] == ["number", "text", "number", "text", "text"]
    assert table["size"].values.tolist()[:2] == [1.0, 1.1]
    assert sorted(path.name for path in place.iterdir()) == ["colors.csv", f"p.{form}", "run"]
    first = (place / f"p.{form}").read_bytes()[:4]
    assert first == {"csv": b"size", "tsv": b"size", "parquet": b"PAR1"}[form]


def test_json_goes_to_json_files(call: Call, trained: Path, colors: Path) -> None:
    assert call("predict", trained, colors, "--out", "p.json").exit_code == 0
    assert Path("p.json").read_text() == call("predict", trained, colors, "--json").stdout


@pytest.mark.parametrize("words", ["p.xlsx", "p", "p.csv --json"])
def test_other_formats_are_refused(words: str, call: Call, trained: Path, colors: Path) -> None:
    result = call("predict", trained, colors, "--out", *words.split())
    assert result.exit_code == 2
    assert ".json" in result.stderr
    assert not Path(words.split()[0]).exists()


def test_a_merged_category_is_not_called_new(call: Call, place: Path) -> None:
    words = [f"w{k}" for k in range(40) for _ in range(6)] + [f"rare{k}" for k in range(20)]
    rows = [f"{word},{len(word) + k % 2}.5" for k, word in enumerate(words)]
    (place / "t.csv").write_text("word,y\n" + "\n".join(rows) + "\n")
    assert call("train", "t.csv", "--epochs", 1, "--out", "run", "--quiet").exit_code == 0
    said = call("predict", "run", "t.csv").stderr
    assert "a value of `word` that was rare or absent in training and counts as 'other'" in said


def written(cells: str, added: dict[str, np.ndarray], place: Path) -> list[str]:
    (place / "t.csv").write_text(cells)
    with store_table(str(place / "t.csv"), place) as table:
        rows = PassThrough(table, lambda: data.read_table(place / "t.csv"))
        rows.add(added)
        rows.write_csv(place / "out.csv")
    return (place / "out.csv").read_text().splitlines()


def test_numbers_are_written_with_seven_digits_and_an_exponent_if_tiny(place: Path) -> None:
    numbers = np.array([2.792949e-11, 0.25, 0.0, 12345678.9, -1 / 3])
    lines = written("x\n1\n2.50\n3e20\n1e-7\n0.1\n", {"p": numbers}, place)
    assert lines == [
        "x,p", "1,2.792949e-11", "2.5,0.25", "3e+20,0", "1e-07,12345679", "0.1,-0.3333333",
    ]  # fmt: skip


@pytest.mark.parametrize("rows_a_part", [1, 3, 100])
def test_parts_of_a_csv_file_are_in_the_order_of_the_rows(
    rows_a_part: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pass_through, "_ROWS_A_PART", rows_a_part)
    (place / "t.csv").write_text("x\n" + "".join(f"{i}\n" for i in range(11)))
    with store_table("t.csv", place) as table:
        table._db.execute("SET threads = 4")
        rows = PassThrough(table, lambda: data.read_table("t.csv"))
        for start, stop in ((0, 7), (7, 11)):
            rows.add({"p": np.arange(start, stop) / 2})
        rows.write_csv(place / "out.csv")
    assert (place / "out.csv").read_text() == "x,p\n" + "".join(
        f"{i},{i / 2:g}\n" for i in range(11)
    )
    assert sorted(path.name for path in place.glob("out*")) == ["out.csv"]


def test_an_error_in_one_part_of_a_csv_file_ends_the_others(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_first(db: Any, sql: str, where: str) -> Any:
        if "out.csv.0'" in sql:
            time.sleep(0.5)  # the other part has begun
            raise DataError("no space")
        if "out.csv.1'" in sql:  # it takes minutes
            sql = "SELECT sum(hash(range) % 7) FROM range(100000000000)"
        return execute(db, sql, where)

    monkeypatch.setattr(pass_through, "_ROWS_A_PART", 1)
    monkeypatch.setattr(pass_through, "execute", fail_first)
    (place / "t.csv").write_text("x\n1\n2\n")
    with store_table("t.csv", place) as table:
        table._db.execute("SET threads = 2")
        rows = PassThrough(table, lambda: data.read_table("t.csv"))
        rows.add({"p": np.arange(2)})
        began = time.perf_counter()
        with pytest.raises(DataError, match="no space"):
            rows.write_csv(place / "out.csv")
        assert time.perf_counter() - began < 20


def test_dates_are_written_with_as_much_of_the_clock_as_they_have(place: Path) -> None:
    cells = "d\n2024-01-31\n2024-01-31 10:30\n2024-01-31 10:30:05\n2024-01-31 10:30:05.5\n"
    lines = written(cells, {"A": np.arange(4), "a": np.array(["x", "y", "z, u", "w"])}, place)
    assert lines == [
        "d,A,a", "2024-01-31,0,x", "2024-01-31T10:30,1,y", '2024-01-31T10:30:05,2,"z, u"',
        "2024-01-31T10:30:05.500000,3,w",
    ]  # fmt: skip


MIXED = """area,kind,sold,seen,grade,good
1.5,red,2024-01-31,3/4/2024,low,true
NA,blue,2024-02-01,13/4/2024,mid,false
2.5,,2023-05-05,1/4/2024,high,true
1e3,"a, b",2022-12-31,2/4/2024,low,
-2,red,2024-03-01,,mid,true
"""


@pytest.mark.parametrize("at_once", [1, 7, 10**9])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_blocks_give_what_the_table_gives_at_once(
    at_once: int, form: str, call: Call, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, *rows = MIXED.splitlines()
    table = [head + ",y", *(f"{row},{'ab'[k % 2]}" for k, row in enumerate(rows * 12))]
    (place / "t.csv").write_text("\n".join(table) + "\n")
    words = ("--role", "grade=low<mid<high", "--epochs", 5, "--out", "run", "--quiet")
    assert call("train", "t.csv", "--target", "y", *words).exit_code == 0
    changed = [row.replace("red", "green").replace("low", "lower") for row in rows]
    (place / "new.csv").write_text("\n".join([head, *rows * 5, *changed * 3]) + "\n")
    new: data.Table | str = data.read_table("new.csv")
    notes: list[str] = []
    expected = predict_table(cr.load("run"), new, tell=notes.append)
    if form == "parquet":  # with numbers and dates that are stored as such
        assert call("predict", "run", "new.csv", "--out", "new.parquet").exit_code == 0
        kept = "select * exclude (prediction, probability_a, probability_b) from 'new.parquet'"
        assert data.read_table(kept).names == tuple(head.split(","))
        new = kept
    monkeypatch.setattr(table_prediction, "CELLS_AT_ONCE", at_once)
    monkeypatch.setattr(table_prediction, "predict_table", None)  # for a table as a whole
    source = new if isinstance(new, str) else "new.csv"
    result = call("predict", "run", source, "--out", f"p.{form}", "--force")
    assert result.exit_code == 0, result.output
    assert [f"note: {line}." for line in notes] == result.stderr.splitlines()[:-1]
    assert any("that was not in training" in note for note in notes)
    found = data.read_table(f"p.{form}")
    assert found["prediction"].values.tolist() == expected["prediction"].tolist()
    for name in ("probability_a", "probability_b"):
        digits = expected[name].astype(np.float64)
        if form == "csv":
            digits = np.array([float(f"{value:.7g}") for value in digits])
        assert (found[name].values == digits).all()


def test_a_block_of_unreadable_cells_is_judged_with_the_others(
    call: Call, trained: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{'big' if 4 <= k < 8 else k},red,50" for k in range(40)]
    (place / "new.csv").write_text("size,color,weight\n" + "\n".join(rows) + "\n")
    monkeypatch.setattr(table_prediction, "CELLS_AT_ONCE", 8)
    result = call("predict", trained, "new.csv")
    assert result.exit_code == 0
    assert "4 cells that can't be read count as missing, the first 'big' in row 5" in result.stderr
    expected = predict_table(cr.load(trained), data.read_table("new.csv"), tell=lambda line: None)
    found = [row["probability_large"] for row in rows_of(result.stdout)]
    assert found == [f"{value:.7g}" for value in expected["probability_large"]]


def test_a_file_name_is_not_a_table(trained: Path) -> None:
    with pytest.raises(DataError, match=r"chainrule\.data\.read_table\('new\.csv'\)"):
        predict_table(cr.load(trained), "new.csv")  # type: ignore[arg-type]
