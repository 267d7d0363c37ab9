"""A finished training: the trained model, its history, and what can be done with it.

A run is saved as a directory a person can read: ``weights.safetensors``, ``run.json`` (layers,
objective, settings, versions), ``history.jsonl``, ``metrics.json``, ``pipeline.json`` when it was
trained on a table, and ``manifest.json``, by which damage is found; no code, no pickle.

Read next: :mod:`chainrule.cli`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.core.errors import DataError, OptionError
from chainrule.core.foreign import no_member
from chainrule.core.graph import Graph, exported
from chainrule.core.options import check_whole, checks_arguments, sizes_up_to
from chainrule.core.pickling import check_named
from chainrule.core.plain import as_plain
from chainrule.core.tensor import Tensor, input
from chainrule.core.wording import counted
from chainrule.data.check_arrays import check_same_length
from chainrule.data.frames import read_array
from chainrule.data.pipeline import Pipeline
from chainrule.data.pixels import PixelPipeline
from chainrule.data.table import Table
from chainrule.doctor.case import Case
from chainrule.doctor.finding import Findings
from chainrule.doctor.remedies import Trial, try_remedies
from chainrule.nn.layer import Layer, check_input, check_layer, outline, parameters
from chainrule.nn.layer_config import from_config, model_config
from chainrule.nn.scale import reads_pixels, starts_with_scale
from chainrule.run.program import Engine, RowFunction, prepare_function
from chainrule.step.metrics import BY_NAME, Metric, metrics_of
from chainrule.step.objective import Objective, objective
from chainrule.step.part import Part
from chainrule.step.record import (
    ROWS,
    check_rows,
    data_input,
    forward,
    model_dtype,
    record_totals,
)
from chainrule.train.directory import pack_weights, set_weights, unpack_weights, write_run
from chainrule.train.history import History
from chainrule.train.predictor import Predictor
from chainrule.train.replay import Biography, Breakdown, biography, find_breakdown, forked
from chainrule.train.saved_files import FORMAT, read_saved, reading, versions
from chainrule.transform.mode import for_predicting

__all__ = ["Run", "load"]

Array = np.ndarray[Any, Any]
SPARE = 1 << 20  # sizes in a saved network may exceed the number of its weights by this


@dataclass(repr=False)
class Run:
    """A trained model with its history.

    `history` has one dict an epoch: epoch, loss, metrics, val_loss and val_ metrics where there was
    validation, learning_rate, seconds, samples_per_second; ``run.history["loss"]`` is the loss of
    each epoch.  `stopped` says why training ended early, or is None.
    `feature_names` are the names of the columns of X, by which those of a frame are matched.
    `pipeline` turns tables into features, in runs of
    :func:`chainrule.tabular.table_training.fit_table`; `scores` are its held-out results.
    Class probabilities are those of outputs divided by the `temperature`; of two classes, the
    second is predicted from a probability of `threshold` (None: the more probable one).
    `findings` are what the doctor found, or None where the training was not checked; `remedies`
    are those that :meth:`trial` tried.  A checked run keeps the training data and the untrained
    model for trials, until ``run.keep_case(None, None)``.

    The model is the one that was trained, not a copy: train it again, or set its weights, and this
    run predicts with the new ones.  `engine`, that of training, predicts too; it is not saved.
    """

    model: Layer
    objective: Objective
    metrics: tuple[Metric, ...]
    features: tuple[int, ...]
    feature_dtype: str
    flat_target: bool
    feature_names: tuple[str, ...] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    history: History = field(default_factory=History)
    stopped: str | None = None
    best_epoch: int = 0
    scores: dict[str, Any] = field(default_factory=dict)
    pipeline: Pipeline | PixelPipeline | None = None
    temperature: float = 1.0
    threshold: float | None = None
    findings: Findings | None = None
    remedies: Trial | None = None
    engine: Engine = field(default_factory=Engine)
    _functions: dict[Any, RowFunction] = field(default_factory=dict, compare=False)
    _case: Case | None = field(default=None, compare=False)
    _train: Callable[..., Run] | None = field(default=None, compare=False)
    export = exported

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise no_member(self, name)

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle all but compiled functions, which are compiled again when needed."""
        check_named("the model", self.model)
        return self.__dict__ | {"_functions": {}}

    def __repr__(self) -> str:
        """Say in a few lines what was trained, for how long, and how well it went."""
        last = self.history[-1] if self.history else {}
        told = {name: last[name] for name in _scores_in(last)}
        epochs = counted(len(self.history), "epoch")
        lines = [
            f"Run of {outline(self.model)}: {self.objective.name}, {epochs}",
            ", ".join(f"{k} {v:.4g}" for k, v in told.items() if v is not None),
            f"stopped: {self.stopped}" if self.stopped else "",
        ]
        return "\n  ".join(line for line in lines if line)

    def outputs(self, X: Any) -> Array:
        """Return the model's raw outputs (logits, or values) for the rows of X.

        X is what the model itself is given: in a run with a pipeline, the features that
        ``run.pipeline.transform(table)`` returns.  Raises DataError or ShapeError for an X that
        does not look like the training data.
        """
        X = self.check(X)
        outputs: Array = self.function({"x": X})({"x": X})["output"]
        return outputs

    def function(self, arrays: Mapping[str, Array]) -> RowFunction:
        """Return the model of x, or its totals where there is y, ready to be called."""
        kind = tuple((name, array.dtype, array.shape[1:]) for name, array in arrays.items())
        found = self._functions.get(kind)  # one lookup: other threads may clear it
        if found is None:
            leaves = {name: data_input(name, array) for name, array in arrays.items()}
            output = forward(self.model, leaves["x"])
            outputs = {"output": output}
            if "y" in leaves:
                _, outputs = record_totals(
                    self.objective, self.metrics, output, leaves["y"], leaves.get("weight")
                )
            graph = Graph(outputs, leaves)
            found = prepare_function(graph, list(leaves), self.engine)
            self._functions[kind] = found
        return found

    def predict(self, X: Any) -> Array:
        """Return predictions for the rows of X, shaped like the `y` of training.

        The columns of a frame are matched by the names they had in training.
        Class numbers where the loss is of classes, 0/1 labels where it is of labels,
        expected counts for poisson, real values otherwise.  A run trained on image files takes
        pixels, uint8.  One trained on a table predicts by
        :func:`chainrule.tabular.table_prediction.predict_table`, since numbers that are not scaled
        would give wrong predictions without a word; rows of numbers are refused with a DataError.
        """
        return self.decide(self.outputs(self.encode(X)))

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class (rows, classes), or of each label.

        Raises OptionError when the loss trains no probabilities.
        """
        return self.probabilities(self.outputs(self.encode(X)))

    def predictor(self) -> Predictor:
        """Return a callable that predicts a row, or rows, with the weights as they are now.

        For single rows it takes a fraction of the time of :meth:`predict`; see
        :class:`~chainrule.train.predictor.Predictor`.  A run trained on a table has to encode its
        columns first, so that its predictor has ``outputs(features)`` alone, for features that
        ``run.pipeline.transform(table)`` returned.
        """
        row, pipeline = self.features, self.pipeline
        if isinstance(pipeline, PixelPipeline):
            row = (len(pipeline.feature_names),)
        given = np.dtype(self.feature_dtype)
        pixels = reads_pixels(self.model, given, 1 + len(self.features))
        dtype = given if pixels else self._dtype
        return Predictor(self, dtype, row)

    def decide(self, outputs: Array) -> Array:
        """Return the predictions that the model's raw `outputs` stand for."""
        if self.threshold is not None:
            return (self.probabilities(outputs)[:, 1] >= self.threshold).astype(np.int64)
        return self._flat(self.objective.decide(outputs))

    def probabilities(self, outputs: Array) -> Array:
        """Return the probabilities that the model's raw `outputs` stand for."""
        if self.temperature != 1:
            outputs = outputs / outputs.dtype.type(self.temperature)
        return self._flat(self.objective.probabilities(outputs))

    @checks_arguments(positional="Features and targets go together: run.evaluate((X, y)).")
    def evaluate(self, data: tuple[Any, Any] | Table | Mapping[str, Any]) -> dict[str, float]:
        """Return the mean loss and every metric on ``data = (X, y)``.

        In a run that was trained on a table, `data` is a table or a mapping of columns, with the
        target; errors of numbers are in standardized units.
        """
        if isinstance(self.pipeline, Pipeline) and not isinstance(data, (tuple, list)):
            table = Table.from_arrays(data)
            answers = self.pipeline.encode_target(table)
            return self._scores(self.check(self.pipeline.transform(table)), answers)
        if not isinstance(data, (tuple, list)) or len(data) != 2:
            raise DataError(f"evaluate needs a pair (X, y), not {type(data).__name__}.")
        X, y = self.check(self.encode(data[0])), read_array(data[1], "y")
        check_same_length(X, np.asarray(y))
        return self._scores(X, y)

    def _scores(self, X: Array, answers: Any) -> dict[str, float]:
        output = forward(self.model, data_input("x", X))
        y = self.objective.target(answers, output.shape, self._dtype)
        return self.totals(Part(X, y))

    def encode(self, X: Any) -> Any:
        """Return what the model is given for X: pixels encoded, other arrays as they are.

        Raises DataError in a run that was trained on a table.
        """
        if isinstance(self.pipeline, Pipeline):
            raise DataError(
                "this run was trained on a table, and its pipeline has to scale and encode the "
                "columns first. Predict, with probabilities, by "
                "chainrule.tabular.predict_table(run, table), and score by run.evaluate(table). "
                "Features that run.pipeline.transform(table) returned go to "
                "run.outputs(features), and its result to run.decide or run.probabilities."
            )
        if self.pipeline is None or not self.pipeline.steps:
            return X
        if getattr(X, "dtype", None) != np.uint8:
            raise DataError(
                "this run was trained on pixels of 0 to 255; give them as a uint8 array of shape "
                f"(rows, {len(self.pipeline.feature_names)}), and its pipeline encodes them."
            )
        return self.pipeline.encode(X)

    def totals(self, part: Part) -> dict[str, float]:
        """Return the mean loss and every metric on rows that are checked and encoded already."""
        function = self.function(part.arrays)
        sums: dict[str, float] = {}
        for arrays in part.blocks(function.whole):
            for name, total in function(arrays).items():
                sums[name] = sums.get(name, 0.0) + total
        scores = {"loss": sums["loss"] / part.total_weight}
        scores.update({m.name: m.finish(sums[m.name] / len(part), part) for m in self.metrics})
        return scores

    def keep_case(self, case: Case | None, train: Callable[..., Run] | None) -> None:
        """Keep what :meth:`trial` needs, the untrained case and fit; None for both frees them."""
        self._case, self._train = case, train

    def trial(self, seeds: int = 3, *, after: int = 0) -> Trial:
        """Try the remedies of `findings`: train with and without each, and compare.

        Every training starts from the same first weights as this one; control and remedy are
        compared by their held-out error for each of `seeds` seeds.  The result prints as text;
        its ``best`` is the confirmed remedy with the largest gain, if any.

        With `after`, the training is replayed to the end of that epoch, and control and remedies
        continue from its weights for the remaining epochs, each with a new optimizer, whose
        schedule starts anew.  This needs validation rows, since all others were trained on.
        Remedies that trained weights do not fit, such as another activation, are not tried.
        Raises OptionError unless the run was trained with ``check=True`` and was not loaded.
        """
        case = self._kept("trial")
        check_whole("trial: seeds", seeds)
        if check_whole("trial: after", after, least=0):
            case = self._forked(case, after)
        assert self._train is not None
        self.remedies = try_remedies(case, self.findings or (), self._train, seeds, after)
        return self.remedies

    def _forked(self, case: Case, after: int) -> Case:
        last = min(len(self.history), case.epochs - 1)
        if after > last:
            raise OptionError(
                f"trial: after={after}, but the last epoch that others can follow is {last}."
            )
        if case.validation is None:
            raise OptionError(
                "trial: after=... needs rows that the replayed epochs did not train on; "
                "train with validation=0.2."
            )
        return forked(case, after)

    def biography(self, layer: str | int, unit: int) -> Biography:
        """Replay the training, and return when and why a unit of a layer with weights died.

        See :class:`chainrule.train.replay.Biography`.  Raises OptionError unless the run was
        trained with ``check=True`` and was not loaded, and for a layer or unit that is not there.
        """
        return biography(self._kept("biography"), str(layer), unit)

    def breakdown(self) -> Breakdown | None:
        """Replay a training that diverged, and return the step, the batch and the layer.

        See :class:`chainrule.train.replay.Breakdown`; None if every step is finite.
        """
        return find_breakdown(self._kept("breakdown"))

    def _kept(self, name: str) -> Case:
        if self._case is None:
            raise OptionError(
                f"{name} needs the data and the untrained model, which fit(..., check=True) keeps; "
                "a loaded run, or a model that can't be copied, does not have them."
            )
        return self._case

    def graph(self) -> Graph:
        """Return the model as a graph from ``x`` to ``output``, to print or inspect."""
        x = input("x", (ROWS, *self.features), self.feature_dtype)
        return for_predicting(Graph({"output": forward(self.model, x)}, {"x": x}))

    @cached_property
    def _dtype(self) -> np.dtype[Any]:
        """The dtype the model computes in; finding it takes a walk over the layers."""
        return model_dtype(self.model)

    def check(self, X: Any) -> Array:
        """Return X as rows the model takes; raise DataError unless they look like training's."""
        rows = check_rows(read_array(X, "X", self.feature_names), "X", self._dtype)
        if rows.shape[1:] != self.features:
            raise DataError(
                f"each row of X has shape {rows.shape[1:]}, but the model was trained on rows of "
                f"shape {self.features}.{_other_axes(rows.shape, self.features)}"
            )
        if not self._on_scale_of_training(rows):
            raise DataError(
                f"X holds {rows.dtype} but the model was trained on {self.feature_dtype}; pixels "
                "in uint8 are scaled by 1/255 and other numbers are not, so the two can't stand "
                "for each other."
            )
        check_input([self.model], rows)
        return rows

    def _on_scale_of_training(self, rows: Array) -> bool:
        """Whether a number in `rows` means what it meant in training, where pixels were scaled."""
        if (rows.dtype == np.uint8) == (self.feature_dtype == "uint8"):
            return True
        given_unit = rows.dtype.kind == "f" and starts_with_scale(self.model)
        return not given_unit and not reads_pixels(self.model, np.dtype(np.uint8), rows.ndim)

    def _flat(self, values: Array) -> Array:
        flat: Array = values[:, 0] if self.flat_target and values.shape[1:] == (1,) else values
        return flat

    # --- files ---------------------------------------------------------------------------

    def save(
        self,
        path: str | os.PathLike[str],
        force: bool = False,
        extra: Mapping[str, str] | None = None,
    ) -> Path:
        """Write the run, and `extra` files of text by name, to the directory `path`; return it.

        The directory appears whole or not at all, even after a crash.  What else an existing one
        holds is kept.  Raises RunError if it exists with anything in it (unless `force` replaces a
        run) or can't be written, OptionError if the model holds a layer that can't be saved.
        """
        texts = {name: text.encode() for name, text in (extra or {}).items()}
        return write_run(self.files() | texts, path, force)

    def files(self) -> dict[str, bytes]:
        """Return the content of every file of the saved run, by name."""
        description = {
            "format": FORMAT,
            "model": model_config(self.model),
            "frozen": [name for name, p in parameters(self.model).items() if not p.trainable],
            "loss": self.objective.saved(),
            "custom_loss": self.objective.kind == "custom",
            "metrics": [m.name for m in self.metrics],
            "features": list(self.features),
            "feature_dtype": self.feature_dtype,
            "flat_target": self.flat_target,
            "feature_names": self.feature_names,
            "temperature": self.temperature,
            "threshold": self.threshold,
            "settings": self.settings,
            "stopped": self.stopped,
            "best_epoch": self.best_epoch,
            "findings": None if self.findings is None else self.findings.to_json(),
            "remedies": None if self.remedies is None else self.remedies.to_json(),
            "versions": versions(),
        }
        weights = {
            # Not ascontiguousarray, which would give a single number an axis.
            name: np.asarray(p.value, order="C")
            for name, p in parameters(self.model).items()
        }
        lines = [json.dumps(as_plain(record), allow_nan=False) for record in self.history]
        files = {
            "run.json": json.dumps(as_plain(description), indent=1, allow_nan=False).encode(),
            "weights.safetensors": pack_weights(weights),
            "history.jsonl": "".join(line + "\n" for line in lines).encode(),
            "metrics.json": json.dumps(as_plain(self.scores), indent=1, allow_nan=False).encode(),
        }
        if self.pipeline is not None:
            files["pipeline.json"] = json.dumps(self.pipeline.to_json(), indent=1).encode()
        return files


