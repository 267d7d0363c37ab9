"""Write the directory of a run, check where it is to be written, and set weights that were read.

Read next: :mod:`chainrule.train.saved_files`.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.core.durable import recover, write_folder
from chainrule.core.errors import DamagedError, RunError
from chainrule.nn.layer import Layer, parameters

__all__ = [
    "BREAK",
    "CHECKPOINTS",
    "LOCK",
    "START",
    "check_parent",
    "check_writable",
    "how_to_go_on",
    "pack_weights",
    "set_weights",
    "unpack_weights",
    "weights_in_parts",
    "write_run",
]

Array = np.ndarray[Any, Any]
CHECKPOINTS = "checkpoints"  # the folder in a run that holds those of its training
LOCK = ".lock"  # in a folder of checkpoints, while its training is under way
START = "training"  # the folder in it that says what is trained
BREAK = "diverged.json"  # the file in it that says where the numbers broke
_BEGUN = re.compile(r"\.training\.old|\.(training|step-\d+)\.writing-[0-9a-f]+")
MOST_NAMED = 8  # weights listed in one error


def write_run(files: Mapping[str, bytes], path: str | os.PathLike[str], force: bool) -> Path:
    """Write `files` as the run `path`, whole or not at all; see :func:`write_folder`."""
    target = Path(path)
    check_writable(target, force)
    write_folder(files, target, must_be_new=not force)
    return target


def check_writable(path: str | os.PathLike[str], force: bool, replace: str = "force=True") -> None:
    """Raise RunError if a run can't be written to `path`; called before training, too.

    `replace` is how the caller is told to replace a run.
    """
    target = Path(path)
    recover(target)
    if target.exists() and not target.is_dir():
        raise RunError(f"{str(target)!r} is a file; give a directory for the run.")
    if target.is_dir() and any(not _is_bare(path) for path in target.iterdir()):
        is_run = (target / "run.json").exists()
        # A training that ends by itself leaves no checkpoints, one that was interrupted does.
        unfinished = any(target.glob(f"{CHECKPOINTS}/step-*"))
        if unfinished and not force:
            how = how_to_go_on(target) or f"chainrule train --resume {shlex.quote(str(target))}"
            raise RunError(
                f"{str(target)!r} holds a training that was not finished; nothing was written. Go "
                f"on with it by {how}, or give another directory, or replace it with {replace}."
            )
        if not is_run and not unfinished:
            raise RunError(
                f"{str(target)!r} exists and is not a chainrule run; nothing was written. "
                "Give another directory."
            )
        if not force:
            raise RunError(
                f"{str(target)!r} already holds a finished run; nothing was written. Give "
                f"another directory, or replace it with {replace}."
            )
    check_parent(target)


def how_to_go_on(root: Path) -> str | None:
    """Return the command or call that goes on with the training in `root`, None without one.

    `root` is the directory of a run, or a folder of checkpoints.
    """
    for folder in (root, root / CHECKPOINTS):
        if (folder / START / "training.json").is_file():
            if folder.name == CHECKPOINTS and (folder / START / "config.toml").is_file():
                return f"chainrule train --resume {shlex.quote(str(folder.parent))}"
            return f"chainrule.resume({str(folder)!r})"
    return None


def _is_bare(path: Path) -> bool:
    """Whether `path` is what a training leaves that has written no whole checkpoint."""
    return path.name == CHECKPOINTS and path.is_dir() and all(map(_is_begun, path.iterdir()))


def _is_begun(path: Path) -> bool:
    if path.name == START:
        return (path / "training.json").is_file()
    return path.name in (LOCK, BREAK) or _BEGUN.fullmatch(path.name) is not None


def check_parent(target: Path) -> None:
    """Raise RunError unless a directory can be made at `target`."""
    recover(target)  # checks the path
    parent = next(p for p in (target, *target.resolve().parents) if p.exists())
    if not parent.is_dir():
        raise RunError(f"{str(parent)!r} is a file, so no directory can be made in it.")
    try:
        # Permissions tell half of it: a file system may be read-only, or take no directories.
        tempfile.TemporaryDirectory(dir=parent).cleanup()
    except OSError as error:
        # Systems of files that are none, such as /proc, say that what is to be made is not there.
        why = "" if error.errno == errno.ENOENT else f": {error.strerror}"
        raise RunError(
            f"no directory can be made in {str(parent)!r}, so nothing can be saved there{why}."
        ) from error


def pack_weights(weights: Mapping[str, Array]) -> bytes:
    """Return arrays by name as the content of a safetensors file."""
    return b"".join(weights_in_parts(weights))


def weights_in_parts(weights: Mapping[str, Array]) -> list[bytes | memoryview]:
    """Return the content of a safetensors file in parts, without copying the arrays.

    Its form is 8 bytes of length, a header in JSON with name, dtype, shape and place of each
    array, and the arrays; see https://huggingface.co/docs/safetensors.
    """
    header, at = {}, 0
    for name, array in weights.items():
        kind = array.dtype
        header[name] = {
            "dtype": "BOOL" if kind.kind == "b" else f"{kind.kind.upper()}{8 * kind.itemsize}",
            "shape": array.shape,
            "data_offsets": (at, at := at + array.nbytes),
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays are aligned
    views = (memoryview(np.ascontiguousarray(a).data).cast("B") for a in weights.values() if a.size)
    return [len(text).to_bytes(8, "little"), text, *views]


def unpack_weights(content: bytes, path: Path) -> dict[str, Any]:
    """Return the arrays in `content`, that of the safetensors file `path`.

    Raises DamagedError, which names the file, unless it is such a file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(content))
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise DamagedError(
            f"the weights in {str(path)!r} can't be read: {error!s:.200}."
        ) from error


def set_weights(model: Layer, weights: Mapping[str, Any], path: Path) -> None:
    """Set the parameters of `model` to the `weights`, which were read from the file `path`.

    Raises DamagedError if they do not fit; no parameter is then allocated.
    """
    found = parameters(model)
    if odd := sorted(set(found) ^ set(weights)):
        named = ", ".join(f"{name:.60}" for name in odd[:MOST_NAMED])
        more = f" and {len(odd) - MOST_NAMED} more" if len(odd) > MOST_NAMED else ""
        raise DamagedError(f"the weights in {str(path)!r} do not fit the model: {named}{more}.")
    for name, parameter in found.items():
        array = weights[name]
        if array.shape != parameter.shape or array.dtype != parameter.dtype:
            raise DamagedError(
                f"the weights in {str(path)!r} do not fit the model: {name!r} has shape "
                f"{parameter.shape} and {parameter.dtype} there, and {array.shape} and "
                f"{array.dtype} in the file."
            )
    for name, parameter in found.items():
        parameter.name = name
        parameter.value = weights[name]
