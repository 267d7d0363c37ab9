"""Resume a training that was cut short, so that it ends as if it had not been.

Read next: :mod:`chainrule.train.checkpoint`.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from chainrule.core.errors import ChainruleError, OptionError, RunError
from chainrule.core.tensor import Tensor
from chainrule.nn.layer import Layer, parameters
from chainrule.nn.layer_config import from_config
from chainrule.optim.hyper import KINDS
from chainrule.train.checkpoint import START, TABLE, Checkpoint, read_start
from chainrule.train.directory import unpack_weights
from chainrule.train.early_stopping import EarlyStopping
from chainrule.train.fit import fit
from chainrule.train.loop import OnEpoch
from chainrule.train.run import Run

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
    threads: int | None = None,
    engine: str | None = None,
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
    try:
        model, arguments = _restored(files, place)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, ChainruleError):
            raise
        raise RunError(f"the training in {str(folder)!r} can't be read: {error}.") from error
    saved = {"data": data, "validation": validation, "sample_weight": sample_weight, "loss": loss,
             "metrics": metrics}  # fmt: skip
    arguments |= {name: value for name, value in saved.items() if value is not None}
    for name, cure in _AGAIN.items():
        if arguments.get(name) is _MISSING:
            raise OptionError(f"{cure.format(folder=str(folder))}, {name}=...).")
    return fit(
        model, arguments.pop("data"), **arguments, threads=threads, engine=engine,
        progress=progress, on_epoch=on_epoch,
    )  # fmt: skip


_MISSING = object()
_AGAIN = {
    "data": "the data of this training is not kept with it; give it again: "
    "chainrule.resume({folder!r}",
    "validation": "the validation rows of this training are not kept with it; give them again: "
    "chainrule.resume({folder!r}",
    "loss": "the loss was a function of your own; give it again: chainrule.resume({folder!r}",
    "metrics": "a metric was a function of your own; give all metrics again: "
    "chainrule.resume({folder!r}",
}


def _restored(files: dict[str, bytes], folder: Path) -> tuple[Layer, dict[str, Any]]:
    """Return the model before training, and the arguments of fit; `_MISSING` for unknown ones."""
    about = json.loads(files["training.json"])
    saved = about["arguments"]
    if saved is None:
        raise OptionError(
            f"the arguments of the training in {str(folder)!r} can't be saved: {about['why_not']} "
            "Repeat the call of fit that began it, with checkpoint=Checkpoint(folder, resume=True)."
        )
    model = from_config(saved["model"])
    given = unpack_weights(files["weights.safetensors"], folder / START)
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
        "sample_weight": arrays.get("sample_weight"),
        "class_weight": dict(weight) if isinstance(weight, list) else weight,
        "regularizer": from_config(saved["regularizer"]),
        "seed": saved["seed"],
        "feature_names": saved["feature_names"],
        "watch": saved["watch"],
        "check": saved["check"],
        "checkpoint": Checkpoint(folder, saved["every"], saved["keep"], resume=True),
    }
