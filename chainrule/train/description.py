"""What a training is, written down beside its checkpoints, so that it can be resumed.

The settings, the first weights that were given, and the data where they are small enough; no code.
A function of the user's is not in the files and has to be given again.

Read next: :mod:`chainrule.train.resuming`.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
import warnings
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.core.errors import ChainruleError, RunError
from chainrule.core.graph import Graph
from chainrule.core.plain import as_python
from chainrule.doctor.case import Case
from chainrule.nn.layer import parameters
from chainrule.nn.layer_config import model_config, to_config
from chainrule.optim.hyper import KINDS
from chainrule.step.part import Part
from chainrule.train.checkpoint import TABLE, Checkpoint
from chainrule.train.directory import START, pack_weights
from chainrule.train.saved_files import reading
from chainrule.train.set_up import Training

__all__ = ["check_same", "describe"]

Array = np.ndarray[Any, Any]
MOST_BYTES = 2**30  # of the data kept beside the checkpoints
LOOKED_AT = 2**30  # bytes of each array that the fingerprint is made of
WHAT = {
    "optimizer": "optimizer", "epochs": "number of epochs", "batch_size": "batch size",
    "seed": "seed", "early_stopping": "early stopping", "train": "training data",
    "validation": "validation data", "weights": "sample_weight or class_weight", "watch": "watch",
    "step": "model, loss, metrics or regularizer",
}  # fmt: skip
DIGESTS = ("train", "validation", "weights", "step")  # of these, the values say nothing


def describe(
    training: Training,
    case: Case,
    given: Mapping[str, Array],
    plan: Checkpoint,
    flags: Mapping[str, bool],
) -> dict[str, bytes]:
    """Return the files that say what is trained.

    `given` are the first weights that were not drawn, by path; `flags` are further arguments of
    fit, "watch" and "check", and whether it had "on_epoch" or callbacks.
    """
    arrays = {} if TABLE in plan.files else _arrays(case)
    about = {
        "format": 1,
        "identity": _identity(training, case),
        "made_with": _made_with(training),
        "on_epoch": flags["on_epoch"],
        **_arguments(training, case, plan, flags),
        "data": bool(arrays),
    }
    files = {
        "training.json": json.dumps(about, indent=1).encode(),
        "weights.safetensors": pack_weights(given),
        **{name: text.encode() for name, text in plan.files.items()},
    }
    return files | ({"data.safetensors": pack_weights(arrays)} if arrays else {})


def check_same(
    files: Mapping[str, bytes], training: Training, case: Case, folder: str, on_epoch: bool
) -> None:
    """Raise RunError unless `files` describe the training that is to be resumed.

    Warns of other versions or another machine, where the last bits may differ, and of an on_epoch
    or callbacks that are not given again.
    """
    with reading(Path(folder) / START / "training.json"):
        about = json.loads(files["training.json"])
        before, versions = dict(about["identity"]), dict(about["made_with"])
    now = _identity(training, case)
    other = [name for name in WHAT if before.get(name) != now[name]]
    if other:
        name = other[0]
        told = f": {_difference(str(before.get(name)), str(now[name]))}"
        if name in DIGESTS:
            table = files.get(TABLE, b"").decode()
            told = f": it began with the rows that {table} had then" if table else ""
        raise RunError(
            f"the training in {folder!r} can't be resumed by this one, whose {WHAT[name]} is "
            f"another{told}. Give the same arguments and data, or train anew in another folder."
        )
    if about.get("on_epoch") and not on_epoch:
        warnings.warn(
            f"the training in {folder!r} was begun with on_epoch or callbacks, which are not given "
            "now. Give them again if they stop the training, or change it.",
            stacklevel=5,
        )
    here = _made_with(training)
    changed = [f"{k} {versions.get(k)}, now {v}" for k, v in here.items() if versions.get(k) != v]
    if changed:
        warnings.warn(
            f"the checkpoints in {folder!r} were written with {'; '.join(changed)}. The result may "
            "differ from that of the uninterrupted training in the last bits.",
            stacklevel=5,
        )


def _difference(then: str, now: str) -> str:
    """Return how two descriptions differ: in which numbers alone, if they are of one form.

    >>> _difference("SGD(learning_rate=0.1, momentum=0.9)", "SGD(learning_rate=0.2, momentum=0.9)")
    'learning rate 0.1 then, 0.2 now'
    """
    entry = re.compile(r"(\w+)=([^=,()]+)(?=[,)])")
    if entry.sub(r"\1", then) == entry.sub(r"\1", now):
        pairs = zip(entry.findall(then), entry.findall(now), strict=True)
        found = [f"{a[0].replace('_', ' ')} {a[1]} then, {b[1]} now" for a, b in pairs if a != b]
        if found:
            return "; ".join(found)
    return f"{then} then, {now} now"


def _identity(training: Training, case: Case) -> dict[str, Any]:
    """Return what has to be the same for a training to be the same, as plain JSON values."""
    held = training.held_out
    weights = [name for name in training.train.arrays if name not in ("x", "y")]
    return {
        "optimizer": repr(training.method),
        "epochs": training.epochs,
        "batch_size": training.batch_size,
        "seed": training.seed,
        "early_stopping": repr(case.more.get("early_stopping")),
        "train": _fingerprint(training.train, ("x", "y")),
        "validation": None if held is None else _fingerprint(held, held.arrays),
        "weights": _fingerprint(training.train, weights),
        "watch": bool(training.step.probes),
        "step": _step(training.step.graph),
    }


def _step(graph: Graph) -> str:
    """Return a digest of a graph, also of its constants, which its text shows only in part."""
    digest = hashlib.sha256(str(graph).encode())
    for node in graph.nodes:
        if node.primitive.name == "constant":
            digest.update(node.params["value"].tobytes())
    return digest.hexdigest()


def _fingerprint(part: Part, names: Collection[str]) -> str:
    """Return a digest of the rows; of large arrays, of rows spread over the whole."""
    digest = hashlib.sha256()
    rows = np.arange(len(part.x)) if part.rows is None else part.rows
    digest.update(np.ascontiguousarray(rows, np.int64).tobytes())
    for name in names:
        array = part.arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        width = max(1, array.nbytes // max(1, len(array)))
        stride = -(-array.nbytes // LOOKED_AT)
        block = max(1, 2**20 // width)
        for start in range(0, len(array), block * stride):
            digest.update(np.ascontiguousarray(array[start : start + block]).tobytes())
    return digest.hexdigest()


def _made_with(training: Training) -> dict[str, str]:
    """Return the versions and the machine that the last bits of a result may depend on."""
    return {
        # The package stands above its parts, so that they can't import it; but it is loaded.
        "chainrule": sys.modules["chainrule"].__version__,
        "numpy": np.__version__,
        "engine": training.program.engine,
        "machine": platform.machine(),
        **training.program.made_with(),
    }


def _arguments(
    training: Training, case: Case, plan: Checkpoint, flags: Mapping[str, bool]
) -> dict[str, Any]:
    """Return the arguments of fit as plain JSON values, or why they can't be written so."""
    more, metrics = case.more, case.more["metrics"]
    names = metrics is None or all(isinstance(m, str) for m in metrics)
    weight = more["class_weight"]
    stopping = more["early_stopping"]
    try:
        arguments = {
            "model": model_config(training.model),
            "frozen": [n for n, p in parameters(training.model).items() if not p.trainable],
            "loss": None if training.aim.kind == "custom" else training.aim.saved(),
            "optimizer": to_config(training.method, KINDS),
            "epochs": training.epochs,
            "batch_size": case.batch_size,
            "seed": training.seed,
            "validation": "arrays" if isinstance(case.validation, (tuple, list))
            else case.validation,
            "metrics": list(metrics) if names and metrics is not None else None,
            "custom_metrics": not names,
            "early_stopping": None if stopping is None else asdict(stopping),
            "sample_weight": more["sample_weight"] is not None,
            "class_weight": list(weight.items()) if isinstance(weight, Mapping) else weight,
            "regularizer": to_config(case.regularizer),
            "feature_names": None if case.feature_names is None else list(case.feature_names),
            "watch": flags["watch"],
            "check": flags["check"],
            "every": plan.every,
            "keep": plan.keep,
        }  # fmt: skip
        return {"arguments": json.loads(json.dumps(arguments, default=as_python))}
    except (ChainruleError, TypeError, ValueError) as error:
        return {"arguments": None, "why_not": str(error)}


def _arrays(case: Case) -> dict[str, Array]:
    """Return the data as given, by name; nothing if they are too large, or no plain numbers.

    Numbers above 8 bytes, which have no common form, are not; others are in the native byte order.
    """
    found: dict[str, Any] = {"X": case.data[0], "y": case.data[1]}
    if case.more["sample_weight"] is not None:
        found["sample_weight"] = case.more["sample_weight"]
    if isinstance(case.validation, (tuple, list)):
        parts = enumerate(case.validation)
        found |= {f"validation.{i}": part for i, part in parts if part is not None}
    if any(isinstance(array, np.memmap) for array in found.values()):
        return {}
    arrays = {name: np.asarray(array) for name, array in found.items()}
    arrays = {n: a.astype(a.dtype.newbyteorder("="), copy=False) for n, a in arrays.items()}
    plain = all(a.dtype.kind in "biuf" and a.dtype.itemsize <= 8 for a in arrays.values())
    small = sum(array.nbytes for array in arrays.values()) <= MOST_BYTES
    return arrays if plain and small else {}
