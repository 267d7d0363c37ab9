"""Scores against values worked out by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from chainrule.core.errors import DataError
from chainrule.tabular.scores import (
    confusion_matrix,
    error_quantiles,
    score_classes,
    score_values,
    worst_classes,
)


def made_up(rows: int = 300, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    scores = rng.random((rows, classes)) + 1e-3
    return rng.integers(0, classes, rows), scores / scores.sum(axis=1, keepdims=True)


def test_class_scores_agree_with_scikit_learn() -> None:
    true, probabilities = made_up()
    predicted = probabilities.argmax(axis=1)
    found = score_classes(true, probabilities)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(true, predicted))
    assert found["balanced_accuracy"] == pytest.approx(
        reference.balanced_accuracy_score(true, predicted)
    )
    assert found["log_loss"] == pytest.approx(reference.log_loss(true, probabilities))
    assert (
        confusion_matrix(true, predicted, 4) == reference.confusion_matrix(true, predicted)
    ).all()


def test_value_scores_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(4)
    true = rng.normal(10, 3, 200)
    predicted = true + rng.normal(1, 1, 200)
    found = score_values(true, predicted)
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(true, predicted))
    assert found["rmse"] ** 2 == pytest.approx(reference.mean_squared_error(true, predicted))
    assert found["r2"] == pytest.approx(reference.r2_score(true, predicted))


def test_a_class_absent_from_the_held_out_rows_does_not_count() -> None:
    true, sure = np.array([0, 0, 2]), np.eye(4)[[0, 0, 2]]
    assert score_classes(true, sure) == {"accuracy": 1, "balanced_accuracy": 1, "log_loss": 0}
    matrix = confusion_matrix(true, np.array([0, 2, 2]), 4)
    assert [entry["class"] for entry in worst_classes(matrix, "abcd")] == ["a", "c"]


def test_a_sure_and_wrong_prediction_costs_much_but_not_infinity() -> None:
    assert score_classes(np.array([1]), np.array([[1.0, 0.0]]))["log_loss"] == pytest.approx(
        36.84, abs=0.01
    )


def test_a_matrix_counts_true_in_rows_and_predicted_in_columns() -> None:
    assert confusion_matrix(np.array([0, 0, 2]), np.array([1, 1, 2]), 3).tolist() == [
        [0, 2, 0],
        [0, 0, 0],
        [0, 0, 1],
    ]


def test_quantiles_are_of_the_absolute_error() -> None:
    found = error_quantiles(np.zeros(101), np.arange(-50.0, 51.0))
    assert found["0.5"] == 25
    assert found["1"] == 50
    assert list(found) == ["0.5", "0.75", "0.9", "0.95", "1"]


def test_a_constant_target_has_no_r2() -> None:
    assert np.isnan(score_values(np.ones(3), np.ones(3))["r2"])


def test_worst_classes_come_worst_first_with_what_they_are_taken_for() -> None:
    matrix = np.array([[8, 2, 0], [1, 1, 4], [0, 0, 5]])
    found = worst_classes(matrix, ["a", "b", "c"], most=2)
    assert [(entry["class"], entry["taken_for"]) for entry in found] == [("b", "c"), ("a", "b")]
    assert found[0]["recall"] == pytest.approx(1 / 6)


@pytest.mark.parametrize("score", [score_values, error_quantiles, score_classes])
def test_unequal_or_no_rows_are_refused(score) -> None:
    with pytest.raises(DataError, match="equal numbers"):
        score(np.zeros(2, int), np.zeros((3, 2)))
    with pytest.raises(DataError, match="at least one"):
        score(np.zeros(0, int), np.zeros((0, 2)))
