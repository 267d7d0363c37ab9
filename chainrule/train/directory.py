"""Write the directory of a run completely or not at all, and read weights back.

Read next: :mod:`chainrule.train.run`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chainrule.core.errors import RunError
from chainrule.nn.layer import Layer, parameters

__all__ = [
    "CHECKPOINTS",
    "check_parent",
    "check_writable",
    "load_weights",
    "pack_weights",
    "unpack_weights",
    "write_run",
]

CHECKPOINTS = "checkpoints"  # the folder in a run that holds those of its training


def write_run(files: dict[str, bytes], path: str | os.PathLike[str], force: bool) -> Path:
    """Write `files` into a new directory `path` by way of a temporary one beside it."""
    target = Path(path)
    check_writable(target, force)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            for name, content in files.items():
                (temporary / name).write_bytes(content)
            temporary.chmod(0o755)
            _swap(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        raise RunError(f"can't write the run to {str(target)!r}: {error.strerror}.") from error
    return target


def _swap(fresh: Path, target: Path) -> None:
    """Put the directory `fresh` in the place of `target`, with what else `target` holds."""
    if not target.exists():
        fresh.rename(target)
        return
    for path in target.iterdir():
        if not (fresh / path.name).exists():
            copy = shutil.copytree if path.is_dir() else shutil.copy2
            copy(path, fresh / path.name)
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    target.rename(old / "run")
    fresh.rename(target)
    shutil.rmtree(old)


def check_writable(path: str | os.PathLike[str], force: bool) -> None:
    """Raise RunError if a run can't be written to `path`; called before training, too."""
    target = Path(path)
    if target.exists() and not target.is_dir():
        raise RunError(f"{str(target)!r} is a file; give a directory for the run.")
    if target.is_dir() and any(target.iterdir()):
        finished = (target / "run.json").exists()
        unfinished = not finished and any(target.glob(f"{CHECKPOINTS}/step-*"))
        if unfinished and not force:
            raise RunError(
                f"{str(target)!r} holds a training that was not finished; nothing was written. Go "
                f"on with it by chainrule train --resume {target}, or give another directory, or "
                "replace it with --force."
            )
        if not finished and not unfinished:
            raise RunError(
                f"{str(target)!r} exists and is not a chainrule run; nothing was written. "
                "Give another directory."
            )
        if not force:
            raise RunError(
                f"{str(target)!r} already holds a finished run; nothing was written. Give "
                "another directory, or replace it with force (--force on the command line)."
            )
    check_parent(target)


def check_parent(target: Path) -> None:
    """Raise RunError unless a directory can be made at `target`."""
    parent = next(p for p in (target, *target.resolve().parents) if p.exists())
    if not parent.is_dir():
        raise RunError(f"{str(parent)!r} is a file, so no directory can be made in it.")
    try:
        # Permissions tell half of it: a file system may be read-only, or take no directories.
        tempfile.TemporaryDirectory(dir=parent).cleanup()
    except OSError as error:
        raise RunError(
            f"{str(parent)!r} is not writable, so the run can't be saved there: {error.strerror}."
        ) from error


def pack_weights(weights: Mapping[str, Any]) -> bytes:
    """Return arrays by name as the content of a safetensors file."""
    from safetensors.numpy import save

    content: bytes = save(dict(weights))
    return content


def unpack_weights(content: bytes, path: Path) -> dict[str, Any]:
    from safetensors.numpy import load

    return load(content)


def load_weights(model: Layer, path: Path) -> None:
    """Set the parameters of `model` to the weights in the file `path`.

    Raises RunError if the file can't be read, or its weights do not fit the model.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"the weights in {str(path)!r} can't be read: {error}.") from error
    found = parameters(model)
    if set(found) != set(weights):
        odd = ", ".join(sorted(set(found) ^ set(weights)))
        raise RunError(f"the weights in {str(path)!r} do not fit the model: {odd}.")
    for name, parameter in found.items():
        parameter.name = name
        if weights[name].shape != parameter.shape:
            raise RunError(
                f"the weights in {str(path)!r} do not fit the model: {name!r} has shape "
                f"{parameter.shape} there and {weights[name].shape} in the file."
            )
        parameter.value = weights[name]
