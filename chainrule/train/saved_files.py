"""Read the files of a saved run: verify them, bring them to this format, check their types.

Everything is compared with the manifest before anything is parsed, and parsed and checked before
anything is made of it, so a damaged or hostile run ends in an error that names the file.

Read next: :mod:`chainrule.core.durable`, which verifies; :mod:`chainrule.train.run`, which loads.
"""

from __future__ import annotations

import contextlib
import json
import math
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.core.durable import MANIFEST, read_file, read_folder, read_manifest, steadily
from chainrule.core.errors import ChainruleError, DamagedError, RunError, did_you_mean
from chainrule.train.directory import how_to_go_on

__all__ = ["FORMAT", "SavedRun", "edited_files", "read_saved", "reading", "saved_with", "versions"]

FORMAT = 4  # raised whenever a run saved before can't be read as it is
NEEDED = ("run.json", "history.jsonl", "metrics.json", "weights.safetensors")
PIPELINE = "pipeline.json"  # only in runs that were trained on a table or on image files
DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64",
          "float16", "float32", "float64")  # fmt: skip
Files = dict[str, Any]


@dataclass(frozen=True)
class SavedRun:
    """The parsed files of a run, in the present format; the weights are still bytes."""

    about: dict[str, Any]
    history: list[dict[str, Any]]
    scores: dict[str, Any]
    pipeline: dict[str, Any] | None
    weights: bytes


def _with_manifest(files: Files) -> Files:
    """Format 4 added the manifest; entries that format 3 had not from its start became needed."""
    added: Files = {"frozen": [], "findings": None, "remedies": None}
    return files | {"run.json": added | files["run.json"] | {"format": 4}}


# From a format to the next one.  Formats 1 and 2 were never published.
MIGRATIONS: dict[int, Callable[[Files], Files]] = {3: _with_manifest}


def read_saved(root: Path) -> SavedRun:
    """Return the files of the run in the folder `root`.

    Raises DamagedError, which names the file, for one that is missing, truncated, changed or not
    what it should be, and RunError for a folder that is not a run or has another format.
    """
    return steadily(root, lambda: _read(root))


def _read(root: Path) -> SavedRun:
    if not (root / "run.json").is_file():
        if (how := how_to_go_on(root)) is not None:
            raise RunError(
                f"{str(root)!r} is not a saved run: it holds a training that was not finished. Go "
                f"on with it by {how}."
            )
        raise RunError(f"{str(root)!r} is not a saved run: it has no run.json.{_near(root)}")
    sealed = (root / MANIFEST).exists()
    if sealed:
        optional = [PIPELINE] if PIPELINE in read_manifest(root) else []
        content = read_folder(root, [*NEEDED, *optional])
    else:
        optional = [PIPELINE] if (root / PIPELINE).exists() else []
        content = {"run.json": read_file(root / "run.json")}
    about = _parsed(root / "run.json", content["run.json"], dict)
    found = about.get("format")
    if type(found) is not int or (found != FORMAT and found not in MIGRATIONS):
        raise RunError(
            f"{str(root)!r} has format {found!r:.20}, this chainrule reads "
            f"{', '.join(map(str, MIGRATIONS))} and {FORMAT}; "
            "use the version that saved it, or train it again."
        )
    if not sealed and found >= 4:
        raise DamagedError(
            f"{str(root / MANIFEST)!r} is missing, so the files of the run can't be verified; "
            "copy the whole folder again."
        )
    if not sealed:
        content |= {name: read_file(root / name) for name in (*NEEDED[1:], *optional)}
    files: Files = content | {"run.json": about}
    files["history.jsonl"] = _lines(root / "history.jsonl", content["history.jsonl"])
    for name in ("metrics.json", *optional):
        files[name] = _parsed(root / name, content[name], dict)
    while files["run.json"]["format"] != FORMAT:
        files = MIGRATIONS[files["run.json"]["format"]](files)
    files["run.json"] = ADDED | files["run.json"]
    _check(root / "run.json", files["run.json"])
    return SavedRun(
        about=files["run.json"],
        history=files["history.jsonl"],
        scores=files["metrics.json"],
        pipeline=files.get(PIPELINE),
        weights=files["weights.safetensors"],
    )


def versions() -> dict[str, str]:
    """Return the versions of chainrule ("from its source" if unknown), Python and NumPy."""
    try:
        own = version("chainrule")
    except PackageNotFoundError:
        own = "from its source"
    return {"chainrule": own, "python": platform.python_version(), "numpy": np.__version__}


