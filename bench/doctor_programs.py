"""Make faulty training programs, retold as facts, again: cases for chainrule's doctor.

Run `python bench/doctor_programs.py --faults FOLDER [--steps N] [--seeds N] [--only ID,...]`.
The folder holds `faults.json`, a list of programs written for Keras as plain values, and
`data.py`, whose ``make(id)`` returns their data ``(X, y)``.  Prints a table of how each program
scores on its training rows, beside the scores that its entry reports under "recheck", and lists
the entries that could not be made, with the reason.  Exits with 1 if a program differs.

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

# What a benchmark's label says is wrong, as the doctor's findings call it.
CATEGORIES = {
    "act": "activation", "loss": "loss", "lr": "learning_rate", "epoch": "epochs",
    "opt": "optimizer", "batch": "batch", "init": "initialization", "prep": "preprocessing",
    "layer": "architecture",
}  # fmt: skip
BATCH, EPOCHS = 32, 1  # what fit of Keras takes where a program says nothing
DIVERGED = "diverged"
ENCODINGS = ("column", "integer", "multihot", "onehot")


@dataclass
class Program:
    """One faulty program: its labels, and :meth:`case`, which makes it a chainrule training.

    `categories` are the labels as :data:`CATEGORIES` names them, and `steps_cut` says whether the
    case made last has fewer epochs than the program, to fit `most_steps`.
    """

    id: str
    strength: str
    labels: tuple[str, ...]
    categories: tuple[str, ...]
    entry: Mapping[str, Any] = field(repr=False)
    data: tuple[Array, Array] = field(repr=False)  # as data.py makes them
    steps_cut: bool = False

    def case(self, seed: int, most_steps: int | None = None) -> Case:
        """Return a fresh training with this `seed`, of at most `most_steps` steps.

        Epochs are left out where they are more, but never the first one.  Raises OptionError for
        a name that is not known.
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
        """Return the rows of a batch.

        Where it would hold all rows only because the program's own data have more of them, it is
        as small a share of the rows as there, so that an epoch has as many steps.
        """
        batch, rows = int(self.entry.get("batch") or BATCH), len(self.data[0])
        own = self.entry["data"].get("n")
        return max(1, round(batch * rows / own)) if own and own > rows < batch else batch


def encode(y: Any, encoding: str | None) -> Array:
    """Return the targets `y` in the form that a program gives them to its loss.

    "onehot" makes a column for each class, "integer" keeps class numbers, "column" and
    "multihot" are real numbers, of which a plain row becomes a column; None is "column".  Raises
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
    """Return the programs of `folder` that can be made; :func:`read_programs` tells of the rest."""
    return read_programs(folder)[0]


def read_programs(folder: Path) -> tuple[list[Program], dict[str, str]]:
    """Return the programs of `folder`, and for each entry that was skipped the reason, by id.

    The folder's `data.py` is run.  An entry with a name that is not known is skipped, too.
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
            skipped[entry["id"]] = "data.py makes no data for it"
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
    """Return the function `make` of the file of Python at `path`."""
    spec = importlib.util.spec_from_file_location("faults_data", path)
    if spec is None or spec.loader is None:
        raise OptionError(f"{path} is not a file of Python.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make


def _missing(entry: Mapping[str, Any]) -> str:
    """Return why an entry says too little to be made, or nothing."""
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
    """Return how good `outputs` are for the targets `y` of data.py: "accuracy", "r2" ...

    "element accuracy" is the share of single labels on the right side of a half; "r2" is that
    of all columns together, by their squared errors.  Raises OptionError for an unknown metric.
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
    """Return the program's score on its training rows, or how its training failed."""
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
    """Whether scores of other seeds and another library could be of the same program.

    The ranges of the two must meet, but for a gap of 0.1, or of a tenth of the other's median.
    It says little where seeds differ widely.
    """
    numbers = [score for score in ours if not isinstance(score, str)]
    if len(numbers) < len(ours) or not np.isfinite(numbers).all():
        return False
    gap = max(min(numbers) - max(theirs), min(theirs) - max(numbers))
    return gap <= max(0.1, 0.1 * abs(float(np.median(theirs))))


def lost_score(program: Program) -> float:
    """Return the score of a program whose weights became NaN, which Keras goes on with."""
    recheck, (X, y) = program.entry["recheck"], program.data
    output = program.case(0).model(cr.input("x", ("n", *X.shape[1:])))
    return score(recheck["metric"], np.full((len(X), *output.shape[1:]), np.nan), y)


def _shown(scores: Sequence[float | str]) -> str:
    return " ".join(s[:60] if isinstance(s, str) else f"{s:.4g}" for s in scores)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return 1 if a program differs from its entry."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--faults", type=Path, required=True, help="folder of the programs")
    parser.add_argument("--steps", type=int, default=3000, help="most steps of a training")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each program")
    parser.add_argument("--only", default="", help="ids of programs, with commas between")
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
            # Keras scores what chainrule refuses to go on with.
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
