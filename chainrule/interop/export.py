"""Export a run, or a graph, as an ONNX model that is compared with it before it is kept.

The model contains the preprocessing of the run, its network, and what turns the network's outputs
into probabilities and predictions, so that what is given to it is what is given to the run.

Read next: :mod:`chainrule.interop.onnx_writer`, :mod:`chainrule.interop.table_inputs`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.core.durable import write_file
from chainrule.core.errors import DataError, OptionError, RunError
from chainrule.core.graph import Graph
from chainrule.core.tensor import Tensor, input
from chainrule.data.encode import CategoryEncoder
from chainrule.data.frames import read_array
from chainrule.data.gaps import with_gaps
from chainrule.data.pipeline import Pipeline
from chainrule.data.pixels import PixelPipeline
from chainrule.data.table import Table
from chainrule.interop.onnx_library import runtime_library
from chainrule.interop.onnx_writer import Words, onnx_model
from chainrule.interop.table_inputs import (
    column_arrays,
    column_inputs,
    features_of,
    transformed,
    words_of,
)
from chainrule.ops.composite import softmax
from chainrule.ops.elementary import exp, sigmoid
from chainrule.run.reference import evaluate
from chainrule.step.record import ROWS, forward
from chainrule.tabular.table_prediction import predict_table
from chainrule.train.run import Run
from chainrule.transform.mode import for_predicting

__all__ = ["Exported", "export"]

Array = np.ndarray[Any, Any]
TOLERANCE = 1e-5  # of a difference, times the number if that is above 1
DRAWN = 256  # rows to compare on where none are given


@dataclass(frozen=True)
class Exported:
    """An ONNX file: its inputs and outputs, and how far it is from the run on `rows` rows.

    `difference` is the largest difference of a number, divided by the number if that is above 1.
    `drawn` says that no rows were given, so that it was compared on random ones.
    """

    path: Path
    inputs: dict[str, str]
    outputs: dict[str, str]
    size: int
    rows: int
    difference: float
    drawn: bool


def export(run: Run | Graph, path: str | os.PathLike[str], rows: Any = None) -> Exported:
    """Write `run` to the ONNX file `path`, and return what was written and compared.

    The model takes what ``run.predict`` takes: rows as the input ``x``, or for a run trained on a
    table an input for each column, and ``x`` for all columns if they are numbers.  It returns
    ``prediction``, which is what ``run.predict`` returns (the number of a class), and for classes
    and labels ``probabilities``.  Its metadata hold the names of the classes under "classes", and
    of the columns under "columns", as JSON.  The number of rows is free.

    The model is run by onnxruntime on `rows` (an array or, for a table, a Table or a mapping of
    columns) and compared with the run before the file is written; without `rows`, on
    random ones in the range of the training data, as far as the run knows it.  A Graph is exported
    with its own inputs and outputs, and `rows` are values by the names of its inputs.

    Raises OptionError if onnx or onnxruntime is missing, or for an operation without a form in
    ONNX; DataError for rows that do not fit; RunError if the results differ by more than 1e-5
    (times the number, if that is above 1), or if the file can't be written.
    """
    if isinstance(run, Graph):
        content, given, wanted = _of_graph(run, rows)
        drawn = False
    elif isinstance(run, Run):
        drawn = rows is None
        content, given, wanted = _of_run(run, rows)
    else:
        raise OptionError(f"export takes a run or a graph, not {type(run).__name__}.")
    inputs, outputs, difference = _compared(
        content, given, wanted, run.threshold if isinstance(run, Run) else None
    )
    write_file(Path(path), content)
    count = max((len(array) for array in given.values() if array.ndim), default=0)
    return Exported(Path(path), inputs, outputs, len(content), count, difference, drawn)


def _of_graph(graph: Graph, rows: Any) -> tuple[bytes, dict[str, Array], dict[str, Array]]:
    if not isinstance(rows, Mapping):
        raise OptionError(
            "export: give the values to compare on by the names of the graph's inputs, as in "
            "export(graph, path, {'x': X})."
        )
    wanted = evaluate(for_predicting(graph), rows)
    leaves = {n: leaf for n, leaf in graph.inputs.items() if leaf.primitive.name == "input"}
    given = {name: np.asarray(rows[name], leaf.spec.dtype) for name, leaf in leaves.items()}
    return onnx_model(graph), given, wanted


def _of_run(run: Run, rows: Any) -> tuple[bytes, dict[str, Array], dict[str, Array]]:
    inputs, x = _inputs(run)
    outputs = _answers(run, forward(run.model, x))
    if both := sorted(inputs.keys() & outputs.keys()):
        raise OptionError(f"a column is called {both[0]!r}, as an output is; rename it.")
    words: dict[str, Words] = {}
    if isinstance(run.pipeline, Pipeline):
        words = words_of(run.pipeline)
    content = onnx_model(Graph(outputs, inputs), words, _metadata(run))
    return content, *_expected(run, rows)


def _inputs(run: Run) -> tuple[dict[str, Tensor], Tensor]:
    """Return the inputs of the exported model, and what the network is given for them."""
    pipeline = run.pipeline
    if isinstance(pipeline, Pipeline):
        columns = column_inputs(pipeline)
        return columns, features_of(pipeline, columns)
    if isinstance(pipeline, PixelPipeline) and pipeline.steps:
        pixels = input("x", (ROWS, len(pipeline.feature_names)), "uint8")
        scaled = pixels.astype("float32") * (1 / 255)
        for step in pipeline.steps:
            scaled = transformed(step, scaled)
        return {"x": pixels}, scaled
    x = input("x", (ROWS, *run.features), run.feature_dtype)
    return {"x": x}, x


def _answers(run: Run, output: Tensor) -> dict[str, Tensor]:
    """Return what the run predicts, from the raw outputs of its network."""
    aim = run.objective
    if aim.kind in ("ordered", "quantiles", "several"):
        raise OptionError(
            f"a run with the loss {aim.name!r} can't be exported yet; export its network as a "
            "graph: cr.export(run.graph(), path, {'x': features})."
        )
    output = output / run.temperature if run.temperature != 1 else output
    flat = run.flat_target and output.shape[1:] == (1,)
    one = output.reshape((ROWS,)) if flat else output
    if aim.kind == "classes":
        scores = {"probabilities": softmax(output)} if aim.probabilistic else {"scores": output}
        first = output.argmax(axis=1)
        if run.threshold is not None:
            first = (scores["probabilities"][:, 1] >= run.threshold).astype("int64")
        return {"prediction": first, **scores}
    if aim.kind == "labels":
        scores = {"probabilities": sigmoid(one)} if aim.probabilistic else {"scores": one}
        return {"prediction": (one > 0).astype("int64"), **scores}
    value = exp(one) if aim.kind == "counts" else one
    if isinstance(run.pipeline, Pipeline):
        zero, one = run.pipeline.target.decode([0, 1])
        value = value.astype("float64") * (one - zero) + zero
    return {"prediction": value}


def _metadata(run: Run) -> dict[str, Any]:
    """Return what a reader of the file may want to know besides the graph."""
    about: dict[str, Any] = {"loss": run.objective.name}
    if run.settings.get("data"):
        about["data"] = str(run.settings["data"])
    if run.pipeline is not None:
        target = run.pipeline.target
        about |= {"target": target.name, "classes": list(target.classes)}
    if isinstance(run.pipeline, Pipeline):
        about["columns"] = [e.name for e in run.pipeline.encoders]
    return about


def _expected(run: Run, rows: Any) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return rows as the exported model takes them, and what the run itself says about them."""
    pipeline = run.pipeline
    if isinstance(pipeline, Pipeline):
        table = Table.from_arrays(_drawn_table(pipeline) if rows is None else rows)
        table = with_gaps(table, pipeline.na)
        if len(table) == 0:
            raise DataError("export: there are no rows to compare on; give at least one.")
        outputs = run.outputs(pipeline.transform(table))
        if pipeline.task == "regression":
            wanted = predict_table(run, table, tell=lambda line: None)
        else:
            wanted = _said(run, outputs)
        return column_arrays(pipeline, table), wanted
    if isinstance(rows, (Table, Mapping)) and pipeline is not None:
        X: Array = replace(pipeline, steps=()).transform(Table.from_arrays(rows))
    else:
        rows = _drawn_rows(run) if rows is None else rows
        X = np.asarray(read_array(rows, "rows", run.feature_names))
    seen = run.check(run.encode(X))
    if len(seen) == 0:
        raise DataError("export: there are no rows to compare on; give at least one.")
    encoded = isinstance(pipeline, PixelPipeline) and bool(pipeline.steps)
    given = X if encoded else seen.astype(run.feature_dtype)
    return {"x": given}, _said(run, run.outputs(seen))