def saved_with(root: Path) -> dict[str, str]:
    """Return the versions that the run in the folder `root` was saved with."""
    found = read_saved(root).about.get("versions")
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def edited_files(root: Path) -> list[str]:
    """Return the files of the run that :func:`read_saved` does not need and that were changed.

    They may be: a config.toml is there to be edited, a report.html may be deleted.
    """
    return steadily(root, lambda: _edited(root))


def _edited(root: Path) -> list[str]:
    if not (root / MANIFEST).exists():
        return []
    edited = []
    for name in sorted(set(read_manifest(root)) - {*NEEDED, PIPELINE}):
        try:
            read_folder(root, [name])
        except DamagedError:
            edited += [name] if (root / name).exists() else []
    return edited


@contextlib.contextmanager
def reading(file: Path) -> Iterator[None]:
    """Name `file` in the error of making objects of its content, whatever that error is."""
    try:
        yield
    except RunError:
        raise
    except ChainruleError as error:
        raise type(error)(f"{str(file)!r}: {error}") from error
    except Exception as error:
        # Layers, encoders and findings expect what they saved, and fail in many ways on the rest.
        why = str(error)[:200] or type(error).__name__
        raise DamagedError(f"{str(file)!r} is damaged: {why}.") from error


def _near(root: Path) -> str:
    """Return a sentence that names the run nearest to `root`, if there are any."""
    shown = "[!.]*/run.json"  # others are being written
    found = sorted(root.glob(shown)) or sorted(root.parent.glob(shown))
    hint = did_you_mean(str(root), [str(file.parent) for file in found]) if found else ""
    return hint and f" {hint}"


def _parsed(file: Path, content: bytes, kind: type) -> Any:
    with reading(file):
        value = json.loads(content)
        if not isinstance(value, kind):
            raise ValueError(f"it is {value!r:.40}, not a JSON object")
        return value


def _lines(file: Path, content: bytes) -> list[dict[str, Any]]:
    records = []
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n") if content else [], 1):
        record = _parsed(file, line, dict)
        for name, value in record.items():
            fits = isinstance(value, dict) if name == "layers" else _is_number(value)
            if not fits:
                raise DamagedError(
                    f"{str(file)!r} is damaged: {name!r:.40} of line {number} is {value!r:.40}."
                )
        records.append(record)
    return records


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _listed(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(type(entry) is kind for entry in value)


def _is_shape(value: Any) -> bool:
    return _listed(int)(value) and min(value, default=0) >= 0


def _is_optional(kind: type) -> Callable[[Any], bool]:
    return lambda value: value is None or isinstance(value, kind)


def _is_between(value: Any, high: float) -> bool:
    return isinstance(value, (int, float)) and type(value) is not bool and 0 < value <= high


# Entries that earlier runs of this format do not have.
ADDED: Files = {"temperature": 1.0, "threshold": None, "feature_names": None}
# The entries of run.json: what each must be, in words and as a test.
ENTRIES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "model": ("a layer", lambda value: isinstance(value, dict)),
    "frozen": ("a list of names", _listed(str)),
    "loss": ("a name or a loss", lambda value: isinstance(value, (str, dict))),
    "custom_loss": ("true or false", lambda value: isinstance(value, bool)),
    "metrics": ("a list of names", _listed(str)),
    "features": ("a list of sizes", _is_shape),
    "feature_dtype": ("the name of a dtype", lambda value: value in DTYPES),
    "flat_target": ("true or false", lambda value: isinstance(value, bool)),
    "feature_names": ("a list of names or null", lambda v: v is None or _listed(str)(v)),
    "temperature": ("a number above 0", lambda value: _is_between(value, math.inf)),
    "threshold": ("a probability or null", lambda value: value is None or _is_between(value, 1)),
    "settings": ("an object", lambda value: isinstance(value, dict)),
    "stopped": ("a text or null", _is_optional(str)),
    "best_epoch": ("a whole number", lambda value: type(value) is int),
    "findings": ("a list or null", _is_optional(list)),
    "remedies": ("a list or null", _is_optional(list)),
}


def _check(file: Path, about: dict[str, Any]) -> None:
    for name, (what, fits) in ENTRIES.items():
        if name not in about:
            raise DamagedError(f"{str(file)!r} is damaged: {name!r} is missing.")
        value = about[name]
        if not fits(value):
            raise DamagedError(
                f"{str(file)!r} is damaged: {name!r} must be {what}, not {value!r:.40}."
            )
