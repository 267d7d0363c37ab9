"""Files and SQL: what is read is what was written, and every fault is named with its place."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chainrule.core.errors import DataError
from chainrule.data import read_table
from chainrule.data.read_errors import explain

duckdb = pytest.importorskip("duckdb", reason="reading files needs duckdb")


def write(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


MESSY = (
    'id,size,note,flag,when,"a, b",code\n'
    'r1,1.5,"x, y",true,2024-01-02,p,007\n'
    'r2,NA,"two\nlines",false,2024-03-04 10:30,q,010\n'
    'r3,?,"say ""hi""",,,p,\n'
    "r4, 4 ,,True,2024-12-31,,011\n"
)


def test_messy_table(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, MESSY))
    assert table.names == ("id", "size", "note", "flag", "when", "a, b", "code")
    kinds = [column.kind for column in table]
    assert kinds == ["text", "number", "text", "boolean", "date", "text", "text"]
    assert table["size"].missing.tolist() == [False, True, True, False]
    assert table["size"].values[[0, 3]].tolist() == [1.5, 4.0]
    assert table["note"].values.tolist() == ["x, y", "two\nlines", 'say "hi"', ""]
    assert table["flag"].values.tolist() == [True, False, False, True]
    assert table["flag"].missing.tolist() == [False, False, True, False]
    assert table["when"].values[1] == np.datetime64("2024-03-04T10:30")
    assert table["when"].missing.tolist() == [False, False, True, False]
    assert table["code"].values.tolist() == ["007", "010", "", "011"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separator_is_found_and_others_are_text(tmp_path: Path, separator: str) -> None:
    text = separator.join(["a", "b"]) + "\n" + separator.join(['"x,;\t|"', "2"]) + "\n"
    table = read_table(write(tmp_path, text))
    assert table["a"].values.tolist() == ["x,;\t|"]
    assert table["b"].values.tolist() == [2.0]


@pytest.mark.parametrize("ends", [("\r\n", "\n"), ("\n", "\r\n")])
def test_lines_may_end_in_both_ways(tmp_path: Path, ends: tuple[str, str]) -> None:
    rows = [f'{i},"say ""{i % 3}"",\nor not"' for i in range(2000)]
    text = "".join(line + ends[i > 1000] for i, line in enumerate(["n,word", *rows]))
    table = read_table(write(tmp_path, text))
    assert table["n"].values.tolist() == list(range(2000))
    assert table["word"].values[:3].tolist() == [f'say "{i}",\nor not' for i in range(3)]
    for bad in ('2,"x', '2,"x"y'):
        with pytest.raises(DataError, match=r"line \d+ is not valid CSV: .* Quote a cell"):
            read_table(write(tmp_path, f"{text}{bad}\n"))


def test_row_order_is_the_files(tmp_path: Path) -> None:
    values = np.random.default_rng(0).permutation(50_000)
    path = write(tmp_path, "v\n" + "\n".join(map(str, values)) + "\n")
    assert np.array_equal(read_table(path)["v"].values, values)


def test_row_order_survives_parallel_reading(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    duckdb.sql(f"COPY (SELECT range AS v FROM range(1000000)) TO '{path}' (ROW_GROUP_SIZE 20000)")
    assert np.array_equal(read_table(path)["v"].values, np.arange(1_000_000))


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "\ufeffa,b\r\n1,x\r\n"))
    assert table.names == ("a", "b")
    assert table["b"].values.tolist() == ["x"]


def test_late_text_settles_the_kind(tmp_path: Path) -> None:
    path = write(tmp_path, "a\n" + "1\n" * 60_000 + "x\n")
    assert read_table(path)["a"].kind == "text"


def test_formats_agree(tmp_path: Path) -> None:
    text = "a,b\n1,x\n2,\n"
    csv = write(tmp_path, text)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
    rows = [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "t.json").write_text(json.dumps(rows))
    duckdb.sql(f"COPY (FROM '{csv}') TO '{tmp_path}/t.parquet'")
    duckdb.sql(f"COPY (FROM '{csv}') TO '{tmp_path}/z.csv.zst' (COMPRESSION zstd)")
    for name in ("t.csv.gz", "t.jsonl", "t.json", "t.parquet", "z.csv.zst"):
        table = read_table(tmp_path / name)
        assert table["a"].values.tolist() == [1.0, 2.0], name
        assert table["b"].missing.tolist() == [False, True], name


