"""Resume a training that was cut short, so that it ends as if it had not been.

Read next: :mod:`chainrule.train.checkpoint`.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from chainrule.core.errors import OptionError, RunError
from chainrule.core.options import sizes_up_to
from chainrule.core.parameter import Parameter
from chainrule.core.tensor import Tensor
from chainrule.nn.layer import Layer, check_layer, parameters
from chainrule.nn.layer_config import from_config
from chainrule.optim.hyper import KINDS
from chainrule.train.checkpoint import TABLE, Checkpoint, read_start, steps
from chainrule.train.directory import START, unpack_weights
from chainrule.train.early_stopping import EarlyStopping
from chainrule.train.fit import fit
from chainrule.train.loop import OnEpoch
from chainrule.train.run import SPARE, Run
from chainrule.train.saved_files import reading

__all__ = ["resume"]


def resume(
    folder: str | os.PathLike[str],
    data: tuple[Any, Any] | None = None,
    *,
    validation: tuple[Any, ...] | None = None,
    sample_weight: Any = None,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    metrics: Sequence[str | Callable[..., Any]] | None = None,
    on_epoch: OnEpoch | None = None,
    callbacks: Iterable[object] = (),
    threads: int | None = None,
    engine: str | None = None,
    devices: int | str | None = None,
    shard: str | None = None,
    precision: str | None = None,
    progress: bool = True,
) -> Run:
    """Go on with the training that ``fit(..., checkpoint=folder)`` saved in `folder`.

    The run that is returned equals, bit for bit, that of a training that was not interrupted:
    weights, history (but for the seconds) and predictions.  A training that had ended is returned
    as it ended.  Where the newest checkpoint is damaged, the one before it is used, with a warning.

    `data`, `validation` and `sample_weight` are needed where they were too large to be kept in the
    folder (above 1 GiB, or memory-mapped), and `loss` and `metrics` where they are functions of
    your own.  A training whose model can't be saved, such as one with a lambda, goes on by the
    call that began it, with ``checkpoint=Checkpoint(folder, resume=True)``.

    Raises RunError if there is no whole checkpoint, or if the data or functions given are not
    those of the training; OptionError for something that has to be given again.

    >>> import tempfile
    >>> import numpy as np
    >>> from chainrule import nn
    >>> X = np.eye(4, dtype="float32")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = fit(nn.Linear(4, 1), (X, X[:, 0]), loss="mse", epochs=3, checkpoint=folder)
    ...     again = resume(folder)
    >>> bool((again.predict(X) == run.predict(X)).all())
    True
    """
    place = Path(folder)
    files = read_start(place)
    if TABLE in files:
        by_command = f"the command chainrule train --resume {shlex.quote(str(place.parent))}, or "
        raise RunError(
            f"{str(folder)!r} holds a training of a table. Go on with "
            f"{by_command if 'config.toml' in files else ''}fit_table(problem, settings, "
            "checkpoint=Checkpoint(folder, resume=True))."
        )
    file = place / START / "training.json"
    with reading(file):
        about = json.loads(files["training.json"])
        unsaved = about["arguments"] is None
    if unsaved:
        raise OptionError(
            f"the arguments of the training in {str(folder)!r} can't be saved: "
            f"{about.get('why_not')} Repeat the call of fit that began it, with "
            "checkpoint=Checkpoint(folder, resume=True)."
        )
    most = _most(place)
    with reading(file), sizes_up_to(most):
        model, arguments = _restored(about["arguments"], files, place)
        size = sum(_size(p) for p in parameters(model).values())
        if size > most:
            raise ValueError(f"the model has {size:,} weights, its checkpoints have fewer")
    saved = {"data": data, "validation": validation, "sample_weight": sample_weight, "loss": loss,
             "metrics": metrics}  # fmt: skip
    arguments |= {name: value for name, value in saved.items() if value is not None}
    for name, cure in _AGAIN.items():
        if arguments.get(name) is _MISSING:
            raise OptionError(f"{cure.format(folder=str(folder))}, {name}=...).")
    return fit(
        model, arguments.pop("data"), **arguments, threads=threads, engine=engine,
        devices=devices, shard=shard, precision=precision, progress=progress, on_epoch=on_epoch,
        callbacks=callbacks,
    )  # fmt: skip


_MISSING = object()
_AGAIN = {
    "data": "the data of this training is not kept with it; give it again: "
    "chainrule.resume({folder!r}",
    "validation": "the validation rows of this training are not kept with it; give them again: "
    "chainrule.resume({folder!r}",
    "sample_weight": "the weights of the rows are not kept with this training; give them again: "
    "chainrule.resume({folder!r}",
    "loss": "the loss was a function of your own; give it again: chainrule.resume({folder!r}",
    "metrics": "a metric was a function of your own; give all metrics again: "
    "chainrule.resume({folder!r}",
}


def _most(folder: Path) -> int:
    """Return how many numbers the network may have: as many as its checkpoints have bytes."""
    states = [path / "state.safetensors" for path in steps(folder)]
    sizes = [state.stat().st_size for state in states if state.is_file()]
    return max(sizes) + SPARE if sizes else sys.maxsize


def _size(parameter: Parameter) -> int:
    return math.prod(length for length in parameter.shape if isinstance(length, int))


def _restored(
    saved: dict[str, Any], files: dict[str, bytes], folder: Path
) -> tuple[Layer, dict[str, Any]]:
    """Return the model before training, and the arguments of fit; `_MISSING` for unknown ones."""
    model = from_config(saved["model"])
    check_layer("the model", model)
    given = unpack_weights(files["weights.safetensors"], folder / START)
    if odd := set(given) - set(parameters(model)):
        raise ValueError(f"the model has no {min(odd):.60}")
    for path, parameter in parameters(model).items():
        parameter.trainable = parameter.trainable and path not in saved["frozen"]
        if path in given:
            parameter.value = given[path]
    arrays: dict[str, Any] = {}
    if "data.safetensors" in files:
        arrays = unpack_weights(files["data.safetensors"], folder / START)
    held = saved["validation"]
    if held == "arrays":
        names = [f"validation.{i}" for i in range(3)]
        held = tuple(arrays[n] for n in names if n in arrays) or _MISSING
    stopping, weight = saved["early_stopping"], saved["class_weight"]
    return model, {
        "data": (arrays["X"], arrays["y"]) if arrays else _MISSING,
        "loss": _MISSING if saved["loss"] is None else from_config(saved["loss"]),
        "optimizer": from_config(saved["optimizer"], KINDS, tuple),
        "epochs": saved["epochs"],
        "batch_size": saved["batch_size"],
        "validation": held,
        "metrics": _MISSING if saved["custom_metrics"] else saved["metrics"],
        "early_stopping": None if stopping is None else EarlyStopping(**stopping),
        "sample_weight": arrays.get("sample_weight", _MISSING if saved["sample_weight"] else None),
        "class_weight": dict(weight) if isinstance(weight, list) else weight,
        "regularizer": from_config(saved["regularizer"]),
        "seed": saved["seed"],
        "feature_names": saved["feature_names"],
        "watch": saved["watch"],
        "check": saved["check"],
        "checkpoint": Checkpoint(folder, saved["every"], saved["keep"], resume=True),
    }