def _said(run: Run, outputs: Array) -> dict[str, Array]:
    """Return predictions, and probabilities or scores, as the run computes them."""
    wanted = {"prediction": run.decide(outputs)}
    if run.objective.kind in ("classes", "labels"):
        if run.objective.probabilistic:
            wanted["probabilities"] = run.probabilities(outputs)
        else:
            flat = run.flat_target and outputs.shape[1:] == (1,)
            wanted["scores"] = outputs[:, 0] if flat else outputs
    return wanted


def _drawn_rows(run: Run) -> Array:
    """Return random rows of the shape and dtype of the training rows."""
    rng = np.random.default_rng(0)
    shape = (DRAWN, *run.features)
    if isinstance(run.pipeline, PixelPipeline):
        shape = (DRAWN, len(run.pipeline.feature_names))
        return rng.integers(0, 256, shape).astype(np.uint8)
    dtype = np.dtype(run.feature_dtype)
    if dtype.kind == "f":
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0, 2 if dtype.kind in "bi" else 256, shape).astype(dtype)


def _drawn_table(pipeline: Pipeline) -> dict[str, Any]:
    """Return random cells in the range of each column of the training table, some missing."""
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for e in pipeline.encoders:
        gone = rng.random(DRAWN) < 0.05
        if isinstance(e, CategoryEncoder) or e.levels:
            words = np.array([*e.levels, "a word that was not in training"], dtype=object)
            found[e.name] = np.where(gone, "", rng.choice(words, DRAWN))
        elif e.parts:
            days = _between(rng, e, -1) if e.parts[-1] == "days" else rng.integers(0, 20_000, DRAWN)
            moments = (np.asarray(days) * 86_400e6).astype("datetime64[us]")
            moments[gone] = np.datetime64("NaT")
            found[e.name] = moments
        else:
            found[e.name] = np.where(gone, np.nan, _between(rng, e, 0))
    return found


