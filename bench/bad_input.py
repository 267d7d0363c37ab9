"""What becomes of bad input, in chainrule and in scikit-learn, PyTorch, Keras and JAX.

Run `python bench/bad_input.py [--out docs/bad-input.md] [--only WORD]`.  Each input of
`bench/bad_input_cases.py` is given to each library, as a user would write it: a plain loop in
PyTorch and JAX, `fit` elsewhere.  The answer is classified by what happened: an error, a warning
that clean data do not give, or silence, and then by whether the predictions are right.  Each
library runs in its own process, and a process that dies is an answer, too.  Prints a Markdown
table, or replaces the part of the file after the line `<!-- measured -->`.

Read next: `bench/bad_input_cases.py`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr
from bench.bad_input_cases import CASES, CLEAN, Array, Case, Data
from chainrule import nn, optim, tabular

__all__ = ["RUNNERS", "Outcome", "ask"]

EPOCHS, BATCH, HIDDEN = 60, 32, 16
RIGHT = 0.85  # balanced accuracy, or R²; clean data reach 0.95
SECONDS = 900  # for all cases of one library
MARK = "<!-- measured -->"
CAUGHT = "error", "warning", "finding", "note"
SAID = 160  # characters shown of a message


@dataclass(frozen=True)
class Outcome:
    """What happened: the kind, the type of an error or warning, its text; the score if silent.

    kind is "error", "warning", "finding", "note", "right" or "wrong": both of the last are
    silent.
    """

    kind: str
    type: str = ""
    text: str = ""
    score: float | None = None

    def __str__(self) -> str:
        if self.kind == "wrong":
            return f"**silent, wrong: {_short(self.score)}**"
        if self.kind == "right":
            return f"right: {_short(self.score)}"
        return f"{self.kind}: `{self.type}`" if self.type else self.kind


def _short(score: float | None) -> str:
    assert score is not None  # only errors have none
    return "undefined" if np.isnan(score) else f"{score:.2f}" if score > -10 else f"{score:.0e}"


@dataclass
class Told:
    """Predictions, and what a library said besides: (kind, type, text)."""

    predicted: Any
    said: list[tuple[str, str, str]]


class CannotAskError(Exception):
    """This library has no such input."""


def shape_of(data: Data) -> tuple[int, ...]:
    """Return the shape of a row of features; that of the clean data where there is none."""
    if not isinstance(data.X, np.ndarray) or 0 in data.X.shape[1:]:
        return (4,)
    return data.X.shape[1:] or (1,)


# --- chainrule ------------------------------------------------------------------------------------


def fit_chainrule(data: Data) -> Told:
    """Train by `cr.fit`, with its defaults; where it is silent, ask the doctor, too."""
    if isinstance(data.X, bytes):
        raise CannotAskError
    run = _fit(data, check=False)
    predicted = run.predict(data.new)
    findings = _fit(data, check=True).findings or ()
    return Told(predicted, [("finding", f.cause, f.text) for f in findings if f.level != "note"])


def _fit(data: Data, check: bool) -> Any:
    shape = shape_of(data)
    layers: list[Any] = [nn.Linear(int(np.prod(shape)), HIDDEN), nn.ReLU()]
    layers = [nn.Flatten()] * (len(shape) > 1) + [*layers, nn.Linear(HIDDEN, data.outputs)]
    return cr.fit(
        _Flat(nn.Sequential(layers)) if data.flat else nn.Sequential(layers),
        (data.X, data.y),
        loss=data.loss or ("cross_entropy" if data.task == "classes" else "mse"),
        optimizer=optim.Adam(data.rate),
        epochs=EPOCHS,
        batch_size=BATCH,
        sample_weight=data.weight,
        progress=False,
        check=check,
    )


@nn.register_layer
@dataclass(eq=False)
class _Flat:
    """The output of shape (rows,) of a network with one output."""

    network: nn.Sequential

    def __call__(self, x: Any) -> Any:
        return self.network(x)[:, 0]


def fit_chainrule_table(data: Data) -> Told:
    """Train by `fit_table`, as `chainrule train` does, on a file or a mapping of columns."""
    with tempfile.TemporaryDirectory() as folder:
        source, new = _tables(data, Path(folder))
        weight = None if data.weight is None else "weight"
        task = None
        if not isinstance(data.X, bytes):
            task = "classification" if data.task == "classes" else "regression"
        problem = tabular.read_problem(source, "y", weight=weight, task=task)
        rate = None if data.rate == Data.rate else data.rate
        settings = tabular.settings_for(problem, learning_rate=rate)
        run = tabular.fit_table(problem, settings, progress=False, check=True)
        notes = list(problem.pipeline.notes)
        table = new if isinstance(new, dict) else cr.data.read_table(new)
        predicted = tabular.predict_table(run, table, tell=notes.append)["prediction"]
    said = [("note", "", note) for note in notes]
    said += [("finding", f.cause, f.text) for f in run.findings or () if f.level != "note"]
    return Told(np.asarray(predicted), said)


def _tables(data: Data, folder: Path) -> tuple[Any, Any]:
    if isinstance(data.X, bytes):
        (folder / "t.csv").write_bytes(data.X)
        (folder / "new.csv").write_bytes(data.new)
        return folder / "t.csv", folder / "new.csv"
    if not isinstance(data.X, np.ndarray) or data.X.ndim != 2 or np.ndim(data.y) != 1 or data.flat:
        raise CannotAskError

    def columns(X: Array) -> dict[str, Any]:
        return {f"x{k}": X[:, k] for k in range(X.shape[1])}

    more = {} if data.weight is None else {"weight": data.weight}
    return {**columns(data.X), "y": data.y, **more}, {**columns(data.new), **more}


# --- the others -----------------------------------------------------------------------------------


def _frames(data: Data) -> Data:
    """Return the data of CSV files as pandas reads them, words as columns of 0 and 1."""
    if not isinstance(data.X, bytes):
        return data
    import pandas

    table = pandas.read_csv(BytesIO(data.X))
    X, y = pandas.get_dummies(table.drop(columns="y")), table["y"]
    new = pandas.get_dummies(pandas.read_csv(BytesIO(data.new)))
    return replace(data, X=X, y=y.to_numpy(), new=new)


def _arrays(data: Data) -> Data:
    """Return the data of CSV files as the numbers of the frames; real targets as a column."""
    found = _frames(data)
    if found is not data:
        X, new = found.X.to_numpy(np.float32), found.new.to_numpy(np.float32)
        found = replace(found, X=X, new=new)
    column = found.task == "values" and np.ndim(found.y) == 1 and not found.as_given
    return replace(found, y=np.asarray(found.y)[:, None]) if column else found


def fit_sklearn(data: Data) -> Told:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    data = _frames(data)
    made = MLPClassifier if data.task == "classes" and not data.loss else MLPRegressor
    model = made(
        hidden_layer_sizes=(HIDDEN,),
        batch_size=BATCH,
        learning_rate_init=data.rate,
        max_iter=EPOCHS,
        random_state=0,
    )
    weight = {} if data.weight is None else {"sample_weight": data.weight}
    model.fit(_flat_rows(data.X), data.y, **weight)
    return Told(model.predict(_flat_rows(data.new)), [])


def _flat_rows(X: Any) -> Any:
    return X.reshape(len(X), -1) if isinstance(X, np.ndarray) and X.ndim > 2 else X


def fit_torch(data: Data) -> Told:
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    data = _arrays(data)
    torch.manual_seed(0)
    one_of = data.task == "classes" and np.ndim(data.y) == 1
    tensors = [
        torch.tensor(data.X, dtype=torch.float32),
        torch.tensor(data.y, dtype=torch.long if one_of else torch.float32),
    ]
    if data.weight is not None:
        tensors.append(torch.tensor(data.weight, dtype=torch.float32))
    width = int(np.prod(shape_of(data)))
    model = torch.nn.Sequential(
        torch.nn.Flatten() if len(shape_of(data)) > 1 else torch.nn.Identity(),
        torch.nn.Linear(width, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, data.outputs),
    )  # fmt: skip
    made: Any = torch.nn.CrossEntropyLoss
    if data.task == "values" or data.loss:
        made = torch.nn.MSELoss
    loss_of = made(reduction="mean" if data.weight is None else "none")
    optimizer = torch.optim.Adam(model.parameters(), data.rate)
    for _ in range(EPOCHS):
        for x, y, *weight in DataLoader(TensorDataset(*tensors), BATCH, shuffle=True):
            output = model(x)
            loss = loss_of(output.squeeze(1) if data.flat else output, y)
            loss = (loss * weight[0]).mean() if weight else loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        outputs = model(torch.tensor(data.new, dtype=torch.float32)).numpy()
    return Told(_decided(outputs, data), [])


def _decided(outputs: Array, data: Data) -> Array:
    return outputs.argmax(axis=1) if data.task == "classes" else outputs


def fit_keras(data: Data) -> Told:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    data = _arrays(data)
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Input(shape_of(data)), keras.layers.Flatten(),
        keras.layers.Dense(HIDDEN, "relu"), keras.layers.Dense(data.outputs),
    ]  # fmt: skip
    if len(shape_of(data)) == 1:
        del layers[1]
    if data.flat:
        layers.append(keras.layers.Reshape(()))
    model = keras.Sequential(layers)
    loss: Any = "mse"
    if data.task == "classes" and not data.loss:
        whole = np.ndim(data.y) == 1
        losses = keras.losses
        made = losses.SparseCategoricalCrossentropy if whole else losses.CategoricalCrossentropy
        loss = made(from_logits=True)
    model.compile(keras.optimizers.Adam(data.rate), loss)
    model.fit(data.X, data.y, sample_weight=data.weight, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    return Told(_decided(model.predict(data.new, verbose=0), data), [])


def fit_jax(data: Data) -> Told:
    import jax
    import jax.numpy as jnp
    import optax
    from flax import linen

    data = _arrays(data)
    one_of = data.task == "classes" and np.ndim(data.y) == 1
    X = jnp.asarray(data.X, jnp.float32)
    y = jnp.asarray(data.y, jnp.int32 if one_of else jnp.float32)
    weights = None if data.weight is None else jnp.asarray(data.weight, jnp.float32)

    class Network(linen.Module):
        @linen.compact
        def __call__(self, x: Any) -> Any:
            x = x.reshape((len(x), -1)) if x.ndim > 2 else x
            return linen.Dense(data.outputs)(linen.relu(linen.Dense(HIDDEN)(x)))

    def loss_of(parameters: Any, x: Any, y: Any, weight: Any) -> Any:
        output = model.apply(parameters, x)
        output = output[:, 0] if data.flat else output
        if data.task == "values" or data.loss:
            loss = (output - y) ** 2
        elif one_of:
            loss = optax.softmax_cross_entropy_with_integer_labels(output, y)
        else:
            loss = optax.softmax_cross_entropy(output, y)
        return loss.mean() if weight is None else (loss * weight).mean()

    @jax.jit
    def step(parameters: Any, state: Any, x: Any, y: Any, weight: Any) -> Any:
        slopes = jax.grad(loss_of)(parameters, x, y, weight)
        updates, state = optimizer.update(slopes, state)
        return optax.apply_updates(parameters, updates), state

    model, optimizer = Network(), optax.adam(data.rate)
    parameters = model.init(jax.random.key(0), X[:1])
    state = optimizer.init(parameters)
    generator = np.random.default_rng(0)
    for _ in range(EPOCHS):
        order = generator.permutation(len(X))
        for start in range(0, len(X), BATCH):
            rows = order[start : start + BATCH]
            weight = None if weights is None else weights[rows]
            parameters, state = step(parameters, state, X[rows], y[rows], weight)
    outputs = np.asarray(model.apply(parameters, jnp.asarray(data.new, jnp.float32)))
    return Told(_decided(outputs, data), [])


RUNNERS: dict[str, tuple[str, Callable[[Data], Told]]] = {
    "chainrule `fit`": ("chainrule", fit_chainrule),
    "chainrule table": ("chainrule", fit_chainrule_table),
    "scikit-learn": ("sklearn", fit_sklearn),
    "PyTorch": ("torch", fit_torch),
    "Keras": ("keras", fit_keras),
    "JAX": ("flax", fit_jax),
}


# --- asking ---------------------------------------------------------------------------------------


def score(predicted: Any, data: Data) -> float:
    """Return the balanced accuracy or R² of the predictions, NaN where they are undefined."""
    found, true = np.asarray(predicted), np.asarray(data.true).ravel()
    if data.task == "classes" and found.ndim == 2 and found.shape[1] > 1:
        found = found.argmax(axis=1)  # one number for each class
    found = found.ravel()
    if len(found) != len(true):
        return float("nan")
    if data.task == "values":
        gap = found.astype(float) - true
        return float(1 - np.square(gap).mean() / np.square(true - true.mean()).mean())
    if "U" in (found.dtype.kind, true.dtype.kind):  # a table has "true" for True
        found, true = (np.char.lower(array.astype(str)) for array in (found, true))
    return float(np.mean([(found[true == k] == k).mean() for k in np.unique(true)]))


def ask(runner: Callable[[Data], Told], case: Case, usual: Collection[str]) -> Outcome | None:
    """Return what `runner` makes of `case`, None if it can't ask it.

    What it says of clean data, `usual`, does not count.
    """
    if runner is fit_chainrule_table and case.table is None:
        return None
    data = case.make()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            told = runner(data)
        except CannotAskError:
            return None
        except Exception as error:  # any is an answer
            return Outcome("error", type(error).__name__, str(error))
    said = [("warning", w.category.__name__, str(w.message)) for w in caught] + told.said
    fresh = [one for one in said if pattern(one) not in usual]
    found = float("nan") if data.true is None else score(told.predicted, data)
    if fresh:
        kind, name, text = min(fresh, key=lambda one: CAUGHT.index(one[0]))
        return Outcome(kind, name, text, found)
    return Outcome("right" if found >= RIGHT else "wrong", score=found)


def pattern(said: tuple[str, str, str]) -> str:
    """Return a message without its numbers."""
    kind, name, text = said
    return f"{kind} {name} {re.sub(r'[0-9][0-9.,]*', '#', text)}"


def usual_words(runner: Callable[[Data], Told]) -> set[str]:
    """Return what `runner` says of clean data.  Raises RuntimeError unless it learns them."""
    words = set()
    for name, make in CLEAN.items():
        data = make()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                told = runner(data)
            except CannotAskError:
                continue
        if not (found := score(told.predicted, data)) >= RIGHT:
            raise RuntimeError(f"{runner.__name__} has a score of {found:.3f} on clean {name}")
        words |= {pattern(("warning", w.category.__name__, str(w.message))) for w in caught}
        words |= {pattern(one) for one in told.said}
    return words


def work(library: str, cases: Sequence[Case]) -> None:
    """Print the outcome of each case as a line of JSON."""
    _, runner = RUNNERS[library]
    usual = usual_words(runner)
    for case in cases:
        print(json.dumps({"starts": case.name}), flush=True)
        outcome = ask(runner, case, usual)
        print(json.dumps({"case": case.name, "outcome": outcome and asdict(outcome)}), flush=True)


def measure(library: str, only: str) -> dict[str, Outcome | None]:
    """Return the outcome of each case in a process of its own; a case that kills it is skipped."""
    found: dict[str, Outcome | None] = {}
    while left := [c for c in CASES if only in c.name and c.name not in found]:
        names = json.dumps([c.name for c in left])
        done = subprocess.run(
            [sys.executable, __file__, "--library", library, "--cases", names],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        for line in lines:
            if "case" in line:
                outcome = line["outcome"]
                found[line["case"]] = None if outcome is None else Outcome(**outcome)
        if done.returncode == 0:
            break
        if not lines or "starts" not in lines[-1]:
            raise RuntimeError(done.stderr)
        found[lines[-1]["starts"]] = Outcome("error", "the process died", done.stderr[-SAID:])
    return found


def installed(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def page(found: dict[str, dict[str, Outcome | None]]) -> str:
    """Return the measured part of the page as Markdown."""
    lines = [f"Measured with Python {platform.python_version()}, {', '.join(_versions())}.", ""]
    missing = [library for library in RUNNERS if library not in found]
    if missing:
        lines += [f"Not installed, so left out: {', '.join(missing)}.", ""]
    names = [c.name for c in CASES if any(c.name in answers for answers in found.values())]
    lines += ["## Summary", "", *_counts(found), "", "## The answers", ""]
    lines += ["| input | " + " | ".join(found) + " |", "|---" * (1 + len(found)) + "|"]
    for name in names:
        cells = [str(answers.get(name) or "–") for answers in found.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "## The messages", "", "The first line of each, shortened.", ""]
    for name in names:
        lines += [f"**{name}**", ""]
        for library, answers in found.items():
            outcome = answers.get(name)
            if outcome is not None and outcome.text:
                lines.append(f"- {library}: `{_first_line(outcome.text)}`")
        if not lines[-1]:
            lines.append("- none")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _counts(found: dict[str, dict[str, Outcome | None]]) -> list[str]:
    rows = {"error": "error", "warning": "warning", "finding": "finding of the doctor",
            "note": "note", "right": "silent, right", "wrong": "**silent, wrong**"}  # fmt: skip
    lines = ["| answer | " + " | ".join(found) + " |", "|---" + "|--:" * len(found) + "|"]
    for kind, words in rows.items():
        counts = [
            sum(outcome is not None and outcome.kind == kind for outcome in answers.values())
            for answers in found.values()
        ]
        lines.append(f"| {words} | " + " | ".join(map(str, counts)) + " |")
    return lines


def _first_line(text: str) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    line = re.sub(r"/tmp/\w+/", "", line).replace("`", "'")
    return line if len(line) <= SAID else line[: SAID - 3] + "..."


def _versions() -> list[str]:
    packages = ("scikit-learn", "torch", "keras", "jax", "flax", "optax", "pandas", "numpy")
    found = [f"chainrule {cr.__version__}"]
    for name in packages:
        try:
            found.append(f"{name} {version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="the page whose measured part is replaced")
    parser.add_argument("--only", default="", help="only inputs whose name contains this")
    parser.add_argument("--library", help=argparse.SUPPRESS)
    parser.add_argument("--cases", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.library:
        names = set(json.loads(options.cases))
        work(options.library, [c for c in CASES if c.name in names])
        return 0
    found = {}
    for library, (module, _) in RUNNERS.items():
        if installed(module):
            print(f"asking {library}", file=sys.stderr)
            found[library] = measure(library, options.only)
        else:
            print(f"{library} is not installed", file=sys.stderr)
    text = page(found)
    if options.out is None:
        print(text)
        return 0
    head = options.out.read_text().split(MARK)[0]
    options.out.write_text(f"{head}{MARK}\n\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
