"""Cache machine code on disk, so that later processes do not compile it again.

Entries are written atomically (to a temporary file that is then renamed) and contain a
digest of their content.  If the folder can't be written, the disk is full or an entry is
damaged, the code is compiled again; none of these raises an error.

The code is run, so it is only taken from a folder that no one else can have put it into: the
folder and its entries belong to the user, no one else may write them, and no one else may rename
a folder above.  Where this does not hold, the cache is not used, and a warning says so.

Read next: :mod:`chainrule.run.llvm.native`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import warnings
from functools import cache
from pathlib import Path

__all__ = ["cache_folder", "key_of", "read", "write"]

LIMIT = 512  # entries kept; the oldest are deleted first
ROOT = 0  # the administrator, who may own the folders above
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
# Not through links, which may lead elsewhere, and without waiting for the writer of a pipe.
_OPENING = os.O_RDONLY
for _flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    _OPENING |= getattr(os, _flag, 0)
_told: set[Path] = set()  # the unsafe folders that were warned of


def cache_folder() -> Path:
    """Return the cache folder: ``CHAINRULE_CACHE``, or a folder in the user's cache folder."""
    given = os.environ.get("CHAINRULE_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if base.startswith("~"):  # a user without a home directory, as in some containers
        base = os.path.join(tempfile.gettempdir(), f"chainrule-{_user() or 0}")
    return Path(base) / "chainrule" / "code"


def _user() -> int | None:
    """Return the number of the user; None on Windows, where folders of a profile are private."""
    return os.geteuid() if hasattr(os, "geteuid") else None


def _safe_folder() -> Path | None:
    """Return the cache folder, or None if it is missing or others can put entries into it."""
    folder = Path(os.path.realpath(cache_folder()))
    user = _user()
    if user is None:
        return folder
    for place in (folder, *folder.parents):
        try:
            about = os.lstat(place)
        except OSError:
            return None
        if why := _fault(about, place == folder, user):
            if folder not in _told:
                _told.add(folder)
                warnings.warn(
                    f"chainrule does not cache machine code in {folder}, because {place} {why}, so "
                    "others could replace the code; it is compiled again in each process.",
                    stacklevel=2,
                )
            return None
    return folder


def _fault(about: os.stat_result, own: bool, user: int) -> str:
    """Return why others could change a file or folder, or the names in one that is not `own`."""
    if about.st_uid != user and (own or about.st_uid != ROOT):
        return "belongs to another user (set CHAINRULE_CACHE to a folder of your own)"
    if about.st_mode & _OTHERS_WRITE and (own or not about.st_mode & stat.S_ISVTX):
        return "can be written by others (chmod go-w it, or set CHAINRULE_CACHE to another folder)"
    return ""


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
    """Return the content of entry `key`, or None if it is missing, damaged or not the user's."""
    folder, user = _safe_folder(), _user()
    if folder is None:
        return None
    try:
        handle = os.open(folder / key, _OPENING)
    except OSError:
        return None
    try:
        if user is not None and _fault(os.fstat(handle), True, user):
            return None
        with os.fdopen(handle, "rb", closefd=False) as file:
            raw = file.read()
    except OSError:
        return None
    finally:
        os.close(handle)
    digest, content = raw[:32], raw[32:]
    return content if hashlib.sha256(content).digest() == digest else None


def write(key: str, content: bytes) -> None:
    """Store `content` under `key`; do nothing if that fails."""
    with contextlib.suppress(OSError):
        path = Path(os.path.realpath(cache_folder()))
        for place in (*reversed(path.parents), path):
            place.mkdir(0o700, exist_ok=True)
        folder = _safe_folder()
        if folder is None:
            return
        handle, name = tempfile.mkstemp(dir=folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(content).digest() + content)
            os.replace(name, folder / key)
        except OSError:
            Path(name).unlink(missing_ok=True)
        _forget_oldest(folder)


def _forget_oldest(folder: Path) -> None:
    """Delete the oldest files beyond the limit, also those that a killed process left behind."""
    with os.scandir(folder) as found:
        entries = [entry for entry in found if entry.is_file(follow_symlinks=False)]
    if len(entries) > LIMIT:
        entries.sort(key=lambda entry: entry.stat().st_mtime)
        for entry in entries[: len(entries) - LIMIT]:
            Path(entry).unlink(missing_ok=True)