def test_sql_reads_csv_by_the_same_rules(tmp_path: Path) -> None:
    path = write(tmp_path, MESSY)
    table = read_table(f"select size, code from '{path}' where size > 2 order by code;")
    assert table["size"].values.tolist() == [4.0]
    assert table["code"].values.tolist() == ["011"]
    over = read_table(path, "SELECT id FROM data ORDER BY id DESC")
    assert over["id"].values.tolist() == ["r4", "r3", "r2", "r1"]


def test_sql_joins_files(tmp_path: Path) -> None:
    a = write(tmp_path, "k,v\n1,10\n2,20\n", "a.csv")
    b = write(tmp_path, "k,w\n2,x\n1,y\n", "b.csv")
    table = read_table(f"FROM '{a}' JOIN '{b}' USING (k) SELECT k, v, w ORDER BY k")
    assert table["w"].values.tolist() == ["y", "x"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["empty"]),
        ("\n\n", ["empty"]),
        ("a,b\n", ["no rows"]),
        ("a,b\n1,x\n2,y,z\n", ["row 2", "3 fields", "2 columns"]),
        ("a,b\n1,x\n2,y\n3\n", ["row 3", "1 field,", "2 columns"]),
        ('a,b\n1,"x\ny"\n2\n', ["row 2", "1 field"]),
        ("a,b,a\n1,2,3\n", ["two columns", "'a'"]),
        ("a,A\n1,2\n", ["two columns", "'a'"]),
        ('a,b\n1,x\n2,"y\n3,z\n', ["row 2", "quote"]),
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n", ["first line", "5.1", "names"]),
        ("1,3,1\n2,4,1\n", ["first line", "'1'", "names"]),
    ],
)
def test_faulty_csv_is_named(tmp_path: Path, text: str, words: list[str]) -> None:
    path = write(tmp_path, text)
    for source in (path, f"SELECT * FROM '{path}'"):
        with pytest.raises(DataError) as caught:
            read_table(source)
        for word in [str(path), *words]:
            assert word in str(caught.value)


def test_undecodable_bytes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n1,x\xc3\xa9\n2,caf\xe9\n")
    with pytest.raises(DataError, match=r"t\.csv: row 2 .*not UTF-8"):
        read_table(path)


def test_truncated_gzip_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    whole = gzip.compress(("a\n" + "\n".join(map(str, range(100_000)))).encode())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"t\.csv\.gz"):
        read_table(path)


def test_missing_file_suggests_a_near_one(tmp_path: Path) -> None:
    write(tmp_path, "a\n1\n", "houses.csv")
    with pytest.raises(DataError, match=r"house\.csv does not exist.*Did you mean 'houses\.csv'"):
        read_table(tmp_path / "house.csv")
    with pytest.raises(DataError, match="no directory"):
        read_table(tmp_path / "nowhere" / "house.csv")


