"""Event files, read back by TensorBoard itself; skipped where its packages are missing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import chainrule as cr
from chainrule import nn, optim
from chainrule.cli.commands import command_line
from chainrule.train.callbacks import Moment

pytestmark = pytest.mark.oracle

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype("f4")
Y = (X[:, 0] > 0).astype(int)


@pytest.fixture
def read() -> Any:
    """Return a function that opens the event files of a folder in the real TensorBoard."""
    why = "needs tensorboardX and tensorboard: pip install tensorboardX tensorboard"
    pytest.importorskip("tensorboardX", reason=why)
    files = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason=why
    )

    def opened(folder: Path) -> Any:
        found = files.EventAccumulator(str(folder), size_guidance={"histograms": 0, "scalars": 0})
        return found.Reload()

    return opened


def net() -> nn.Sequential:
    return nn.Sequential([nn.Linear(4, 8), nn.BatchNorm(8), nn.ReLU(), nn.Linear(8, 2)])


def train(*callbacks: object, model: Any = None, **options: Any) -> cr.Run:
    options = {"epochs": 5, "batch_size": 20, "validation": 0.25, **options}
    return cr.fit(
        model or net(), (X, Y), loss="cross_entropy", callbacks=callbacks, progress=False, **options
    )


def test_scalars_are_those_of_the_history(read: Any, tmp_path: Path) -> None:
    run = train(cr.TensorBoard(tmp_path), watch=True)
    found = read(tmp_path)
    names = [name for name in run.history[-1] if name not in ("epoch", "layers")]
    assert {"loss", "val_loss", "val_accuracy", "learning_rate"} <= set(names)
    for name in names:
        events = found.Scalars(name)
        assert [e.step for e in events] == [1, 2, 3, 4, 5]
        np.testing.assert_allclose([e.value for e in events], run.history[name], rtol=1e-6)
    seen = [(e.step, e.value) for e in found.Scalars("layers/3/gradient_rms")]
    told = [
        (record["epoch"], record["layers"]["3"]["gradient_rms"])
        for record in run.history
        if "layers" in record  # in some epochs, no step is watched
    ]
    assert 1 < len(told) < 5
    np.testing.assert_allclose(seen, told, rtol=1e-6)


def test_histograms_hold_all_weights_and_gradients(read: Any, tmp_path: Path) -> None:
    class Keep:
        def on_epoch(self, moment: Moment) -> None:
            self.weights, self.gradients = moment.weights(), moment.gradients()

    keep = Keep()
    train(cr.TensorBoard(tmp_path, every=2), keep, watch=True, epochs=4)
    found = read(tmp_path)
    for kind, arrays in (("weights", keep.weights), ("gradients", keep.gradients)):
        assert "0.weight" in arrays
        for path, values in arrays.items():
            events = found.Histograms(f"{kind}/{path}")
            assert [e.step for e in events] == [2, 4]
            last = events[-1].histogram_value
            assert last.num == values.size == sum(last.bucket)
            assert (last.min, last.max) == pytest.approx((values.min(), values.max()))
            assert last.sum == pytest.approx(values.sum(dtype="f8"), abs=1e-4)


def test_gradients_and_histograms_are_left_out_unless_wanted(read: Any, tmp_path: Path) -> None:
    train(cr.TensorBoard(tmp_path / "a"))
    train(cr.TensorBoard(tmp_path / "b", gradients=True))
    train(cr.TensorBoard(tmp_path / "c", gradients=True, every=0))
    kinds = [
        {tag.split("/")[0] for tag in read(tmp_path / name).Tags()["histograms"]}
        for name in ("a", "b", "c")
    ]
    assert kinds == [{"weights"}, {"weights", "gradients"}, set()]


def test_the_graph_is_that_of_the_run(read: Any, tmp_path: Path) -> None:
    run = train(cr.TensorBoard(tmp_path))
    nodes = {node.name: node for node in read(tmp_path).Graph().node}
    graph = run.graph()
    assert len(nodes) == len({*graph.nodes, *graph.inputs.values()}) + len(graph.outputs)
    assert all(name in nodes for node in nodes.values() for name in node.input)
    product = next(node for node in nodes.values() if node.op == "matmul")
    assert product.name.startswith("0/matmul")
    assert list(product.input) == ["x", "0/weight"]
    shape = product.attr["_output_shapes"].list.shape[0]
    assert [d.size for d in shape.dim] == [-1, 8]


def test_hyper_parameters_are_the_settings(read: Any, tmp_path: Path) -> None:
    board = cr.TensorBoard(tmp_path, settings={"note": "mine", "alpha": 0.5, "deep": True})
    train(board, optimizer=optim.Adam(0.01))
    from tensorboard.plugins.hparams import plugin_data_pb2

    found = read(tmp_path)
    tags = found.PluginTagToContent("hparams")
    begun = plugin_data_pb2.HParamsPluginData.FromString(tags["_hparams_/session_start_info"])
    values = begun.session_start_info.hparams
    assert values["note"].string_value == "mine"
    assert values["alpha"].number_value == 0.5
    assert values["deep"].bool_value
    assert values["epochs"].number_value == 5
    assert "Adam(learning_rate=0.01" in values["optimizer"].string_value
    asked = plugin_data_pb2.HParamsPluginData.FromString(tags["_hparams_/experiment"]).experiment
    names = {one.name.tag for one in asked.metric_infos}
    assert {"loss", "val_loss"} <= names <= set(found.Tags()["scalars"])
    assert "_hparams_/session_end_info" in tags


def test_what_a_resumed_training_repeats_is_hidden(read: Any, tmp_path: Path) -> None:
    class Cut:
        def on_epoch(self, moment: Moment) -> None:
            if moment.epoch == 4:
                raise LookupError

    logs, saved = tmp_path / "logs", tmp_path / "saved"
    plan = cr.Checkpoint(saved, every=3)
    with pytest.raises(LookupError):
        train(cr.TensorBoard(logs), Cut(), checkpoint=plan)
    assert [e.step for e in read(logs).Scalars("loss")] == [1, 2, 3, 4]
    assert "_hparams_/session_end_info" not in read(logs).PluginTagToContent("hparams")
    run = cr.resume(saved, callbacks=[cr.TensorBoard(logs)], progress=False)
    events = read(logs).Scalars("loss")
    assert [e.step for e in events] == [1, 2, 3, 4, 5]
    np.testing.assert_allclose([e.value for e in events], run.history["loss"], rtol=1e-6)


def test_the_command_writes_a_folder_for_each_run(
    read: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--epochs", "3", "--tensorboard", "logs", "--no-report", "--no-check", "--json"]
    done = CliRunner().invoke(command_line, ["train", "iris", "--lr", "0.01", *options])
    assert done.exit_code == 0, done.output
    again = CliRunner().invoke(
        command_line, ["train", "--config", "runs/iris-1/config.toml", "--seed", "1", "--quiet"]
    )
    assert again.exit_code == 0, again.output
    assert sorted(path.name for path in Path("logs").iterdir()) == ["iris-1", "iris-2"]
    found = read(tmp_path / "logs" / "iris-1")
    assert len(found.Scalars("val_loss")) == json.loads(done.stdout)["epochs"]
    assert any(tag.startswith("gradients/") for tag in found.Tags()["histograms"])


def test_a_folder_that_cant_be_written_is_told_before_training(tmp_path: Path, read: Any) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(cr.RunError, match="TensorBoard: can't write to"):
        cr.TensorBoard(tmp_path / "file" / "logs")


def test_without_the_package_the_error_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(cr.OptionError, match="pip install tensorboardX"):
        cr.TensorBoard(tmp_path)
    done = CliRunner().invoke(command_line, ["train", "iris", "--tensorboard", str(tmp_path)])
    assert done.exit_code == 2
    assert "pip install tensorboardX" in done.output
