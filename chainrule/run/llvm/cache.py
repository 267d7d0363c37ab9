"""Cache machine code on disk, so that later processes do not compile it again.

Entries are written atomically (to a temporary file that is then renamed) and contain a
digest of their content.  If the folder can't be written, the disk is full or an entry is
damaged, the code is compiled again; none of these raises an error.

Read next: :mod:`chainrule.run.llvm.native`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["cache_folder", "key_of", "read", "write"]

LIMIT = 512  # entries kept; the oldest are deleted first


def cache_folder() -> Path:
    """Return the cache folder: ``CHAINRULE_CACHE``, or a folder in the user's cache folder."""
    given = os.environ.get("CHAINRULE_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if base.startswith("~"):  # a user without a home directory, as in some containers
        base = os.path.join(tempfile.gettempdir(), f"chainrule-{os.getuid()}")
    return Path(base) / "chainrule" / "code"


@cache
def compiler_digest() -> str:
    """Return a digest of the compiler's source, so that versions do not share entries."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parents[2]
    for folder in ("run", "ops", "transform", "core"):
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def key_of(*parts: object) -> str:
    """Return the key of the entry that depends on all of `parts`."""
    digest = hashlib.sha256(compiler_digest().encode())
    for part in parts:
        digest.update(part if isinstance(part, bytes) else str(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:40]


def read(key: str) -> bytes | None:
    """Return the content of entry `key`, or None if it is missing or damaged."""
    try:
        raw = (cache_folder() / key).read_bytes()
    except OSError:
        return None
    digest, content = raw[:32], raw[32:]
    return content if hashlib.sha256(content).digest() == digest else None


def write(key: str, content: bytes) -> None:
    """Store `content` under `key`; do nothing if that fails."""
    folder = cache_folder()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(content).digest() + content)
            os.replace(name, folder / key)
        except OSError:
            Path(name).unlink(missing_ok=True)
        _forget_oldest(folder)


def _forget_oldest(folder: Path) -> None:
    entries = [p for p in folder.iterdir() if not p.name.startswith(".")]
    if len(entries) > LIMIT:
        entries.sort(key=lambda p: p.stat().st_mtime)
        for path in entries[: len(entries) - LIMIT]:
            path.unlink(missing_ok=True)