def test_directory_and_unknown_extension(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a directory"):
        read_table(tmp_path)
    with pytest.raises(DataError, match=r"\.xlsx"):
        read_table(write(tmp_path, "x", "t.xlsx"))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT * FRO '{}'", ["Parser Error"]),
        ("SELECT zz FROM '{}'", ['"zz" not found', '"a"']),
        ("SELECT a FROM '{}' WHERE a > 9", ["no rows"]),
        ("SELECT a, a FROM '{}'", ["two columns", "'a'", "AS"]),
        ("SELECT a FROM '{}'; SELECT 2", ["single statement"]),
        ("SELECT [a] AS l FROM '{}'", ["'l'", "DOUBLE[]"]),
        ("SELECT * FROM 'https://example.org/t.csv'", ["local file"]),
        ("SELECT * FROM t.csv", ["needs quotes", "from 't.csv'"]),
        ("SELECT * FROM 'x y.csv' JOIN data/t.parquet USING (a)", ["from 'data/t.parquet'"]),
        ("SELECT * FROM csv", ["Table with name csv does not exist"]),  # Python has such a name
        ("SELCT * FROM '{}'", ["Did you mean 'select'"]),
    ],
)
def test_faulty_sql_is_explained(tmp_path: Path, query: str, words: list[str]) -> None:
    path = write(tmp_path, "a,b\n1,x\n")
    with pytest.raises(DataError) as caught:
        read_table(query.format(path))
    for word in words:
        assert word in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("t.parquet", "no parquet at all", "Parquet"),
        ("t.json", '{"a": [1,2', "JSON"),
        ("t.jsonl", '{"a":1}\n{"a":\n', "JSON"),
        ("t.csv.gz", "no gzip at all, but text", "CSV"),
    ],
)
def test_damaged_files_are_named_in_their_own_terms(
    tmp_path: Path, name: str, text: str, kind: str
) -> None:
    with pytest.raises(DataError, match=f"{name}: the file is not valid {kind}: ") as caught:
        read_table(write(tmp_path, text, name))
    assert "CREATE" not in str(caught.value)
    assert "Error:" not in str(caught.value)


def test_the_parsers_own_state_is_not_spoken_of() -> None:
    message = (
        "Invalid Input Error: CSV Error on Line: 4\nOriginal Line: a\x00b\n"
        "The CSV Parser state machine reached an invalid state.\nPossible fixes: ..."
    )
    said = explain(message, ".csv")
    assert "row 3" in said
    assert "is not valid CSV" in said
    assert "state" not in said


def test_a_full_disk_is_not_the_files_fault() -> None:
    assert "not valid" not in explain("IO Error: No space left on device", ".csv")


@pytest.mark.parametrize("source", ["", " "])
def test_no_source_is_said(source: str) -> None:
    with pytest.raises(DataError, match="the source is empty"):
        read_table(source)


def test_columns_in_memory_are_sent_to_the_table() -> None:
    with pytest.raises(DataError, match=r"not dict.*Table\.from_arrays"):
        read_table({"a": [1, 2]})  # type: ignore[arg-type]


def test_at_most_five_near_files_are_named(tmp_path: Path) -> None:
    for k in range(20):
        write(tmp_path, "a\n1\n", f"part-{k}.csv")
    with pytest.raises(DataError, match=r"Did you mean 'part-3\.csv'") as caught:
        read_table(tmp_path / "prt-3.csv")
    assert str(caught.value).count("part-") == 6  # one is named twice


def test_a_long_query_is_no_path(tmp_path: Path) -> None:
    path = write(tmp_path, "a\n1\n2\n")
    query = f"SELECT * FROM '{path}' WHERE a IN ({', '.join('2' * 2000)})"
    assert len(read_table(query)) == 1


def test_import_does_not_load_duckdb() -> None:
    code = "import sys, chainrule.data; sys.exit('duckdb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are text")
def test_a_file_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / b"h\xff.csv".decode(errors="surrogateescape")
    file.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="is not UTF-8 text; rename the file"):
        read_table(file)


@pytest.mark.parametrize("form", ["csv", "parquet", "json"])
@pytest.mark.parametrize(
    ("name", "other"), [("k[1]", "k1"), ("q?", "qz"), ("a*", "ab"), ("year=2020/k", "k")]
)
def test_the_characters_of_a_file_name_are_no_pattern(
    tmp_path: Path, form: str, name: str, other: str
) -> None:
    for value, stem in enumerate((name, other)):
        file = tmp_path / f"{stem}.{form}"
        file.parent.mkdir(exist_ok=True)
        plain = tmp_path / f"plain.{form}"
        duckdb.sql(f"COPY (SELECT {value} AS a, 'no' AS y) TO '{plain}'")
        plain.rename(file)
    table = read_table(tmp_path / f"{name}.{form}")
    assert table.names == ("a", "y")
    assert table["a"].values.tolist() == [0]
