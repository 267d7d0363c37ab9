"""Rebuild faulty Keras programs from their descriptions, as cases for chainrule's doctor.

Run `python bench/doctor_programs.py --faults FOLDER [--steps N] [--seeds N] [--only ID,...]`.
The folder contains `faults.json`, a list of Keras programs described as plain values, and
`data.py`, whose ``make(id)`` returns their data ``(X, y)``.  Prints a table with the score of
each program on its training rows and the scores that its entry reports under "recheck", and lists
the entries that could not be rebuilt, with the reason.  Exits with 1 if a program differs.

Read next: `bench/keras_parts.py`, `bench/keras_losses.py`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr
from bench.keras_losses import keras_loss
from bench.keras_parts import layers_of, optimizer_of
from chainrule import nn
from chainrule.core.errors import ChainruleError, DivergedError, OptionError, did_you_mean
from chainrule.doctor.case import Case

__all__ = ["CATEGORIES", "Program", "programs", "read_programs"]

Array = np.ndarray[Any, Any]

# The category of the doctor's findings for each label of a benchmark.
CATEGORIES = {
    "act": "activation", "loss": "loss", "lr": "learning_rate", "epoch": "epochs",
    "opt": "optimizer", "batch": "batch", "init": "initialization", "prep": "preprocessing",
    "layer": "architecture",
}  # fmt: skip
BATCH, EPOCHS = 32, 1  # the defaults of fit in Keras
DIVERGED = "diverged"
ENCODINGS = ("column", "integer", "multihot", "onehot")


@dataclass
class Program:
    """One faulty program: its labels, and :meth:`case`, which returns it as a chainrule training.

    `categories` are the labels mapped by :data:`CATEGORIES`; `steps_cut` is True if the last
    case has fewer epochs than the program, because of `most_steps`.
    """

    id: str
    strength: str
    labels: tuple[str, ...]
    categories: tuple[str, ...]
    entry: Mapping[str, Any] = field(repr=False)
    data: tuple[Array, Array] = field(repr=False)  # as returned by data.py
    steps_cut: bool = False

    def case(self, seed: int, most_steps: int | None = None) -> Case:
        """Return a new training with this `seed`, of at most `most_steps` steps.

        The number of epochs is reduced to fit, but there is at least one.  Raises OptionError for
        an unknown name.
        """
        entry, (X, y) = self.entry, self.data
        built = layers_of(entry["layers"], X.shape[1:])
        batch, epochs = self._batch(), int(entry.get("epochs") or EPOCHS)
        steps, asked = -(-len(X) // batch), epochs
        if most_steps is not None:
            epochs = max(1, min(epochs, most_steps // steps))
        self.steps_cut = epochs < asked
        return Case(
            model=nn.Sequential(built.layers),
            data=(np.asarray(X, np.float64), encode(y, entry["data"].get("target_encoding"))),
            loss=keras_loss(entry["loss"]),
            optimizer=optimizer_of(entry["optimizer"], built.frozen),
            epochs=epochs,
            batch_size=batch,
            regularizer=built.regularizers or None,
            seed=seed,
        )

    def _batch(self) -> int:
        """Return the batch size.

        If the batch would contain all rows, but not those of the program's larger original data,
        it is scaled down in proportion, so that an epoch has as many steps as originally.
        """
        batch, rows = int(self.entry.get("batch") or BATCH), len(self.data[0])
        own = self.entry["data"].get("n")
        return max(1, round(batch * rows / own)) if own and own > rows < batch else batch


def encode(y: Any, encoding: str | None) -> Array:
    """Return the targets `y` in the encoding that a program passes to its loss.

    "onehot" has a column for each class, "integer" has class numbers, and "column" and
    "multihot" are real numbers, where a 1-D array becomes a column; None means "column".  Raises
    OptionError for another encoding.

    >>> encode([0, 2], "onehot")
    array([[1., 0., 0.],
           [0., 0., 1.]])
    """
    array = np.asarray(y)
    if encoding not in (None, *ENCODINGS):
        raise OptionError(
            f"unknown target_encoding {encoding!r}. {did_you_mean(str(encoding), ENCODINGS)}"
        )
    if encoding == "onehot" and array.ndim == 1:
        numbers = array.astype(np.int64)
        return np.eye(int(numbers.max()) + 1)[numbers]
    if encoding == "integer":
        return array.astype(np.int32)
    return np.asarray(array[:, None] if array.ndim == 1 else array, np.float64)


def programs(folder: Path) -> list[Program]:
    """Return the programs of `folder` that can be rebuilt; see :func:`read_programs`."""
    return read_programs(folder)[0]


def read_programs(folder: Path) -> tuple[list[Program], dict[str, str]]:
    """Return the programs of `folder`, and the reason for each skipped entry, by id.

    The folder's `data.py` is run.  An entry with an unknown name is skipped.
    """
    make = _make_of(Path(folder) / "data.py")
    found: list[Program] = []
    skipped: dict[str, str] = {}
    for entry in json.loads((Path(folder) / "faults.json").read_text("utf-8")):
        if reason := _missing(entry):
            skipped[entry["id"]] = reason
            continue
        data = make(entry["id"])
        if data is None:
            skipped[entry["id"]] = "data.py does not return data for it"
            continue
        try:
            labels = tuple(entry.get("labels") or ())
            program = Program(
                entry["id"], str(entry.get("strength")), labels, _categories(labels), entry, data
            )
            case = program.case(0)
            case.model(cr.input("x", ("n", *case.data[0].shape[1:])))
        except ChainruleError as error:
            skipped[entry["id"]] = str(error)
        else:
            found.append(program)
    return found, skipped


def _make_of(path: Path) -> Any:
    """Return the function `make` of the Python file at `path`."""
    spec = importlib.util.spec_from_file_location("faults_data", path)
    if spec is None or spec.loader is None:
        raise OptionError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make


def _missing(entry: Mapping[str, Any]) -> str:
    """Return why an entry is incomplete, or ""."""
    if not entry.get("feedforward"):
        return "not a feed-forward network"
    absent = [key for key in ("layers", "loss", "optimizer", "data") if not entry.get(key)]
    return f"its {' and '.join(absent)} are not known" if absent else ""


def _categories(labels: Sequence[str]) -> tuple[str, ...]:
    for label in labels:
        if label not in CATEGORIES:
            raise OptionError(f"unknown label {label!r}. {did_you_mean(label, CATEGORIES)}")
    return tuple(CATEGORIES[label] for label in labels)


def score(metric: str, outputs: Array, y: Array) -> float:
    """Return the score of `outputs` for the targets `y` of data.py, by the metric "accuracy", ...

    "element accuracy" is the share of labels predicted correctly with a threshold of 0.5; "r2"
    is computed from the squared errors of all columns.  Raises OptionError for an unknown metric.
    """
    if metric not in (names := ("accuracy", "element accuracy", "r2")):
        raise OptionError(f"unknown metric {metric!r}. {did_you_mean(metric, names)}")
    outputs = outputs.reshape(len(outputs), -1).astype(np.float64)
    if metric == "accuracy":
        classes = y.argmax(1) if y.ndim == 2 and y.shape[1] > 1 else y.reshape(len(y))
        chosen = outputs.argmax(1) if outputs.shape[1] > 1 else outputs[:, 0] > 0.5
        return float(np.mean(chosen == classes))
    targets = y.reshape(len(y), -1)
    if metric == "element accuracy":
        return float(np.mean((outputs > 0.5) == (targets > 0.5)))
    error = ((outputs - targets) ** 2).sum()
    spread = ((targets - targets.mean(0)) ** 2).sum()
    return float(1 - error / spread)


def train(program: Program, seed: int, most_steps: int | None) -> float | str:
    """Return the program's score on its training rows, or why its training failed."""
    case = program.case(seed, most_steps)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = cr.fit(case.model, case.data, progress=False, **case.options())
            outputs = np.asarray(run.predict(case.data[0]))
    except DivergedError:
        return DIVERGED
    except ChainruleError as error:
        return f"{type(error).__name__}: {error}"
    metric = (program.entry.get("recheck") or {}).get("metric")
    return score(metric, outputs, program.data[1]) if metric else float("nan")


