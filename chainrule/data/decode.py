"""Rewrite text in other encodings, and Excel sheets, as UTF-8 text that DuckDB reads.

UTF-16 is known by its mark or its zero bytes.  Text that is not UTF-8 is taken for Windows-1252,
of which Latin-1 is nearly a part, if it has no bytes that no text has.

Read next: :mod:`chainrule.data.csv_files`.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import re
import shutil
import tempfile
import zlib
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from chainrule.core.errors import DataError, not_installed

__all__ = ["EXCEL", "Opening", "as_utf8", "from_excel", "from_latin"]

EXCEL = (".xlsx", ".xls")
_HEAD = 4096  # bytes looked at for an encoding with two bytes for each character
_BLOCK = 2**20
_UTF_32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NO_TEXT = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_UTF_8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")


@dataclass
class Opening:
    """One reading of files: the lines to skip, a folder for rewritten files, and notes.

    `skip` is the number of lines above the header (None: found by their look).
    """

    skip: int | None = None
    notes: list[str] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)
    _folder: Path | None = None

    def __enter__(self) -> Opening:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._stack.close()

    def place(self, name: str) -> Path:
        """Return a path for a rewritten file, which is deleted when the reading ends."""
        if self._folder is None:
            self._folder = Path(
                self._stack.enter_context(tempfile.TemporaryDirectory(prefix="chainrule-"))
            )
        return self._folder / f"{sum(1 for _ in self._folder.iterdir())}-{name}"


def as_utf8(path: Path, opening: Opening) -> Path:
    """Return `path`, or a UTF-8 copy of it if it is UTF-16 or UTF-32 text, with a note."""
    try:
        with _open(path) as file:
            start = file.read(_HEAD)
    except (OSError, EOFError, zlib.error):
        return path  # DuckDB says what is wrong with a packed file
    encoding = _wide(start)
    if not encoding:
        return path
    copy = opening.place("wide.csv")
    try:
        with (
            _open(path) as file,
            codecs.getreader(encoding)(file) as text,
            copy.open("w", encoding="utf-8", newline="") as out,
        ):
            shutil.copyfileobj(text, out, _BLOCK)
    except UnicodeError as error:
        raise DataError(
            f"{path}: the file looks like {encoding.upper()} text, but is damaged: {error}. Save "
            "it as UTF-8 and try again."
        ) from None
    opening.notes.append(f"{path.name} is {encoding.upper()[:6]} text, and was read as that")
    return copy


def _wide(start: bytes) -> str:
    """Return the encoding of text with two or four bytes for each character, or ""."""
    if start.startswith(_UTF_32):
        return "utf-32"
    if start.startswith(_UTF_16):
        return "utf-16"
    if b"\0" not in start:
        return ""
    pairs = start[: len(start) // 2 * 2]
    zeros = [half.count(0) / max(1, len(half)) for half in (pairs[::2], pairs[1::2])]
    if max(zeros) < 0.5 or min(zeros) > 0.1:
        return ""
    return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"


def from_latin(path: Path, opening: Opening) -> Path | None:
    """Return a UTF-8 copy of a file that is not UTF-8, read as Windows-1252, with a note.

    Returns None if it has characters in UTF-8, so that it is a damaged file, or bytes that text
    does not have.
    """
    copy, encoding, first = opening.place("latin.csv"), "cp1252", ""
    with _open(path) as file:
        while block := file.read(_BLOCK):
            if _NO_TEXT.search(block) or _UTF_8.search(block):
                return None
            if re.search(rb"[\x81\x8d\x8f\x90\x9d]", block):
                encoding = "latin-1"
    with _open(path) as file, copy.open("w", encoding="utf-8", newline="") as out:
        while block := file.read(_BLOCK):
            text = block.decode(encoding)
            found = None if first else re.search(r"\w*[^\x00-\x7f]\w*", text)
            first = found[0] if found else first
            out.write(text)
    name = "Latin-1 (Windows-1252)" if encoding == "cp1252" else "Latin-1"
    opening.notes.append(
        f"{path.name} is not UTF-8, and was read as {name}, so that its first word beyond ASCII is "
        f"{first!r}; if that is wrong, save the file as UTF-8"
    )
    return copy


def _open(path: Path) -> BinaryIO:
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]


def from_excel(path: Path, opening: Opening) -> Path:
    """Return the first sheet of an Excel file that is not empty as a CSV file.

    Raises DataError if the file can't be read, and if python-calamine is not installed.
    """
    try:
        import python_calamine  # optional
    except ImportError as error:
        raise not_installed(
            f"{path}: an Excel file", "python-calamine", "python-calamine", error, DataError
        ) from error
    try:
        book = python_calamine.CalamineWorkbook.from_path(str(path))
        sheets = {name: book.get_sheet_by_name(name).to_python() for name in book.sheet_names}
    except (python_calamine.CalamineError, OSError, ValueError) as error:
        raise DataError(
            f"{path}: the file is not a valid Excel file: {error}. Save it again, or as CSV."
        ) from None
    filled = {name: rows for name, rows in sheets.items() if any(map(any, rows))}
    if not filled:
        raise DataError(f"{path} is empty.")
    name, rows = next(iter(filled.items()))
    if len(filled) > 1:
        others = ", ".join(repr(other) for other in list(filled)[1:4])
        opening.notes.append(
            f"read the sheet {name!r} of {path.name}, the first of {len(filled)} with cells; "
            f"the others ({others}{', ...' if len(filled) > 4 else ''}) were left out"
        )
    copy = opening.place("sheet.csv")
    with copy.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerows([_cell(cell) for cell in row] for row in rows if any(map(_filled, row)))
    return copy


def _filled(cell: Any) -> bool:
    return cell is not None and cell != ""


def _cell(cell: Any) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e16 else repr(cell)
    if isinstance(cell, (date, datetime, time)):
        return cell.isoformat()
    if isinstance(cell, timedelta):
        return repr(cell.total_seconds())
    return "" if cell is None else str(cell)
