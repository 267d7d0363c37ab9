"""Every kind of target trains under its loss; what would broadcast or mislead is an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss

import chainrule as cr
from chainrule import nn, optim

RNG = np.random.default_rng(1)
X = RNG.normal(size=(90, 4)).astype("f4")
CLASSES = X[:, :3].argmax(axis=1)
LABELS = (X[:, :2] > 0).astype(int)  # [dog, cat]: none, one or both
VALUES = X @ np.array([[1.0, 0.0], [2.0, -1.0], [0.0, 1.0], [-1.0, 0.5]])


def fit(y: Any, outputs: int, loss: Any, rows: Any = X, **options: Any) -> cr.Run:
    model = nn.Sequential([nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, outputs)])
    options = {"epochs": 40, "batch_size": 16, "optimizer": optim.Adam(0.01)} | options
    return cr.fit(model, (rows, y), loss=loss, progress=False, **options)


@pytest.mark.parametrize(
    "y",
    [
        CLASSES, CLASSES.astype(np.uint8), CLASSES.astype(float), CLASSES.tolist(),
        np.eye(3)[CLASSES], np.eye(3, dtype=int)[CLASSES],
    ],
    ids=["int64", "uint8", "integral floats", "list", "one-hot", "one-hot integers"],
)  # fmt: skip
def test_classes_in_every_form_train_alike(y: Any) -> None:
    run = fit(y, 3, "cross_entropy", epochs=60)
    reference = fit(CLASSES, 3, "cross_entropy", epochs=60)
    assert run.history[-1]["loss"] == pytest.approx(reference.history[-1]["loss"], rel=1e-3)
    assert run.predict(X).shape == (90,)
    assert (run.predict(X) == CLASSES).mean() > 0.9
    p = run.predict_proba(X)
    assert p.shape == (90, 3)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    scores = run.evaluate((X, y))
    assert scores["loss"] == pytest.approx(
        log_loss(CLASSES, p / p.sum(1, keepdims=True, dtype=float)), rel=1e-4
    )
    assert scores["accuracy"] == (run.predict(X) == CLASSES).mean()


def test_probabilities_are_targets_too() -> None:
    soft = np.full((90, 3), 0.1) + 0.7 * np.eye(3)[CLASSES]
    run = fit(soft, 3, "cross_entropy", epochs=60)
    assert 0.5 < run.predict_proba(X).max(axis=1).mean() < 0.9


def test_labels_are_independent_questions() -> None:
    run = fit(LABELS, 2, "binary_cross_entropy", epochs=80)
    rows = {tuple(row) for row in LABELS.tolist()}
    assert rows == {(0, 0), (0, 1), (1, 0), (1, 1)}
    predicted = run.predict(X)
    assert predicted.dtype == np.int64
    assert {tuple(row) for row in predicted.tolist()} == rows
    assert (predicted == LABELS).mean() > 0.95
    assert run.evaluate((X, LABELS))["label_accuracy"] == pytest.approx(
        (predicted == LABELS).mean()
    )
    p = run.predict_proba(X)
    expected = -np.log(np.where(LABELS, p, 1 - p.astype(float))).mean()
    assert run.evaluate((X, LABELS))["loss"] == pytest.approx(expected, rel=1e-4)


def test_accuracy_of_labels_asks_for_the_whole_row() -> None:
    """[1, 1] is not [1, 0], though both are largest in the first place."""
    run = fit(LABELS, 2, "binary_cross_entropy", epochs=3, metrics=["accuracy", "label_accuracy"])
    whole = (run.predict(X) == LABELS).all(axis=1).mean()
    scores = run.evaluate((X, LABELS))
    assert 0 < whole < scores["label_accuracy"] < 1
    assert scores["accuracy"] == pytest.approx(whole)


@pytest.mark.parametrize("y", [LABELS[:, 0], LABELS[:, :1], LABELS[:, 0].astype(bool)])
def test_a_single_yes_or_no_is_shaped_like_its_target(y: Any) -> None:
    run = fit(y, 1, "binary_cross_entropy", metrics=["accuracy"])
    assert run.predict(X).shape == np.shape(y)
    assert run.predict_proba(X).shape == np.shape(y)
    assert run.evaluate((X, y))["accuracy"] == pytest.approx((run.predict(X) == y).mean())


@pytest.mark.parametrize("y", [VALUES[:, 0], VALUES[:, :1], VALUES, VALUES.astype(int)])
def test_values_are_predicted_in_the_shape_they_came(y: Any) -> None:
    run = fit(y, 1 if np.ndim(y) == 1 else y.shape[1], "mse", epochs=150, metrics=["r2", "mae"])
    predicted = run.predict(X)
    assert predicted.shape == y.shape
    assert predicted.dtype == np.float32
    scores = run.evaluate((X, y))
    assert scores["loss"] == pytest.approx(np.mean((predicted - y) ** 2), rel=1e-4)
    assert scores["mae"] == pytest.approx(np.mean(abs(predicted - y)), rel=1e-4)
    assert scores["r2"] > 0.8
    if np.ndim(y) == 1:
        assert scores["r2"] == pytest.approx(1 - np.mean((predicted - y) ** 2) / np.var(y), 1e-4)
    with pytest.raises(cr.OptionError, match="trains no probabilities"):
        run.predict_proba(X)


@pytest.mark.parametrize("loss", ["multiclass_hinge", "squared_multiclass_hinge", "kl_divergence"])
@pytest.mark.parametrize("y", [CLASSES, np.eye(3)[CLASSES]], ids=["numbers", "one-hot"])
def test_other_losses_of_classes_decide_as_cross_entropy_does(loss: str, y: Any) -> None:
    run = fit(y, 3, loss, epochs=60)
    assert (run.predict(X) == CLASSES).mean() > 0.9
    assert run.evaluate((X, y))["accuracy"] == (run.predict(X) == CLASSES).mean()
    if loss == "kl_divergence":
        np.testing.assert_allclose(run.predict_proba(X).sum(axis=1), 1, rtol=1e-5)
    else:
        with pytest.raises(cr.OptionError, match=f"{loss}' trains no probabilities"):
            run.predict_proba(X)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
@pytest.mark.parametrize("y", [LABELS, 2 * LABELS - 1], ids=["0 and 1", "signs"])
def test_hinge_losses_take_labels_and_signs(loss: str, y: Any) -> None:
    run = fit(y, 2, loss, epochs=80)
    assert (run.predict(X) == LABELS).mean() > 0.95
    assert run.evaluate((X, y))["label_accuracy"] == pytest.approx(
        (run.predict(X) == LABELS).mean()
    )
    with pytest.raises(cr.OptionError, match="trains no probabilities"):
        run.predict_proba(X)


@pytest.mark.parametrize("loss", ["mae", "huber", nn.Huber(0.5)], ids=str)
def test_robust_losses_look_past_outliers(loss: Any) -> None:
    y = VALUES[:, 0].copy()
    y[:9] += 1000
    run = fit(y, 1, loss, epochs=150)
    assert np.median(abs(run.predict(X) - VALUES[:, 0])) < 0.3


def test_counts_are_predicted_as_expected_counts() -> None:
    rate = np.exp(X[:, 0] + 1)
    y = RNG.poisson(rate)
    run = fit(y, 1, "poisson", epochs=150, metrics=["mae", "r2"])
    predicted = run.predict(X)
    assert (predicted > 0).all()
    np.testing.assert_allclose(predicted, np.exp(run.outputs(X)[:, 0]), rtol=1e-6)
    scores = run.evaluate((X, y))
    assert scores["mae"] == pytest.approx(abs(predicted - y).mean(), rel=1e-4)
    assert scores["r2"] == pytest.approx(1 - ((predicted - y) ** 2).mean() / y.var(), rel=1e-3)
    assert scores["r2"] > 0.5


def test_smoothed_labels_make_a_network_less_sure() -> None:
    sure, less = (
        fit(CLASSES, 3, loss, epochs=80) for loss in ("cross_entropy", nn.CrossEntropy(0.3))
    )
    assert (
        less.predict_proba(X).max(axis=1).mean() < 0.85 < sure.predict_proba(X).max(axis=1).mean()
    )
    assert (less.predict(X) == CLASSES).mean() > 0.9


@pytest.mark.parametrize(
    ("y", "outputs", "loss", "error", "message"),
    [
        (LABELS * 2, 2, "hinge", cr.DataError, r"hinge needs targets of 0 and 1, or of -1 and 1"),
        (LABELS - 1, 2, "hinge", cr.DataError, r"of -1 and 1, but y\[\d+\]"),
        (LABELS * 0.5, 2, "squared_hinge", cr.DataError, "squared_hinge needs targets of 0 and 1"),
        (VALUES, 2, "poisson", cr.DataError, r"poisson needs targets of 0 or more, but y\[\d+\]"),
        (VALUES, 1, "huber", cr.ShapeError, r"\(90, 2\).*\(n, 1\).*broadcast.*with 2 units"),
        (CLASSES, 1, "multiclass_hinge", cr.ShapeError, r"^multiclass_hinge needs one.*'hinge'"),
        (np.full((90, 3), 1 / 3), 3, "multiclass_hinge", cr.DataError, r"y\[0\].*leaves it open"),
        (CLASSES[:, None], 3, "kl_divergence", cr.ShapeError, r"kl_divergence with 3 outputs"),
        (CLASSES, 3, nn.Huber, cr.OptionError, r"loss Huber is a class; call it: Huber\(\)"),
        (VALUES, 1, "mse", cr.ShapeError, r"y has shape \(90, 2\).*output is \(n, 1\)"),
        (VALUES[:, :1], 2, "mse", cr.ShapeError, r"\(90, 1\).*\(n, 2\).*broadcast"),
        (VALUES[:, 0], 2, "mse", cr.ShapeError, r"\(90,\).*\(n, 2\).*the model with 1 unit"),
        (VALUES[:, :, None], 2, "mse", cr.ShapeError, r"Give y the shape \(rows, 2\)\.$"),
        (LABELS, 1, "binary_cross_entropy", cr.ShapeError, r"\(90, 2\).*\(n, 1\)"),
        (LABELS[:, 0], 2, "binary_cross_entropy", cr.ShapeError, r"loss='cross_entropy'\.$"),
        (LABELS[:, 0], 2, "hinge", cr.ShapeError, r"with 1 unit.*loss='multiclass_hinge'\.$"),
        (CLASSES[:, None], 3, "cross_entropy", cr.ShapeError, r"\(90, 1\).*y.ravel\(\)"),
        (LABELS, 3, "cross_entropy", cr.ShapeError, r"\(90, 2\).*3 outputs"),
        (CLASSES, 1, "cross_entropy", cr.ShapeError, r"one output for each class.*\(n, 1\)"),
        (LABELS, 2, "cross_entropy", cr.DataError, r"not a one-hot row.*binary_cross_entropy"),
        (CLASSES, 2, "cross_entropy", cr.DataError, r"y\[\d+\] = 2 is out of range for 2 classes"),
        (CLASSES - 1, 3, "cross_entropy", cr.DataError, r"y\[\d+\] = -1 is negative"),
        (CLASSES + 0.5, 3, "cross_entropy", cr.DataError, "is not a whole number"),
        (LABELS * 2, 2, "binary_cross_entropy", cr.DataError, r"between 0 and 1, but y\[\d+\]"),
        (-LABELS, 2, "binary_cross_entropy", cr.DataError, "between 0 and 1"),
        (np.array(["a", "b", "c"])[CLASSES], 3, "cross_entropy", cr.DataError, "numbers"),
        (CLASSES.astype(object), 3, "cross_entropy", cr.DataError, "numbers"),
        (VALUES + 1j, 2, "mse", cr.DataError, "complex"),
        (CLASSES[:-1], 3, "cross_entropy", cr.DataError, r"X has 90 rows and y has 89"),
        (5, 3, "cross_entropy", cr.DataError, "y"),
        ([[1.0], [1.0, 2.0]], 3, "mse", cr.DataError, "y"),
    ],
)  # fmt: skip
def test_targets_that_do_not_fit_are_named(
    y: Any, outputs: int, loss: Any, error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        fit(y, outputs, loss)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_found_by_row_and_column(bad: float) -> None:
    features = X.copy()
    features[17, 2] = bad
    with pytest.raises(cr.DataError, match=r"X\[17, 2\] \(row 17, column 2\) is"):
        fit(CLASSES, 3, "cross_entropy", features)
    values = VALUES.copy()
    values[5, 1] = bad
    with pytest.raises(cr.DataError, match=r"y\[5, 1\] \(row 5, column 1\) is"):
        fit(values, 2, "mse")
    classes = CLASSES.astype(float)
    classes[7] = bad
    with pytest.raises(cr.DataError, match=r"y\[7\] \(row 7\) is"):
        fit(classes, 3, "cross_entropy")
    with pytest.raises(cr.DataError, match=r"X of validation\[17, 2\]"):
        fit(CLASSES, 3, "cross_entropy", validation=(features, CLASSES))


def test_features_that_can_not_be_used_are_named() -> None:
    with pytest.raises(cr.DataError, match="X has no rows"):
        fit(CLASSES[:0], 3, "cross_entropy", X[:0])
    with pytest.raises(cr.DataError, match="X must contain numbers"):
        fit(CLASSES, 3, "cross_entropy", X.astype(str))
    with pytest.raises(cr.DataError, match="unequal length"):
        fit([0, 1], 3, "cross_entropy", [[1.0], [1.0, 2.0]])
    with pytest.raises(cr.ShapeError, match=r"layer 0: .*needs 4 features.*\(n, 3\)"):
        fit(CLASSES, 3, "cross_entropy", X[:, :3])
    with pytest.raises(cr.DataError, match=r"must be a pair \(X, y\), not ndarray"):
        cr.fit(nn.Linear(4, 3), X, loss="mse", progress=False)  # type: ignore[arg-type]
    with pytest.raises(cr.DataError, match=r"validation rows have shape \(3,\), training rows"):
        fit(CLASSES, 3, "cross_entropy", validation=(X[:, :3], CLASSES))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "crossentropy"}, r"unknown loss 'crossentropy'.*Did you mean 'cross_entropy'"),
        ({"optimizer": "adan"}, r"unknown optimizer 'adan'.*Did you mean 'adam'"),
        ({"metrics": ["acuracy"]}, r"unknown metric 'acuracy'.*Did you mean 'accuracy'"),
        ({"metrics": "accuracy"}, r"metrics must be a list"),
        ({"epochs": 0}, "epochs must be a positive integer, not 0"),
        ({"epochs": 1.5}, "epochs must be a positive integer, not 1.5"),
        ({"batch_size": 0}, "batch_size must be a positive integer, not 0"),
        ({"batch_size": True}, "batch_size must be a positive integer, not True"),
        ({"threads": 0}, "threads must be a positive integer, not 0"),
        ({"threads": "2"}, "threads must be a positive integer, not '2'"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 1.5}, "seed must be"),
        ({"seed": None}, "seed must be"),
        ({"early_stopping": 0}, "early_stopping must be a positive integer, not 0"),
        ({"early_stopping": True}, "early_stopping must be a positive integer, not True"),
        ({"early_stopping": "5"}, "early_stopping must be a positive integer, not '5'"),
        ({"early_stopping": 5.0}, "early_stopping must be a positive integer, not 5.0"),
        ({"regularizer": "l2"}, "regularizer must be a function such as nn.L2"),
        ({"regularizer": {"*": 0.1}}, "regularizer must be a function such as nn.L2"),
        ({"validation": True}, "between 0 and 1"),
        ({"validation": 0.0}, "between 0 and 1"),
        ({"validation": 1.5}, "between 0 and 1"),
    ],
)
def test_options_out_of_range_are_refused_before_training(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(cr.OptionError, match=message):
        fit(CLASSES, 3, **({"loss": "cross_entropy"} | options))


def test_prediction_refuses_rows_of_another_shape() -> None:
    run = fit(CLASSES, 3, "cross_entropy", epochs=1)
    with pytest.raises(cr.DataError, match=r"shape \(3,\).*trained on rows of shape \(4,\)"):
        run.predict(X[:, :3])
    with pytest.raises(cr.DataError, match="X has 90 rows and y has 3"):
        run.evaluate((X, [0, 1, 2]))
    with pytest.raises(cr.DataError, match="evaluate needs a pair"):
        run.evaluate(X)  # type: ignore[arg-type]


def test_a_loss_of_ones_own_per_row_and_as_one_number() -> None:
    def absolute(output: cr.Tensor, target: cr.Tensor) -> cr.Tensor:
        return cr.abs(output[:, 0] - target)

    def absolute_at_once(output: cr.Tensor, target: cr.Tensor) -> cr.Tensor:
        return cr.abs(output[:, 0] - target).mean()

    rows, once = (fit(VALUES[:, 0], 1, loss, epochs=5) for loss in (absolute, absolute_at_once))
    for one, other in zip(rows.history, once.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
    assert rows.evaluate((X, VALUES[:, 0]))["loss"] == pytest.approx(
        np.mean(abs(rows.outputs(X)[:, 0] - VALUES[:, 0])), rel=1e-5
    )

    def wrong(output: cr.Tensor, target: cr.Tensor) -> cr.Tensor:
        return output - target[:, None]

    with pytest.raises(cr.ShapeError, match=r"'wrong' returned shape \(n, 1\)"):
        fit(VALUES[:, 0], 1, wrong)


def test_chainrules_own_losses_as_functions_are_the_named_ones() -> None:
    assert fit(CLASSES, 3, nn.cross_entropy, epochs=1).objective.name == "cross_entropy"


def test_a_metric_of_ones_own_is_averaged_over_rows() -> None:
    def worst(output: cr.Tensor, target: cr.Tensor) -> cr.Tensor:
        return cr.max(cr.abs(output - target), 1)

    run = fit(VALUES, 2, "mse", epochs=2, metrics=[worst, "rmse"])
    scores = run.evaluate((X, VALUES))
    error = abs(run.predict(X) - VALUES)
    assert scores["worst"] == pytest.approx(error.max(axis=1).mean(), rel=1e-5)
    assert scores["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
    assert {"worst", "rmse"} <= set(run.history[0])


def test_numbers_of_classes_under_a_loss_of_numbers_name_both_cures() -> None:
    X, y = np.zeros((60, 2)), np.arange(60) % 10
    model = nn.Sequential([nn.Linear(2, 10)])
    with pytest.raises(cr.ShapeError, match="0 to 9: if they are classes, keep 10 units and use"):
        cr.fit(model, (X, y), loss="mse", progress=False)
    with pytest.raises(cr.ShapeError, match="End the model with 1 unit"):
        cr.fit(model, (X, y / 7), loss="mse", progress=False)


def test_several_input_arrays_name_how_to_join_them() -> None:
    A, B, y = np.zeros((60, 2)), np.zeros((60, 3)), np.zeros(60)

    def model(x: cr.Tensor) -> cr.Tensor:
        return x[:, :2].sum(1) + x[:, 2:].sum(1)

    for X in ((A, A), [A, B], {"a": A, "b": B}):
        with pytest.raises(cr.DataError, match=r"join several with np.hstack\(\(A, B\)\)"):
            cr.fit(model, (X, y), loss="mse", progress=False)
    with pytest.raises(cr.DataError, match=r"as X\.T"):
        cr.fit(model, (A.T, y), loss="mse", progress=False)
    with pytest.raises(cr.DataError, match="unequal length"):
        cr.fit(model, ([[1, 2], [3]], y), loss="mse", progress=False)