def agrees(ours: Sequence[float | str], theirs: Sequence[float]) -> bool:
    """Return whether scores from other seeds and another library are consistent.

    The ranges of the two must overlap, up to a gap of 0.1 or of a tenth of the median of
    `theirs`.  The test is weak if scores differ widely between seeds.
    """
    numbers = [score for score in ours if not isinstance(score, str)]
    if len(numbers) < len(ours) or not np.isfinite(numbers).all():
        return False
    gap = max(min(numbers) - max(theirs), min(theirs) - max(numbers))
    return gap <= max(0.1, 0.1 * abs(float(np.median(theirs))))


def lost_score(program: Program) -> float:
    """Return the score of a program whose weights are NaN, as Keras continues with them."""
    recheck, (X, y) = program.entry["recheck"], program.data
    output = program.case(0).model(cr.input("x", ("n", *X.shape[1:])))
    return score(recheck["metric"], np.full((len(X), *output.shape[1:]), np.nan), y)


def _shown(scores: Sequence[float | str]) -> str:
    return " ".join(s[:60] if isinstance(s, str) else f"{s:.4g}" for s in scores)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return 1 if a program differs from its entry."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--faults", type=Path, required=True, help="folder of the programs")
    parser.add_argument("--steps", type=int, default=3000, help="maximum steps of a training")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each program")
    parser.add_argument("--only", default="", help="ids of programs, comma-separated")
    options = parser.parse_args(arguments)
    wanted = set(filter(None, options.only.split(",")))
    found, skipped = read_programs(options.faults)
    differing = 0
    print("| program | metric | here | reported | cut | seconds | |\n|---|---|---|---|---|---|---|")
    for program in found:
        if wanted and program.id not in wanted:
            continue
        start = time.perf_counter()
        ours = [train(program, seed, options.steps) for seed in range(options.seeds)]
        cut = "cut" if program.steps_cut else ""
        recheck = program.entry.get("recheck") or {}
        theirs = recheck.get("buggy")
        if theirs and DIVERGED in ours:
            # Keras computes a score where chainrule stops with DivergedError.
            lost = lost_score(program)
            same = agrees([lost if one == DIVERGED else one for one in ours], theirs)
        else:
            same = not theirs or agrees(ours, theirs)
        differing += not same
        print(
            f"| {program.id} | {recheck.get('metric')} | {_shown(ours)} | {_shown(theirs or ())} "
            f"| {cut} | {time.perf_counter() - start:.1f} "
            f"| {'' if same else 'DIFFERS'} |",
            flush=True,
        )
    for name, reason in skipped.items():
        print(f"skipped {name}: {reason}")
    print(f"{len(found)} programs, {differing} differ")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
