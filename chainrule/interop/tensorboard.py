"""Event files for TensorBoard: scalars, histograms, the graph and the hyper-parameters.

:class:`TensorBoard` is a callback.  The package tensorboardX writes the files; it is loaded when
the first callback is made.

Read next: :mod:`chainrule.train.callbacks`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.core.errors import RunError, not_installed
from chainrule.core.graph import Graph
from chainrule.core.options import check_whole
from chainrule.core.spec import Spec
from chainrule.train.callbacks import Moment

__all__ = ["TensorBoard", "tensorboard_library"]

FLUSH_SECONDS = 5  # how long what was told may wait, for who watches
CLOCK = ("learning_rate", "seconds", "samples_per_second")  # entries of a record that are no scores


def tensorboard_library() -> Any:
    """Return the package tensorboardX, which writes event files.

    Raises OptionError where it is not installed.
    """
    try:
        import tensorboardX
        import tensorboardX.proto.graph_pb2
        import tensorboardX.proto.node_def_pb2
        import tensorboardX.proto.tensor_shape_pb2
        import tensorboardX.summary
    except ImportError as error:
        raise not_installed(
            "TensorBoard", "tensorboardX", "tensorboardX tensorboard", error
        ) from error
    return tensorboardX


@dataclass
class TensorBoard:
    """Write a training to `folder`; ``tensorboard --logdir`` shows it.  Each needs its own folder.

    After each epoch: every number of its record in the history as a scalar of the same name, the
    statistics of the layers (``layers/...``) where they are recorded (``fit(watch=True)``), and
    histograms of all weights (``weights/...``).  `gradients` adds histograms of the gradients
    (``gradients/...``), which are computed for it, see
    :meth:`chainrule.train.callbacks.Moment.gradients`; None does so where layers are watched.
    `every` is the number of epochs between histograms, 0 for none.  The graph is that of a
    prediction.  The hyper-parameters are the settings of the run, and `settings` in addition.

    Where a training is resumed, TensorBoard hides what was written after the checkpoint.  Raises
    OptionError without the package tensorboardX (the extra ``tensorboard``), and RunError for a
    folder that can't be written.
    """

    folder: str | os.PathLike[str]
    gradients: bool | None = None
    every: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)
    _writer: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_whole("TensorBoard: every", self.every, least=0)
        tensorboard_library()
        self.folder = Path(self.folder).absolute()  # a callback may change the directory
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"TensorBoard: can't write to {str(self.folder)!r}: {error}.") from error

    def on_epoch(self, moment: Moment) -> None:
        """Write what there is of an epoch."""
        if self._writer is None:
            self._begin(moment)
        for name, value in moment.metrics.items():
            if isinstance(value, (int, float, np.number)):
                self._writer.add_scalar(name, value, moment.epoch)
        layers = moment.run.history[-1].get("layers", {})
        for layer, found in layers.items():
            for name, value in found.items():
                self._writer.add_scalar(f"layers/{layer}/{name}", value, moment.epoch)
        if self.every and moment.epoch % self.every == 0:
            self._histograms("weights", moment.weights(), moment.epoch)
            watched = "layers" in moment.run.history[0]  # in some of the later records
            if watched if self.gradients is None else self.gradients:
                self._histograms("gradients", moment.gradients(), moment.epoch)

    def on_end(self, moment: Moment) -> None:
        """Close the file; a training that failed is left without an end."""
        if self._writer is None:
            return
        if moment.error is None:
            self._writer.file_writer.add_summary(self._hparams(moment)[2])
        self._writer.close()
        self._writer = None

    def _begin(self, moment: Moment) -> None:
        resumed = {"purge_step": moment.epoch} if moment.epoch > 1 else {}
        writer = tensorboard_library().SummaryWriter
        self._writer = writer(
            str(self.folder),
            flush_secs=FLUSH_SECONDS,
            **resumed,
            filename_suffix=f".{time.time_ns()}",  # names have only the second
        )
        for summary in self._hparams(moment)[:2]:
            self._writer.file_writer.add_summary(summary)
        self._writer.file_writer.add_onnx_graph(graph_def(moment.run.graph()))  # of any graph

    def _hparams(self, moment: Moment) -> Any:
        """Return three summaries: what the hyper-parameters are, their values, and the end."""
        settings = {**self.settings, **moment.run.settings}
        plain = {k: v if isinstance(v, (bool, int, float)) else str(v) for k, v in settings.items()}
        scores = {n: v for n, v in moment.metrics.items() if n not in CLOCK}
        return tensorboard_library().summary.hparams(plain, scores)

    def _histograms(self, kind: str, arrays: Mapping[str, Any], epoch: int) -> None:
        for path, values in arrays.items():
            finite = values[np.isfinite(values)]
            if finite.size:
                self._writer.add_histogram(f"{kind}/{path}", finite, epoch)


def graph_def(graph: Graph) -> Any:
    """Return a graph in TensorBoard's format: a node for each node, within its layer."""
    proto = tensorboard_library().proto
    names = {node: name.replace(".", "/") for name, node in graph.inputs.items()}
    made = []

    def add(name: str, op: str, inputs: list[str], spec: Spec) -> None:
        one = proto.node_def_pb2.NodeDef(name=name, op=op, input=inputs)
        dims = [
            proto.tensor_shape_pb2.TensorShapeProto.Dim(size=d if isinstance(d, int) else -1)
            for d in spec.shape
        ]
        shape = proto.tensor_shape_pb2.TensorShapeProto(dim=dims)
        one.attr["_output_shapes"].list.shape.append(shape)
        one.attr["dtype"].s = str(spec.dtype).encode()
        made.append(one)

    for node in graph.nodes:
        inputs = [names[i] for i in node.inputs]
        if node not in names:
            own = node.params.get("name", f"{node.scope}.{node.primitive.name}_{len(names)}")
            names[node] = "/".join(filter(None, own.split(".")))
        add(names[node], node.primitive.name, inputs, node.spec)
    for name, node in graph.outputs.items():
        add(name, "output", [names[node]], node.spec)
    return proto.graph_pb2.GraphDef(node=made)
