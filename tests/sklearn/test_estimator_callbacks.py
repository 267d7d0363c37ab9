"""Callbacks of the estimators: what they are told, and how they end a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV

import chainrule as cr
from chainrule.core.errors import OptionError
from chainrule.sklearn import MLPClassifier, MLPRegressor

Array = np.ndarray[Any, Any]
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Diary:
    """Remembers all that it is told; asks to stop at an epoch or a step."""

    def __init__(self, epoch: int = 0) -> None:
        self.epoch = epoch
        self.epochs: list[Any] = []
        self.ends: list[Any] = []

    def on_epoch(self, moment: Any) -> bool:
        self.epochs.append((moment.epoch, moment.step, dict(moment.metrics), moment.weights()))
        return bool(moment.epoch == self.epoch)

    def on_end(self, moment: Any) -> None:
        self.ends.append((moment.epoch, moment.step, moment.run.stopped, moment.error))


class Steps(Diary):
    def __init__(self, step: int = 0) -> None:
        super().__init__()
        self.last, self.steps = step, []

    def on_step(self, moment: Any) -> bool:
        self.steps.append((moment.epoch, moment.step, dict(moment.metrics)))
        return bool(moment.step == self.last)


@pytest.fixture(scope="module")
def iris() -> tuple[Array, Array]:
    X, y = load_iris(return_X_y=True)
    return (X - X.mean(0)) / X.std(0), y


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_callbacks_are_told_of_each_epoch_and_change_nothing(
    solver: str, iris: tuple[Array, Array]
) -> None:
    options: dict[str, Any] = {
        "solver": solver, "batch_size": 40, "max_iter": 4, "random_state": 0, "validation_fraction":
        0.2, "early_stopping": True,
    }  # fmt: skip
    diary, steps = Diary(), Steps()
    plain = MLPClassifier((8,), **options).fit(*iris)
    model = MLPClassifier((8,), callbacks=[diary, steps], **options).fit(*iris)
    for one, other in zip(plain.coefs_, model.coefs_, strict=True):
        np.testing.assert_array_equal(one, other)
    each = 1 if solver == "lbfgs" else 3
    assert [(e, s) for e, s, _, _ in diary.epochs] == [(i, each * i) for i in range(1, 5)]
    assert [m["loss"] for _, _, m, _ in diary.epochs] == model.loss_curve_
    assert [m["val_score"] for _, _, m, _ in diary.epochs] == model.validation_scores_
    assert [m["val_loss"] for _, _, m, _ in diary.epochs] == model.validation_loss_curve_
    assert [s for _, s, _ in steps.steps] == list(range(1, 4 * each + 1))
    assert [e for e, _, _ in steps.steps] == np.repeat(range(1, 5), each).tolist()
    assert [(e, s, error) for e, s, _, error in diary.ends] == [(4, 4 * each, None)]
    assert not np.array_equal(diary.epochs[0][3]["0.weight"], diary.epochs[1][3]["0.weight"])


def test_the_loss_of_steps_is_that_of_their_batches(iris: tuple[Array, Array]) -> None:
    steps = Steps()
    weight = np.linspace(0.5, 2, 150)
    model = MLPClassifier((8,), alpha=0, batch_size=40, max_iter=1, callbacks=[steps])
    model.fit(*iris, sample_weight=weight)
    means = [metrics["loss"] for _, _, metrics in steps.steps]
    assert len(means) == 4
    assert min(means) < model.loss_ < max(means)
    assert steps.steps[0][2]["learning_rate"] == 1e-3


def test_a_callback_ends_a_training_after_an_epoch_or_within(iris: tuple[Array, Array]) -> None:
    diary = Diary(epoch=2)
    model = MLPClassifier((8,), callbacks=[diary], random_state=0).fit(*iris)
    assert model.n_iter_ == len(model.loss_curve_) == 2
    assert model.run_.stopped == diary.ends[0][2] == "Diary asked to stop at epoch 2"
    steps = Steps(step=5)
    model = MLPClassifier((8,), batch_size=40, callbacks=[steps], random_state=0).fit(*iris)
    assert (model.n_iter_, model.t_) == (2, 150 + 40)
    assert model.run_.stopped == "Steps asked to stop at epoch 2, step 5"
    assert steps.epochs[-1][:2] == (2, 5)


def test_epochs_and_steps_go_on_counting_with_partial_fit(iris: tuple[Array, Array]) -> None:
    diary = Diary()
    model = MLPRegressor((4,), batch_size=50, callbacks=[diary], random_state=0)
    for _ in range(3):
        model.partial_fit(*iris)
    assert [(e, s) for e, s, _, _ in diary.epochs] == [(1, 3), (2, 6), (3, 9)]
    assert [e for e, _, _, _ in diary.ends] == [1, 2, 3]
    assert model.run_.history["epoch"] == [1, 2, 3]


def test_gradients_are_those_of_the_rows_that_train(iris: tuple[Array, Array]) -> None:
    found: list[Any] = []

    class Slopes:
        def on_epoch(self, moment: Any) -> None:
            found.append((moment.weights(), moment.gradients()))

    X, y = iris
    weight = (y > 0) * 1.0
    model = MLPRegressor((), alpha=0, max_iter=1, callbacks=[Slopes()])
    for rows in (slice(None), slice(50, 60)):  # fewer later, in the memory of the first ones
        model.partial_fit(X[rows], y[rows], sample_weight=weight[rows])
        weights, slopes = found[-1]
        residual = X[rows] @ weights["0.weight"][:, 0] + weights["0.bias"] - y[rows]
        scaled = weight[rows] / weight[rows].mean()
        expected = X[rows].T @ (scaled * residual) / len(residual)
        np.testing.assert_allclose(slopes["0.weight"][:, 0], expected, rtol=1e-9)


def test_a_failing_callback_ends_the_training_and_all_are_told(iris: tuple[Array, Array]) -> None:
    class Fails:
        def on_epoch(self, moment: Any) -> None:
            raise RuntimeError("the disk is full")

    diary = Diary()
    with pytest.raises(RuntimeError, match="the disk is full"):
        MLPClassifier((4,), callbacks=[diary, Fails()]).fit(*iris)
    assert str(diary.ends[0][3]) == "the disk is full"


def test_a_search_copies_callbacks_as_other_parameters(iris: tuple[Array, Array]) -> None:
    diary = Diary(epoch=3)
    model = MLPClassifier((4,), callbacks=[diary], random_state=0)
    copied = clone(model).callbacks[0]
    assert isinstance(copied, Diary)
    assert copied is not diary
    search = GridSearchCV(model, {"alpha": [0.0, 1.0]}, cv=2, error_score="raise").fit(*iris)
    assert search.best_estimator_.n_iter_ == 3
    assert diary.epochs == []
    assert len(search.best_estimator_.callbacks[0].epochs) == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [(Diary, "list of objects"), ([Diary], "not the class"), ([print], "has none of on_epoch")],
)
def test_what_is_no_callback_is_refused(
    given: Any, message: str, iris: tuple[Array, Array]
) -> None:
    with pytest.raises(OptionError, match=message):
        MLPClassifier((4,), callbacks=given).fit(*iris)


@pytest.mark.oracle
def test_tensorboard_watches_an_estimator(iris: tuple[Array, Array], tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    told = cr.TensorBoard(tmp_path / "logs", gradients=True)
    MLPClassifier((4,), max_iter=3, early_stopping=True, callbacks=[told]).fit(*iris)
    found = reading.EventAccumulator(str(tmp_path / "logs")).Reload()
    assert {"loss", "val_loss", "val_score"} <= set(found.Tags()["scalars"])
    assert "gradients/0.weight" in found.Tags()["histograms"]
    assert [e.step for e in found.Scalars("val_score")] == [1, 2, 3]
