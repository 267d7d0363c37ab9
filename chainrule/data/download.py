"""Download a file and verify its checksum.

The file is written under a temporary name first, so that an incomplete download is never used.

Read next: :mod:`chainrule.data.builtin`.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import sys
import tempfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import Any

from chainrule.core.errors import DataError

__all__ = ["download"]

_CHUNK = 1 << 16


def download(url: str, target: Path, sha256: str, timeout: float = 20.0) -> None:
    """Download the gzip file at `url` to `target`; show progress if stderr is a terminal.

    `sha256` is the checksum of the unpacked content.  Raises DataError on a failed
    connection, a wrong checksum, or a directory that can't be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as part:
            partial = Path(part.name)
        try:
            with urllib.request.urlopen(url, timeout=timeout) as answer:
                _copy(answer, partial, target.name)
            found = hashlib.sha256(gzip.decompress(partial.read_bytes())).hexdigest()
            if found != sha256:
                raise DataError(f"{url} has SHA-256 {found} unpacked; expected {sha256}.")
            partial.chmod(0o644)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except (EOFError, zlib.error, gzip.BadGzipFile, http.client.IncompleteRead) as error:
        raise DataError(f"{url} was not downloaded completely: {error}.") from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError is an OSError
        raise DataError(f"{url}: {getattr(error, 'reason', None) or error}.") from error


def _copy(answer: Any, partial: Path, name: str) -> None:
    total = int(answer.headers.get("Content-Length") or 0)
    shown, done = sys.stderr.isatty(), 0
    with partial.open("wb") as out:
        while chunk := answer.read(_CHUNK):
            out.write(chunk)
            done += len(chunk)
            if shown:
                share = f"{done / total:4.0%}" if total else f"{done >> 20} MB"
                sys.stderr.write(f"\r{name} {share}")
                sys.stderr.flush()
    if shown:
        sys.stderr.write("\n")
