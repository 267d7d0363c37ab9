"""Scores of a class against the rest, against scikit-learn and SciPy, and how often they cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import calibration
from sklearn import metrics as reference

from chainrule.tabular.class_scores import (
    average_precision,
    brier,
    calibration_error,
    further_scores,
    lift,
    reliability,
    roc_auc,
)

Drawn = tuple[np.ndarray, np.ndarray]


def two_classes(rows: int = 300, digits: int = 2, seed: int = 0) -> Drawn:
    """Return whether rows are positive, and scores with ties that tell a little about it."""
    rng = np.random.default_rng(seed)
    yes = rng.random(rows) < 0.3
    return yes, (rng.normal(size=rows) + yes).round(digits)


def several(rows: int = 400, classes: int = 4, seed: int = 3) -> Drawn:
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, rows)
    scores = rng.random((rows, classes)) + 0.5 * np.eye(classes)[true]
    return true, scores / scores.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("digits", [0, 1, 9])
def test_ranking_scores_agree_with_scikit_learn_with_ties_too(digits: int) -> None:
    yes, score = two_classes(digits=digits)
    assert roc_auc(yes, score)[0] == pytest.approx(reference.roc_auc_score(yes, score))
    expected = reference.average_precision_score(yes, score)
    assert average_precision(yes, score) == pytest.approx(expected)


def test_the_variance_of_the_area_is_that_of_delong() -> None:
    yes, score = two_classes(rows=60, digits=1)
    area, influence = roc_auc(yes, score)
    up, down = score[yes], score[~yes]
    order = (up[:, None] > down) + 0.5 * (up[:, None] == down)
    # DeLong's own form: the variances of the placements, each divided by the number of its rows.
    expected = order.mean(1).var() / len(up) + order.mean(0).var() / len(down)
    assert area == pytest.approx(order.mean())
    assert (influence**2).mean() / len(yes) == pytest.approx(expected)


def test_several_classes_are_the_mean_over_classes() -> None:
    true, p = several()
    said = p.argmax(axis=1)
    found = further_scores(true, p, said, list("abcd")).values
    hot = np.eye(4)[true]
    assert found["auc"] == pytest.approx(reference.roc_auc_score(true, p, multi_class="ovr"))
    assert found["average_precision"] == pytest.approx(reference.average_precision_score(hot, p))
    for name in ("precision", "recall", "f1"):
        function = getattr(reference, f"{name}_score")
        assert found[name] == pytest.approx(function(true, said, average="macro"))
    assert "lift" not in found


def test_two_classes_are_scored_by_the_second() -> None:
    yes, score = two_classes()
    p = np.stack([1 - 1 / (1 + np.exp(-score)), 1 / (1 + np.exp(-score))], axis=1)
    true, said = yes.astype(int), (p[:, 1] > 0.6).astype(int)
    scored = further_scores(true, p, said, ["no", "yes"])
    for name in ("precision", "recall", "f1"):
        expected = getattr(reference, f"{name}_score")(true, said)
        assert scored.values[name] == pytest.approx(expected)
        assert scored.by_class[1][name]["value"] == pytest.approx(expected)
    assert scored.values["brier"] == pytest.approx(reference.brier_score_loss(true, p[:, 1]))
    assert scored.by_class[0]["recall"]["value"] == pytest.approx(
        reference.recall_score(true, said, pos_label=0)
    )


def test_the_brier_score_of_several_classes_is_the_squared_distance() -> None:
    true, p = several()
    expected = reference.brier_score_loss(true, p, labels=range(4))
    assert brier(true, p).mean() == pytest.approx(expected)


def test_the_reliability_is_that_of_scikit_learn() -> None:
    true, p = several()
    right, sure = p.argmax(axis=1) == true, p.max(axis=1)
    expected = calibration.calibration_curve(right, sure, n_bins=10)
    bins = reliability(true, p, bins=10)
    assert [one["accuracy"] for one in bins] == pytest.approx(expected[0].tolist())
    assert [one["confidence"] for one in bins] == pytest.approx(expected[1].tolist())
    assert sum(one["rows"] for one in bins) == len(true)
    gaps = [one["rows"] * abs(one["accuracy"] - one["confidence"]) for one in bins]
    assert calibration_error(true, p, 10).mean() == pytest.approx(sum(gaps) / len(true))


def test_lift_is_the_share_of_positives_at_the_top_and_ties_share_it() -> None:
    yes, score = two_classes(rows=200, digits=9)
    best = np.argsort(-score)[:20]
    assert lift(yes, score)[0] == pytest.approx(yes[best].mean() / yes.mean())
    assert lift(yes, np.zeros(200))[0] == pytest.approx(1)
    value, ends = lift(yes, score)
    assert ends is not None
    assert ends[0] < value < ends[1]


def test_what_one_class_alone_does_not_define_is_not_made_up() -> None:
    scored = further_scores(np.zeros(3, int), np.eye(2)[[0, 0, 1]], np.array([0, 0, 1]), "ab")
    assert math.isnan(scored.values["auc"])
    assert scored.intervals["auc"] is None
    assert math.isnan(scored.values["lift"])
    assert [one["class"] for one in scored.by_class] == ["a"]  # no row has the other
    assert scored.by_class[0]["auc"] == {"value": None, "interval": None}


def test_the_calibration_error_is_never_below_0() -> None:
    for rows in range(10, 30):
        true = (np.arange(rows) < rows // 3).astype(int)
        guess = np.broadcast_to(np.bincount(true) / rows, (rows, 2))
        scored = further_scores(true, guess, guess.argmax(axis=1), ["no", "yes"])
        assert 0 <= scored.values["calibration_error"] < 1e-15


def test_perfect_scores_are_not_certain() -> None:
    true = np.repeat([0, 1], [20, 10])
    scored = further_scores(true, np.eye(2)[true], true, ["no", "yes"])
    for name in ("auc", "average_precision", "precision", "recall", "f1"):
        assert scored.values[name] == 1
        low, high = scored.intervals[name] or (0, 0)
        assert 0.5 < low < 0.9
        assert high == pytest.approx(1)


@pytest.mark.parametrize("name", ["auc", "average_precision", "precision", "recall", "f1", "brier"])
def test_intervals_cover_the_score_of_all_rows(name: str) -> None:
    rng = np.random.default_rng(1)
    z = rng.normal(size=200_000) - 1
    p = stats.norm.cdf(1.2 * z)
    true = (rng.random(len(p)) < stats.norm.cdf(z)).astype(int)
    both = np.stack([1 - p, p], axis=1)
    said = (p > 0.4).astype(int)
    target = further_scores(true, both, said, ["no", "yes"]).values[name]
    covered = []
    for _ in range(300):
        some = rng.integers(0, len(p), 150)
        scored = further_scores(true[some], both[some], said[some], ["no", "yes"])
        low, high = scored.intervals[name] or (0, 1)
        covered.append(low <= target <= high)
    assert 0.90 <= np.mean(covered) <= 0.995  # 0.95, with 300 samples
