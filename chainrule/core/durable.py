"""Write a folder of files completely or not at all, and read it back verified.

A folder written here holds, besides its files, ``manifest.json``: the size and the SHA-256 of each
file, and a SHA-256 of the manifest itself.  Writing follows the steps that survive a crash at any
point: a temporary folder beside the target, each file flushed to the disk and read back, the
manifest last, then a rename.  Reading compares size and digest before it returns a byte.

Read next: :mod:`chainrule.train.directory`, which writes runs with it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from chainrule.core.errors import DamagedError, RunError

__all__ = [
    "MANIFEST",
    "read_file",
    "read_folder",
    "read_manifest",
    "recover",
    "steadily",
    "write_file",
    "write_folder",
]

Content: TypeAlias = "bytes | memoryview | Sequence[bytes | memoryview]"  # whole, or in parts
MANIFEST = "manifest.json"
BLOCK = 1 << 20  # bytes hashed at a time when a file is read back
MOST = 1 << 36  # bytes that `read_folder` takes into memory unless told otherwise
MOST_MANIFEST = 1 << 24
MOST_ATTEMPTS = 100  # to read a folder that is away, while it may come back
Read = TypeVar("Read")

ADVICE = {
    errno.ENOSPC: "Free space on its disk, or give a place on another.",
    errno.EDQUOT: "Delete files of yours on its disk, or give a place on another.",
    errno.EFBIG: "Raise the limit of the size of files (ulimit -f), or give another place.",
    errno.EROFS: "Its disk is read-only; give a place on another.",
    errno.EACCES: "Change its permissions, or give a place that you may use.",
    errno.EPERM: "Change its permissions, or give a place that you may use.",
    errno.EMFILE: "Close files, or raise the limit of open files (ulimit -n).",
    errno.ENFILE: "Close files, or raise the limit of open files (ulimit -n).",
    errno.EIO: "Its disk may be failing; use another.",
    errno.ENAMETOOLONG: "Give a shorter name.",
}


def write_folder(files: Mapping[str, Content], target: Path, must_be_new: bool = False) -> None:
    """Write `files`, content by name, as the folder `target`, completely or not at all.

    An existing `target` is replaced: the files of its manifest go, what else it holds is kept.
    With `must_be_new` it is an error if it holds anything by the time it would be replaced.
    Raises RunError, which says what to do, if this fails; `target` is then as it was before.
    Processes may write to the same `target` at the same time: one of the folders remains, whole.
    """
    for name in files:
        _check_name(name)
    target = Path(os.path.realpath(target))
    fresh = _hidden(target, f"writing-{secrets.token_hex(6)}")
    replaced = False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target.parent):
            _put_back(target)
            _clean(target)
            os.mkdir(fresh)
            alive = _lock(fresh)  # until the end of this process at the latest
        try:
            entries = {name: _write(fresh / name, content) for name, content in files.items()}
            _write(fresh / MANIFEST, _manifest(entries))
            _keep_others(target, fresh)
            if target.exists():
                shutil.copymode(target, fresh)
            _sync(fresh)
            with _locked(target.parent):
                if must_be_new and target.exists() and any(target.iterdir()):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
                _exchange(fresh, target)
                replaced = True
                _drop_old(target)
        finally:
            _release(alive)
    except OSError as error:
        after = "" if replaced else " What was there before is unchanged."
        raise RunError(f"can't write {str(target)!r}: {_reason(error)}{after}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)  # gone already if all went well


def read_folder(
    path: Path, names: Iterable[str] | None = None, most: int = MOST
) -> dict[str, bytes]:
    """Return the files `names` of the folder `path` (default: all of its manifest), verified.

    Raises DamagedError, which names the file, if one is missing, truncated or changed, or together
    they have more than `most` bytes; RunError if one can't be read.
    """

    def read() -> dict[str, bytes]:
        entries = read_manifest(path)
        return _read_files(path, entries, entries if names is None else names, most)

    return steadily(path, read)


def steadily(path: Path, read: Callable[[], Read]) -> Read:
    """Return what `read` returns of the folder `path`, which others may replace meanwhile.

    If it was replaced when `read` raised RunError, between two files, `read` is called again.
    """
    old = _hidden(Path(os.path.abspath(path)), "old")
    for attempt in itertools.count():
        recover(path)
        before = _identity(path)
        try:
            return read()
        except RunError:
            # Without a folder, a writer is between its two renames, or one was killed there.
            absent = before is None and old.exists() and attempt < MOST_ATTEMPTS
            if _identity(path) == before and not absent:
                raise
    raise AssertionError("the loop has no end of its own")


def read_manifest(path: Path) -> dict[str, tuple[int, str]]:
    """Return the size and the SHA-256 of each file of the folder `path`, by name.

    Raises DamagedError if a byte of its manifest is not what was written.
    """
    file = path / MANIFEST
    content = read_file(file, most=MOST_MANIFEST)
    body = content[: -len(_seal(b""))]
    if content != body + _seal(body):
        raise DamagedError(f"{str(file)!r} is damaged: its digest is not that of its content.")
    try:
        entries = json.loads(content)["files"]
        found = {name: (entry["size"], entry["sha256"]) for name, entry in entries.items()}
        for name, (size, digest) in found.items():
            _check_name(name)
            if type(size) is not int or size < 0 or type(digest) is not str:
                raise ValueError(f"the entry of {name!r}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, RunError) as error:
        raise DamagedError(f"{str(file)!r} is not a manifest: {error}.") from error
    return found


def read_file(path: Path, size: int | None = None, most: int = MOST) -> bytes:
    """Return the content of a file, which must have `size` bytes, if given, and at most `most`.

    Raises DamagedError if it has not, or is missing, and RunError if it can't be read.
    """
    try:
        # A pipe in the place of the file would otherwise block.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(file, "rb") as reader:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise DamagedError(f"{str(path)!r} is not a file.")
            if size is not None and status.st_size != size:
                what = "truncated" if status.st_size < size else "damaged"
                raise DamagedError(
                    f"{str(path)!r} is {what}: it has {status.st_size:,} bytes and should have "
                    f"{size:,}."
                )
            if status.st_size > most:
                raise DamagedError(
                    f"{str(path)!r} has {status.st_size:,} bytes, more than the {most:,} that are "
                    "read."
                )
            return reader.read(status.st_size)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DamagedError(f"{str(path)!r} is missing.") from error
    except DamagedError:
        raise
    except OSError as error:
        raise RunError(f"can't read {str(path)!r}: {_reason(error)}") from error


def write_file(path: Path, content: Content) -> None:
    """Write `content` to the file `path`, completely or not at all.

    Raises RunError, which says what to do, if this fails; `path` is then as it was before.
    """
    target = Path(os.path.realpath(path))
    fresh = _hidden(target, f"writing-{secrets.token_hex(6)}")
    try:
        if target.exists() and not target.is_file():
            with open(target, "wb") as device:  # such as /dev/null, can't be replaced
                device.writelines(_views(content))
            return
        try:
            _write(fresh, content)
            if target.exists():
                shutil.copymode(target, fresh)
            os.rename(fresh, target)
        finally:
            fresh.unlink(missing_ok=True)
        _sync(target.parent)
    except OSError as error:
        raise RunError(f"can't write {str(path)!r}: {_reason(error)}") from error


def recover(target: Path) -> None:
    """Put the previous folder back where a writer was killed just before it put the new one there.

    Readers that look for single files of `target` call this first; `read_folder` does.  Raises
    RunError for a path that can't be one, such as a loop of links or a name that is too long.
    """
    try:
        os.stat(target)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise RunError(f"can't use {str(target)!r}: {_reason(error)}") from error
    except ValueError as error:  # a null byte
        raise RunError(f"{str(target)!r} can't be the name of a file: {error}.") from error
    target = Path(os.path.realpath(target))
    # Without permission to rename there is nothing to be done, and the folder will be missing.
    with contextlib.suppress(OSError):
        if not target.exists() and _hidden(target, "old").exists():
            with _locked(target.parent):  # waits for a writer that is between its two renames
                _put_back(target)


def _check_name(name: str) -> None:
    """Raise RunError unless `name` is that of a file directly in a folder."""
    if name in ("", ".", "..", MANIFEST) or any(mark in name for mark in "/\\\0"):
        raise RunError(f"{name!r} can't be the name of a file in a folder with a manifest.")


def _hidden(target: Path, suffix: str) -> Path:
    return target.parent / f".{target.name}.{suffix}"


def _manifest(entries: Mapping[str, tuple[int, str]]) -> bytes:
    files = {name: {"size": size, "sha256": digest} for name, (size, digest) in entries.items()}
    body = json.dumps({"files": files}, indent=1)[:-2].encode()  # without its "\n}"
    return body + _seal(body)


def _seal(body: bytes) -> bytes:
    """Return the end of a manifest: the digest of all bytes before it."""
    return b',\n "sha256": "%s"\n}\n' % hashlib.sha256(body).hexdigest().encode()


def _write(path: Path, content: Content) -> tuple[int, str]:
    """Write a new file through to the disk, read it back, and return its size and SHA-256."""
    views = _views(content)
    digest = hashlib.sha256()
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)
    try:
        for view in views:
            digest.update(view)
            rest = view
            while rest:
                rest = rest[os.write(file, rest) :]
        os.fsync(file)
        os.lseek(file, 0, os.SEEK_SET)
        for block in (view[at : at + BLOCK] for view in views for at in range(0, len(view), BLOCK)):
            if os.read(file, len(block)) != bytes(block):
                raise OSError(errno.EIO, f"{path.name} read back differs from what was written")
    finally:
        os.close(file)
    return sum(map(len, views)), digest.hexdigest()


def _views(content: Content) -> list[memoryview]:
    """Return `content` as bytes in parts, none of them empty."""
    parts = [content] if isinstance(content, (bytes, memoryview)) else content
    return [view.cast("B") for part in parts if (view := memoryview(part)).nbytes]


def _read_files(
    path: Path, entries: Mapping[str, tuple[int, str]], names: Iterable[str], most: int
) -> dict[str, bytes]:
    found = {}
    for name in names:
        if name not in entries:
            raise DamagedError(f"{str(path / name)!r} is missing: {MANIFEST} does not list it.")
        size, digest = entries[name]
        content = read_file(path / name, size, most)
        if hashlib.sha256(content).hexdigest() != digest:
            raise DamagedError(
                f"{str(path / name)!r} is damaged: its content changed since it was written, its "
                f"SHA-256 is not the one in {MANIFEST}."
            )
        most -= len(content)
        found[name] = content
    return found


def _keep_others(target: Path, fresh: Path) -> None:
    """Give `fresh` what `target` holds besides the files of its manifest."""
    if not target.exists():
        return
    try:
        own = set(read_manifest(target))
    except RunError:
        own = set()  # written by something else, or damaged: all of it is kept
    for path in target.iterdir():
        copy = fresh / path.name
        if path.name in own or copy.exists():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, copy, symlinks=True, copy_function=_link)
        else:
            _link(path, copy)


def _link(source: Any, copy: Any) -> None:
    """Make `copy` the same file as `source`, or a copy where the disk has no links."""
    try:
        os.link(source, copy, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, copy, follow_symlinks=False)


def _exchange(fresh: Path, target: Path) -> None:
    """Put `fresh` in the place of `target`; a crash in between is what `_put_back` repairs."""
    old = _hidden(target, "old")
    try:
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.rename(target, old)
        os.rename(fresh, target)
    except BaseException:
        _put_back(target)
        raise


def _drop_old(target: Path) -> None:
    """Remove the folder that `target` has replaced.

    It is renamed first: `recover` would take what is left of it, if this process is killed before
    it is gone, for the present one once `target` is moved away.
    """
    old, gone = _hidden(target, "old"), _hidden(target, f"writing-{secrets.token_hex(6)}")
    with contextlib.suppress(OSError):
        os.rename(old, gone)
    _sync(target.parent)
    for path in (gone, old):
        shutil.rmtree(path, ignore_errors=True)


def _put_back(target: Path) -> None:
    old = _hidden(target, "old")
    if not target.exists() and old.exists():
        os.rename(old, target)


def _clean(target: Path) -> None:
    """Remove what killed writers of `target` left; living ones hold a lock on their folder."""
    for path in target.parent.glob(f"{_escape(_hidden(target, 'writing-'))}*"):
        try:
            file = _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        shutil.rmtree(path, ignore_errors=True)
        _release(file)
    if target.exists():
        shutil.rmtree(_hidden(target, "old"), ignore_errors=True)


def _escape(path: Path) -> str:
    return "".join(f"[{mark}]" if mark in "*?[" else mark for mark in path.name)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time change which folders there are in `folder`."""
    file = _lock(folder)
    try:
        yield
    finally:
        _release(file)


def _lock(folder: Path, how: int = fcntl.LOCK_EX) -> int:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, how)
    except OSError as error:
        # Some network disks lock no folders; writers there do without.
        if how & fcntl.LOCK_NB or error.errno not in (errno.EBADF, errno.ENOLCK, errno.ENOTSUP):
            os.close(file)
            raise
    return file


def _release(file: int) -> None:
    """Give up the lock of `file` and close it.

    Closing alone is not enough: a child that was forked meanwhile holds the same open file.
    """
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)


def _sync(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _identity(path: Path) -> tuple[int, int, int] | None:
    with contextlib.suppress(OSError):
        status = os.stat(path)
        return status.st_dev, status.st_ino, status.st_ctime_ns  # numbers of files are used again
    return None


def _reason(error: OSError) -> str:
    """Return why a call failed, and what to do about it."""
    why = error.strerror or str(error)
    return f"{why}. {ADVICE.get(error.errno or 0, 'Give another place.')}"
