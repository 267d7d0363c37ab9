"""Scaling, principal components and whitening: as scikit-learn has them, and undone exactly."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from sklearn import decomposition, preprocessing

from chainrule import data
from chainrule.core.errors import DataError, OptionError
from chainrule.data import PCA, Center, MinMax, Projection, Robust, Standardize, Unscaled, Whiten
from chainrule.data.fitting import CHUNK
from chainrule.data.preprocess import NAMES, plan, restore_fitted

RNG = np.random.default_rng(5)
MIXED = RNG.normal(size=(300, 5)) @ RNG.normal(size=(5, 5)) * [1, 9, 0.1, 2, 40] + [
    3,
    -7,
    0,
    100,
    1,
]
FRESH = RNG.normal(size=(20, 5)) * [1, 9, 0.1, 2, 40]
SPECS: list[Any] = [
    Unscaled(), Center(), Standardize(), MinMax(), MinMax(-1, 2), Robust(), Robust(0.1, 0.7),
    PCA(), PCA(2), PCA(variance=0.9), Whiten(), Whiten("zca"), Whiten("zca", 3),
    Whiten(epsilon=0.1), Whiten("zca", epsilon=0.5),
]  # fmt: skip
EXACT = [spec for spec in SPECS if spec not in (PCA(2), PCA(variance=0.9), Whiten("zca", 3))]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Center(), preprocessing.StandardScaler(with_std=False)),
        (Standardize(), preprocessing.StandardScaler()),
        (MinMax(), preprocessing.MinMaxScaler()),
        (MinMax(-1, 2), preprocessing.MinMaxScaler((-1, 2))),
        (Robust(), preprocessing.RobustScaler()),
        (Robust(0.1, 0.7), preprocessing.RobustScaler(quantile_range=(10, 70))),
        (PCA(), decomposition.PCA(svd_solver="full")),
        (PCA(3), decomposition.PCA(3, svd_solver="full")),
        (PCA(variance=0.9), decomposition.PCA(0.9, svd_solver="full")),
        (Whiten(), decomposition.PCA(whiten=True, svd_solver="full")),
        (Whiten(components=2), decomposition.PCA(2, whiten=True, svd_solver="full")),
    ],
)
def test_results_are_those_of_scikit_learn(ours: Any, theirs: Any) -> None:
    fitted, oracle = ours.fit(MIXED), theirs.fit(MIXED)
    for rows in (MIXED, FRESH):
        found, expected = fitted.transform(rows), oracle.transform(rows)
        if isinstance(fitted, Projection):  # an axis may point either way
            assert (fitted.axes.max(axis=0) >= -fitted.axes.min(axis=0)).all()
            expected = expected * np.sign((fitted.axes * oracle.components_.T).sum(axis=0))
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    if isinstance(fitted, Projection):
        kept = slice(fitted.components)
        np.testing.assert_allclose(fitted.explained_variance, oracle.explained_variance_[kept])
        np.testing.assert_allclose(
            fitted.explained_variance_ratio, oracle.explained_variance_ratio_[kept]
        )
        expected = oracle.inverse_transform(oracle.transform(FRESH))
    else:
        expected = FRESH
    np.testing.assert_allclose(fitted.inverse(fitted.transform(FRESH)), expected, atol=1e-9)


def test_zca_is_its_equation() -> None:
    away = MIXED - MIXED.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(MIXED.T))
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    fitted = Whiten("zca").fit(MIXED)
    np.testing.assert_allclose(fitted.transform(MIXED), away @ root, atol=1e-9)
    ridge = vectors @ np.diag((values + 0.5) ** -0.5) @ vectors.T
    smoothed = Whiten("zca", epsilon=0.5).fit(MIXED).transform(MIXED)
    np.testing.assert_allclose(smoothed, away @ ridge, atol=1e-9)


@pytest.mark.parametrize("spec", EXACT, ids=repr)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_inverse_undoes_transform(spec: Any, dtype: Any) -> None:
    rows = MIXED.astype(dtype)
    fitted = spec.fit(rows)
    Z = fitted.transform(FRESH.astype(dtype))
    assert Z.dtype == dtype
    assert len(fitted.feature_names(tuple("abcde"))) == Z.shape[1]
    tolerance = 1e-8 if dtype == np.float64 else 1e-3
    np.testing.assert_allclose(fitted.inverse(Z), FRESH, atol=tolerance)


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_files_hold_every_bit(spec: Any) -> None:
    fitted = spec.fit(MIXED)
    again = restore_fitted(json.loads(json.dumps(fitted.to_json())))
    assert again == fitted
    assert spec == Unscaled() or again != spec.fit(FRESH)
    np.testing.assert_array_equal(again.transform(FRESH), fitted.transform(FRESH))
    with pytest.raises(DataError, match="damaged"):
        restore_fitted({"type": "scaling"})


@pytest.mark.parametrize("spec", SPECS, ids=repr)
@pytest.mark.parametrize(("far", "dtype"), [(0.0, np.float32), (1e6, np.float64)])
def test_blocks_give_the_bits_of_the_whole(spec: Any, far: float, dtype: Any) -> None:
    rng = np.random.default_rng(7)
    rows = (rng.normal(size=(2 * CHUNK + 77, 3)) * [1, -5, 1e-3] + far).astype(dtype)
    rows[::7, 1] = 0
    cuts = [0, 1, 5, 5, 900, CHUNK + 3, CHUNK + 9, len(rows)]
    blocks = [rows[a:b] for a, b in pairwise(cuts)]
    assert spec.fit_blocks(blocks) == spec.fit(rows)


def test_chunks_of_other_sizes_and_means_add_up() -> None:
    rng = np.random.default_rng(7)
    rows = np.cumsum(rng.normal(size=(2 * CHUNK + 900, 3)), axis=0)  # a walk: no chunk is like all
    np.testing.assert_allclose(Center().fit(rows).shift, rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(Standardize().fit(rows).scale, rows.std(axis=0), rtol=1e-12)
    found = PCA().fit(rows)
    covariance = found.axes * found.explained_variance @ found.axes.T
    np.testing.assert_allclose(covariance, np.cov(rows.T), rtol=1e-10)


def test_sums_do_not_cancel() -> None:
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(10_000, 2)) + 1e9
    fitted = Standardize().fit_blocks(np.array_split(rows, 9))
    np.testing.assert_allclose(fitted.scale, rows.std(axis=0), rtol=1e-6)
    variance = np.sort(np.linalg.eigvalsh(np.cov(rows.T)))[::-1]
    np.testing.assert_allclose(PCA().fit(rows).explained_variance, variance, rtol=1e-6)


@pytest.mark.parametrize("kind", ["pca", "zca"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("units", [[1, 1, 1, 1], [1e5, 1, 1e-4, 30]])
def test_whitened_rows_have_the_identity_as_covariance(kind: Any, dtype: Any, units: Any) -> None:
    rng = np.random.default_rng(7)
    rows = (rng.normal(size=(400, 4)) @ rng.normal(size=(4, 4)) * units + 5).astype(dtype)
    Z = Whiten(kind).fit(rows).transform(rows)
    assert Z.dtype == dtype
    np.testing.assert_allclose(np.cov(Z.T.astype(float)), np.eye(4), atol=1e-5)
    np.testing.assert_allclose(Z.mean(axis=0, dtype=float), 0, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("few", [False, True])
def test_directions_without_variance_are_dropped_or_left_at_zero(dtype: Any, few: bool) -> None:
    rng = np.random.default_rng(7)
    units = [1, 1e4, 1e-3] if dtype == np.float64 else [1, 1e2, 1e-2]
    base = rng.normal(size=(4 if few else 500, 3)) * units
    rows = np.c_[base, base @ [1, 2, 3], np.full(len(base), 0.1), 7 * base[:, 0]].astype(dtype)
    flat = Whiten().fit(rows)
    assert flat.components == 3
    Z = flat.transform(rows).astype(float)
    np.testing.assert_allclose(np.cov(Z.T), np.eye(3), atol=1e-5)
    np.testing.assert_allclose(flat.inverse(Z), rows, rtol=1e-3, atol=1e-5)
    zca = Whiten("zca").fit(rows)
    Z = zca.transform(rows).astype(float)
    assert Z.shape == rows.shape
    values, vectors = np.linalg.eigh(np.cov(Z.T))
    np.testing.assert_allclose(values, [0, 0, 0, 1, 1, 1], atol=1e-5)
    np.testing.assert_allclose(Z @ vectors[:, :3], 0, atol=1e-4)
    np.testing.assert_allclose(zca.inverse(Z), rows, rtol=1e-3, atol=1e-5)


def test_a_dropped_direction_does_not_spoil_those_that_are_kept() -> None:
    """Two large features differ by a small one, and by something smaller still."""
    rng = np.random.default_rng(7)
    large, small, least = rng.normal(size=(3, 2000)) * [[1e5], [1], [0.3]]
    rows = np.c_[large, large + small + least, small]
    fitted = Whiten().fit(rows)
    assert fitted.components == 2
    np.testing.assert_allclose(np.cov(fitted.transform(rows).T), np.eye(2), atol=1e-5)


def test_constant_columns_and_one_row_stay_finite() -> None:
    rows = np.array([[0.1, 1.0], [0.1, 2.0], [0.1, 3.0]])
    for spec in (Center(), Standardize(), Robust(), MinMax()):
        assert spec.fit(rows).scale[0] == 1
        assert np.isfinite(spec.fit(rows[:1]).transform([[5.0, 6.0]])).all()
    np.testing.assert_array_equal(MinMax(-3, 4).fit(rows).transform(rows)[:, 0], [-3, -3, -3])
    for spec in (PCA(), Whiten()):
        assert spec.fit(rows).components == 1
        with pytest.raises(DataError, match="two rows or more"):
            spec.fit(rows[:1])
        with pytest.raises(DataError, match="no feature varies in the 3 training rows"):
            spec.fit(rows[:, :1])
    assert Standardize().fit([[1e15], [1e15 + 2]]).scale[0] == 1  # a small spread is a spread
    assert Standardize().fit([[1e15], [1e15 + 4]]).scale[0] == 2


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_what_is_no_number_is_named(spec: Any) -> None:
    rows = MIXED.copy()
    rows[17, 2] = np.nan
    with pytest.raises(DataError, match=r"X\[17, 2\] \(row 17, column 2\) is NaN"):
        spec.fit(rows)
    with pytest.raises(DataError, match=r"block 1\[7, 2\] \(row 7, column 2\) is NaN"):
        spec.fit_blocks([rows[:10], rows[10:]])
    with pytest.raises(DataError, match="must contain numbers"):
        spec.fit([["a", "b"]])
    with pytest.raises(DataError, match=r"shape \(rows, features\); X has shape \(2,\)"):
        spec.fit([1.0, 2.0])
    with pytest.raises(DataError, match=r"X has shape \(0, 3\)"):
        spec.fit(np.empty((0, 3)))
    with pytest.raises(DataError, match="block 1 has 2 features; earlier blocks have 5"):
        spec.fit_blocks([MIXED, MIXED[:, :2]])
    with pytest.raises(DataError, match="no blocks"):
        spec.fit_blocks([])
    with pytest.raises(DataError, match="fitted on 5 features; got shape"):
        spec.fit(MIXED).transform(MIXED[:, :4])
    with pytest.raises(DataError, match=r"inverse got shape \(5,\)"):
        spec.fit(MIXED).inverse(MIXED[0])


def test_what_can_not_be_squared_or_read_again_is_named() -> None:
    with pytest.raises(DataError, match="Standardize: feature 1 goes from -1e"):
        Standardize().fit([[1.0, -1e300], [2.0, 1e300]])
    with pytest.raises(DataError, match="Robust reads the blocks more than once"):
        Robust().fit_blocks(iter([MIXED]))
    with pytest.raises(DataError, match=r"PCA\(components=4\): .* vary in 3 directions only"):
        PCA(4).fit(MIXED[:4])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PCA(0), r"PCA: components must be a whole number of 1 or more, not 0"),
        (lambda: PCA(0.9), "components must be .* use variance=0.95"),  # type: ignore[arg-type]
        (lambda: PCA(True), "components must be"),
        (lambda: PCA(variance=0.0), "PCA: variance must be a share, above 0 and at most 1"),
        (lambda: PCA(variance=1.5), "variance must be a share"),
        (lambda: PCA(variance=float("nan")), "variance must be a share"),
        (lambda: PCA(3, 0.5), "components or variance, not both"),
        (lambda: Whiten("zac"), "Whiten: kind 'zac' is unknown. Did you mean 'zca'"),  # type: ignore[arg-type]
        (lambda: Whiten(epsilon=-1), "epsilon must be a finite number of 0 or more"),
        (lambda: Whiten(epsilon=float("inf")), "epsilon must be a finite number"),
        (lambda: Whiten(components=-1), "Whiten: components must be"),
        (lambda: MinMax(1, 1), "MinMax: low must be less than high"),
        (lambda: MinMax(0, float("inf")), "MinMax: high must be a finite number"),
        (lambda: Robust(0.8, 0.2), "Robust: low and high must be shares with 0 <= low < high <= 1"),
        (lambda: Robust(25, 75), "must be shares"),
        (lambda: data.preprocessing("whitten"), "'whitten' is unknown. Did you mean 'whiten'"),
        (lambda: data.preprocessing("pca", variants=1), "no option 'variants'. Did you mean 'var"),
        (lambda: data.preprocessing("center", low=1), "no option 'low'. It has none"),
        (lambda: data.preprocessing("pca", components=0), "components must be"),
        (lambda: plan(["pca", "center"]), "at most one scaling"),
        (lambda: plan(["robust", "center"]), "at most one scaling"),
        (lambda: plan(3), "must be a name, a specification"),  # type: ignore[arg-type]
        (lambda: plan([PCA]), "is not a preprocessing. Did you mean 'pca'"),  # type: ignore[list-item]
    ],
)
def test_wrong_options_are_refused_by_name(make: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make()


def test_every_name_is_a_specification() -> None:
    assert [data.preprocessing(name).fit(MIXED).features for name in NAMES] == [5] * len(NAMES)
    assert data.preprocessing("zca", epsilon=0.1) == Whiten("zca", epsilon=0.1)
    assert data.preprocessing("minmax", low=-1) == MinMax(-1)
    assert plan(None) == plan([])
    np.testing.assert_array_equal(Unscaled().fit(MIXED).transform(FRESH), FRESH)
