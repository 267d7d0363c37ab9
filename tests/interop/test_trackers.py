"""The callbacks for MLflow and Weights & Biases in docs/callbacks.md, with the real packages."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim

pytestmark = pytest.mark.oracle

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype("f4")
Y = (X[:, 0] > 0).astype(int)


@pytest.fixture
def page(repository: Path) -> dict[str, Any]:
    """Return the names that the page defines in classes."""
    text = (repository / "docs" / "callbacks.md").read_text("utf-8")
    names: dict[str, Any] = {}
    for example in doctest.DocTestParser().get_examples(text):
        if example.source.startswith("class "):
            exec(example.source, names)
    return names


def train(callback: object, **options: Any) -> cr.Run:
    model = nn.Sequential([nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)])
    return cr.fit(
        model, (X, Y), loss="cross_entropy", epochs=3, validation=0.2, callbacks=[callback],
        progress=False, **options,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # of the packages, about themselves
def test_mlflow(page: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs MLflow: pip install mlflow-skinny")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    run = train(page["MLflow"]("saved", note="wider"))
    (found,) = mlflow.search_runs(output_format="list")
    assert found.info.status == "FINISHED"
    assert (found.data.params["note"], found.data.params["epochs"]) == ("wider", "3")
    client = mlflow.MlflowClient()
    for name in ("loss", "val_loss", "val_accuracy"):
        logged = client.get_metric_history(found.info.run_id, name)
        assert [m.step for m in logged] == [1, 2, 3]
        np.testing.assert_allclose([m.value for m in logged], run.history[name])
    place = mlflow.artifacts.download_artifacts(run_id=found.info.run_id)
    np.testing.assert_array_equal(cr.load(place).outputs(X), run.outputs(X))
    with pytest.raises(cr.DivergedError):
        train(page["MLflow"]("failed"), optimizer=optim.SGD(1e38))
    statuses = {one.info.status for one in mlflow.search_runs(output_format="list")}
    assert statuses == {"FINISHED", "FAILED"}


@pytest.mark.filterwarnings("ignore")
def test_weights_and_biases(
    page: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="needs Weights & Biases: pip install wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.chdir(tmp_path)
    train(page["WandB"]("tests", note="wider"))
    (written,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert written.read_bytes().count(b"val_accuracy") >= 3
    assert b'"wider"' in written.read_bytes()