def _between(rng: Any, encoder: Any, part: int) -> Array:
    """Return numbers in the range of one part of a column."""
    low, high = (side[part] if side else 0.0 for side in (encoder.least, encoder.greatest))
    drawn: Array = rng.uniform(low, high, DRAWN)
    return drawn


def _compared(
    content: bytes,
    given: Mapping[str, Array],
    wanted: Mapping[str, Array],
    threshold: float | None = None,
) -> tuple[dict[str, str], dict[str, str], float]:
    """Run the model, and return its inputs, its outputs and the largest difference.

    Raises RunError if onnxruntime can't run it, or if its results are not those `wanted`.
    """
    runtime = runtime_library()
    options = runtime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        got = session.run(list(wanted), dict(given))
    except Exception as error:  # onnxruntime's errors have no common class
        raise RunError(f"onnxruntime can't run the exported model: {error}") from error
    found = dict(zip(wanted, got, strict=True))
    worst = 0.0
    for name, array in wanted.items():
        if found[name].shape != array.shape:
            raise RunError(
                f"{name} of the exported model has shape {found[name].shape} instead of "
                f"{array.shape}; nothing was written."
            )
        away = _distance(found[name], array)
        if name == "prediction" and array.dtype.kind in "iu":
            away[_undecided(wanted, threshold)] = (
                0  # either of two equal scores may win by rounding
            )
        largest = float(away.max(initial=0.0))
        if not largest <= TOLERANCE:
            row = int(np.unravel_index(int(np.argmax(~(away <= TOLERANCE))), away.shape)[0])
            raise RunError(
                f"in onnxruntime, {name} of row {row} is {found[name][row]} instead of "
                f"{array[row]}; the two may differ by {TOLERANCE:g}. Nothing was written."
            )
        worst = max(worst, largest)
    inputs, outputs = (
        {part.name: f"{part.type[7:-1]}{part.shape}" for part in parts}
        for parts in (session.get_inputs(), session.get_outputs())
    )
    return inputs, outputs, worst


def _distance(found: Array, wanted: Array) -> Array:
    """Return the difference of each element, divided by the number if that is above 1."""
    a, b = found.astype(np.float64), wanted.astype(np.float64)
    away: Array = np.abs(a - b) / np.maximum(np.abs(b), 1)
    return np.asarray(np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, away))


def _undecided(wanted: Mapping[str, Array], threshold: float | None) -> Any:
    """Return the elements of a prediction whose two best scores are equal but for rounding."""
    scores = wanted.get("probabilities", wanted.get("scores"))
    prediction = wanted["prediction"]
    if scores is None:
        return np.zeros(prediction.shape, bool)
    if scores.shape == prediction.shape:  # labels
        return np.abs(scores - (0.5 if "probabilities" in wanted else 0.0)) < TOLERANCE
    if threshold is not None:
        return np.abs(scores[:, 1] - threshold) < TOLERANCE
    two = np.sort(scores, axis=1)[:, -2:]
    return two[:, 1] - two[:, 0] < TOLERANCE