def _scores_in(record: dict[str, Any]) -> list[str]:
    """Return which entries of a record of the history are losses and metrics."""
    clock = ("epoch", "learning_rate", "seconds", "samples_per_second", "layers")
    return [name for name in record if name not in clock]


def _other_axes(shape: tuple[int, ...], features: tuple[int, ...]) -> str:
    """Return what to do about rows that lack an axis, where that is what is wrong."""
    if shape == features:
        return " Give a single row as X[None]."
    return " Give single features as X[:, None]." if (*shape[1:], 1) == features else ""


def load(
    path: str | os.PathLike[str],
    loss: str | Callable[[Tensor, Tensor], Tensor] | None = None,
    metrics: Sequence[str | Callable[..., Any]] | None = None,
    *,
    engine: str | None = None,
    threads: int | None = None,
) -> Run:
    """Return the run saved in the directory `path`.

    A loss or metric of your own is not in the files; to evaluate with it, give it again as `loss`
    or among `metrics`.  :func:`chainrule.run.program.prepare` explains `engine` and `threads`.
    Raises RunError when the directory is not a run or has a format that can't be read, and its
    subclass DamagedError, which names the file, when one is not what was saved.  Files that are
    not needed here, such as config.toml and report.html, may be changed or absent.
    """
    root = Path(path)
    saved = read_saved(root)
    about = saved.about
    file = root / "weights.safetensors"
    weights = unpack_weights(saved.weights, file)
    with reading(root / "run.json"):
        with sizes_up_to(sum(array.size for array in weights.values()) + SPARE):
            model = from_config(about["model"])
        check_layer("the model", model)
        frozen = set(about["frozen"])
        findings = None if about["findings"] is None else Findings.from_json(about["findings"])
        remedies = None if about["remedies"] is None else Trial.from_json(about["remedies"])
        aim = _saved_objective(about) if loss is None else None
        set_weights(model, weights, file)
        for name, parameter in parameters(model).items():
            parameter.trainable = parameter.trainable and name not in frozen
    with reading(root / "pipeline.json"):
        pipeline = None if saved.pipeline is None else _saved_pipeline(saved.pipeline)
    aim = aim or objective(loss)  # type: ignore[arg-type]
    return Run(
        model=model,
        objective=aim,
        metrics=metrics_of(metrics or [m for m in about["metrics"] if m in BY_NAME], aim),
        features=tuple(about["features"]),
        feature_dtype=about["feature_dtype"],
        flat_target=about["flat_target"],
        feature_names=None if about["feature_names"] is None else tuple(about["feature_names"]),
        temperature=about["temperature"],
        threshold=about["threshold"],
        settings=about["settings"],
        history=History(saved.history),
        stopped=about["stopped"],
        best_epoch=about["best_epoch"],
        scores=saved.scores,
        pipeline=pipeline,
        findings=findings,
        remedies=remedies,
        engine=Engine(engine, threads),
    )


def _saved_objective(about: dict[str, Any]) -> Objective:
    if about["custom_loss"]:
        return Objective(about["loss"], None, "custom", None)
    return objective(from_config(about["loss"]))


def _saved_pipeline(saved: dict[str, Any]) -> Pipeline | PixelPipeline:
    kind = PixelPipeline if saved.get("kind") == "pixels" else Pipeline
    return kind.from_json(saved)
