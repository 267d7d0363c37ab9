"""Files as people have them: other encodings, Excel sheets, titles above the header."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from chainrule.core.errors import DataError
from chainrule.data import read_table, stream

pytest.importorskip("duckdb", reason="reading files needs duckdb")

TEXT = "town,size,price\n" + "".join(f"Köln{k % 5},{k}.5,{k * 3}\n" for k in range(50))


@pytest.mark.parametrize(
    ("encoding", "told"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("utf-32", "UTF-32"),
        ("latin-1", "Latin-1 (Windows-1252), so that its first word beyond ASCII is 'Köln0'"),
        ("cp1252", "Latin-1"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_encodings(tmp_path: Path, encoding: str, told: str, packed: bool) -> None:
    path = tmp_path / ("t.csv.gz" if packed else "t.csv")
    raw = TEXT.encode(encoding)
    path.write_bytes(gzip.compress(raw) if packed else raw)
    table = read_table(path)
    assert table.names == ("town", "size", "price")
    assert table["town"].values[:2].tolist() == ["Köln0", "Köln1"]
    assert table["size"].values[1] == 1.5
    assert len(table.notes) == bool(told)
    assert told in "".join(table.notes)


def test_an_encoding_of_a_stream_and_of_a_query(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(TEXT.encode("latin-1"))
    assert any("Latin-1" in note for note in stream(path, "price").pipeline.notes)
    table = read_table(f"select town from '{path}'")
    assert table["town"].values[0] == "Köln0"
    assert len(table.notes) == 1


def test_damaged_utf_8_and_bytes_that_are_no_text_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for raw in (TEXT.encode().replace(b"K\xc3\xb6ln3", b"K\xf6ln3", 1),
                TEXT.encode("latin-1").replace(b"K\xf6ln3", b"K\xf6\x01n3", 1)):  # fmt: skip
        path.write_bytes(raw)
        with pytest.raises(DataError, match=r"t\.csv: row [14] .*not UTF-8"):
            read_table(path)


HEAD = "town,size,price\n"
BODY = "".join(f"a{k % 5},{k}.5,{k * 3}\n" for k in range(30))


@pytest.mark.parametrize(
    ("above", "lines"),
    [
        ("", 0),
        ("Prices of houses in 2024\n", 1),
        ("Prices of houses in 2024\n\n", 2),
        ("# made by hand, with care, in 2024\n# do not edit\n", 2),
        ('"Prices, of houses, in 2024",,\n,,\n', 2),
        ("\n", 1),
    ],
)
def test_titles_and_comments_are_left_out_and_told(tmp_path: Path, above: str, lines: int) -> None:
    path = tmp_path / "t.csv"
    path.write_text(above + HEAD + BODY)
    table = read_table(path)
    assert table.names == ("town", "size", "price")
    assert len(table) == 30
    assert table["size"].values[:2].tolist() == [0.5, 1.5]
    assert [f"left out {lines} line" in note for note in table.notes] == [True] * bool(lines)
    said = read_table(path, skip=lines)
    assert said.names == table.names
    assert said.notes == ()


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2,3\n4,5,6\n",  # a name is missing
        "a\n1,2\n3,4\n",
        '"a\nb",c\n1,2\n3,4\n',
    ],
)
def test_a_header_is_not_taken_for_a_title(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    if text.startswith('"'):
        assert read_table(path).names == ("a\nb", "c")
    else:
        with pytest.raises(DataError, match="but the header names"):
            read_table(path)


def test_lines_are_left_out_where_asked(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("by,Ann,2024\n" + HEAD + BODY)
    assert read_table(path).names == ("by", "Ann", "2024")
    assert read_table(path, skip=1).names == ("town", "size", "price")
    with pytest.raises(DataError, match="has 32 lines, so 99 can't be skipped"):
        read_table(path, skip=99)
    path.write_text("by,Ann,2024\n  \n" + HEAD + BODY)
    assert read_table(path, skip=2).names == ("town", "size", "price")
    with pytest.raises(DataError, match="with 1 line skipped, line 2 is the header, but it is em"):
        read_table(path, skip=1)


def test_rows_are_counted_from_the_header(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("Prices\n\n" + HEAD + BODY + "a,1\n")
    with pytest.raises(DataError, match=r"row 31 .*has 2 fields"):
        read_table(path)


def write_xlsx(path: Path, sheets: dict[str, list[list[str | float | bool | None]]]) -> None:
    """Write the smallest file that is an Excel sheet."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    kinds = "application/vnd.openxmlformats-officedocument.spreadsheetml"

    def cell(value: str | float | bool | None) -> str:
        if value is None:
            return "<c/>"
        if isinstance(value, bool):
            return f'<c t="b"><v>{int(value)}</v></c>'
        if isinstance(value, str):
            return f'<c t="inlineStr"><is><t>{escape(value)}</t></is></c>'
        return f"<c><v>{value}</v></c>"

    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        '<Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kinds}.sheet.main+xml"/>'
        + "".join(f'<Override PartName="/xl/worksheets/sheet{i}.xml" '
                  f'ContentType="{kinds}.worksheet+xml"/>' for i in range(len(sheets)))
        + "</Types>",
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
        + "".join(f'<sheet name="{name}" sheetId="{i + 1}" r:id="s{i}"/>'
                  for i, name in enumerate(sheets)) + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        + "".join(f'<Relationship Id="s{i}" Type="{office}/worksheet" '
                  f'Target="worksheets/sheet{i}.xml"/>' for i in range(len(sheets)))
        + "</Relationships>",
    }  # fmt: skip
    for i, rows in enumerate(sheets.values()):
        lines = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
        parts[f"xl/worksheets/sheet{i}.xml"] = (
            f'<worksheet xmlns="{main}"><sheetData>{lines}</sheetData></worksheet>'
        )
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{text}')


def test_excel_sheets(tmp_path: Path) -> None:
    pytest.importorskip("python_calamine", reason="Excel files need the extra xlsx")
    path = tmp_path / "t.xlsx"
    rows = [["town", "size", "sold", "price"]]
    rows += [[f"a{k % 3}", k + 0.5, k % 2 == 0, k * 3 if k % 5 else None] for k in range(30)]
    write_xlsx(path, {"Empty": [], "Houses": [["Prices of 2024"], *rows], "Other": [["x"], [1.0]]})  # type: ignore[dict-item, list-item]
    table = read_table(path)
    assert [column.kind for column in table] == ["text", "number", "boolean", "number"]
    assert table["size"].values[:2].tolist() == [0.5, 1.5]
    assert table["price"].missing.sum() == 6
    assert "read the sheet 'Houses'" in table.notes[0]
    assert "'Other'" in table.notes[0]
    assert "left out 1 line above the header" in table.notes[1]
    assert len(read_table(f"select size from '{path}' where size > 10")) == 20
    path.write_bytes(b"no sheet")
    with pytest.raises(DataError, match="not a valid Excel file"):
        read_table(path)


def test_without_the_library_excel_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "python_calamine", None)
    path = tmp_path / "t.xlsx"
    write_xlsx(path, {"A": [["x"], [1.0]]})
    with pytest.raises(DataError, match=r"pip install python-calamine"):
        read_table(path)
