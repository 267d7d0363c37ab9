"""What the estimators do beyond scikit-learn's own, and how they fit into its tools."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline

import chainrule as cr
from chainrule import nn, optim
from chainrule.core.errors import DataError, OptionError
from chainrule.nn.layer import parameters
from chainrule.sklearn import (
    PCA,
    Center,
    MLPClassifier,
    MLPRegressor,
    NetworkClassifier,
    NetworkRegressor,
    Standardize,
    Whiten,
)

Array = np.ndarray[Any, Any]
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def iris() -> tuple[Array, Array]:
    X, y = load_iris(return_X_y=True)
    return X, np.array(["setosa", "versicolor", "virginica"])[y]


def two_layers(inputs: int, outputs: int, width: int = 8) -> nn.Sequential:
    return nn.Sequential([nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, outputs)])


# --- scikit-learn's tools ---------------------------------------------------------------------


def test_a_pipeline_is_searched(iris: tuple[Array, Array]) -> None:
    pipeline = Pipeline([("scale", Standardize()), ("net", MLPClassifier(max_iter=60))])
    grid = {
        "net__hidden_layer_sizes": [(8, 4), (16, 8)],
        "net__activation": ["tanh", ["silu", nn.LeakyReLU(0.1)]],
        "net__solver": [optim.Adam(0.02)],
        "net__random_state": [0],
    }
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(*iris)
    assert search.best_score_ > 0.9
    assert set(search.predict(iris[0])) == set(iris[1])


def test_halving_raises_the_epochs(iris: tuple[Array, Array]) -> None:
    search = HalvingGridSearchCV(
        make_pipeline(Standardize(), MLPClassifier((8,), random_state=0)),
        {"mlpclassifier__learning_rate_init": [1e-5, 1e-3, 0.03]},
        resource="mlpclassifier__max_iter", min_resources=10, max_resources=30, cv=3,
        error_score="raise",
    ).fit(*iris)  # fmt: skip
    assert search.best_params_["mlpclassifier__learning_rate_init"] == 0.03
    assert search.n_resources_ == [10, 30]


@pytest.mark.parametrize(
    "estimator",
    [
        MLPClassifier((3, 4), activation=["relu", nn.ELU()], solver=optim.AdamW(1e-3), dropout=0.1),
        NetworkRegressor(two_layers, {"width": 4}, loss=nn.Huber(2.0)),
        Whiten("zca", epsilon=0.1),
    ],
)
def test_a_clone_has_the_same_parameters(estimator: Any) -> None:
    copied = clone(estimator)
    assert repr(copied) == repr(estimator)
    assert copied.get_params().keys() == estimator.get_params().keys()


@pytest.fixture
def routing() -> Iterator[None]:
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
def test_sample_weights_are_routed(iris: tuple[Array, Array]) -> None:
    X, y = iris
    net = MLPClassifier((8,), random_state=0, max_iter=200, learning_rate_init=0.01)
    net.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    search = GridSearchCV(make_pipeline(Standardize(), net), {"mlpclassifier__alpha": [1e-4]}, cv=3)
    search.fit(X, y, sample_weight=np.where(y == "setosa", 1.0, 0.0))
    assert set(search.predict(X)) == {"setosa"}  # the others count for nothing
    assert search.best_score_ == 1


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_keep_their_names(library: str, iris: tuple[Array, Array]) -> None:
    frames = pytest.importorskip(library)
    names = ["sepal length", "sepal width", "petal length", "petal width"]
    X = frames.DataFrame(dict(zip(names, iris[0].T, strict=True)))
    y = frames.Series(iris[1])
    pipeline = make_pipeline(Standardize(), PCA(2)).set_output(transform=library)
    Z = pipeline.fit_transform(X)
    assert isinstance(Z, frames.DataFrame)
    assert list(Z.columns) == ["pca0", "pca1"]
    whole = make_pipeline(pipeline, MLPClassifier((8,), solver="lbfgs", random_state=0)).fit(X, y)
    assert whole.score(X, y) > 0.9
    model = MLPRegressor((4,), solver="lbfgs", random_state=0).fit(X, iris[0][:, 0])
    assert model.feature_names_in_.tolist() == names
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(X.rename(columns={names[0]: "x"}) if library == "pandas" else
                      X.rename({names[0]: "x"}))  # fmt: skip


@pytest.mark.parametrize("transformer", [Center(), Standardize(), Whiten("zca")])
def test_names_of_features_stay(transformer: Any) -> None:
    rows = np.random.default_rng(0).normal(size=(9, 2))
    transformer.fit(rows)
    assert len(transformer.get_feature_names_out()) == 2
    np.testing.assert_allclose(transformer.inverse_transform(transformer.transform(rows)), rows)


@pytest.mark.parametrize("transformer", [Center(), Standardize(), PCA(), Whiten()])
def test_transformers_refuse_sparse_rows(transformer: Any) -> None:
    with pytest.raises(DataError, match=r"X\.toarray\(\)"):
        transformer.fit(scipy.sparse.eye(4, format="csr"))


def test_sparse_rows_too_large_for_memory_are_refused() -> None:
    X = scipy.sparse.csr_matrix((10**6, 10**4))
    with pytest.raises(DataError, match=r"74\.5 GiB.*TruncatedSVD.*partial_fit"):
        MLPClassifier().fit(X, np.arange(10**6) % 2)


# --- networks ---------------------------------------------------------------------------------


def test_layers_are_those_asked_for(iris: tuple[Array, Array]) -> None:
    model = MLPClassifier(
        (8, 4), activation=["prelu", cr.tanh], dropout=[0.2, 0], normalization="batch", max_iter=3
    ).fit(*iris)
    kinds = [getattr(type(layer), "__name__", "") for layer in model.network_.layers]
    assert kinds == [
        "Linear", "BatchNorm", "PReLU", "Dropout", "Linear", "BatchNorm", "function", "Linear",
    ]  # fmt: skip
    assert [c.shape for c in model.coefs_] == [(4, 8), (8, 4), (4, 3)]
    assert model.n_layers_ == 4


def test_no_hidden_layer_is_a_linear_model() -> None:
    X = np.random.default_rng(0).normal(size=(50, 3))
    model = MLPRegressor((), solver="lbfgs", alpha=0, tol=1e-8).fit(X, X @ [1.0, 2.0, 3.0] + 4)
    np.testing.assert_allclose(model.coefs_[0][:, 0], [1, 2, 3], rtol=1e-5)
    np.testing.assert_allclose(model.intercepts_[0], 4, rtol=1e-5)


@pytest.mark.parametrize(
    "solver", ["rmsprop", "lion", optim.chain(optim.ClipNorm(1.0), optim.SGD(0.1))]
)
def test_any_optimizer_trains(solver: Any, iris: tuple[Array, Array]) -> None:
    model = make_pipeline(
        Standardize(), MLPClassifier((8,), solver=solver, learning_rate_init=0.01, random_state=0)
    )
    assert model.fit(*iris).score(*iris) > 0.9


def test_a_schedule_serves_a_solver_by_name(iris: tuple[Array, Array]) -> None:
    model = MLPClassifier(
        (8,), solver="sgd", learning_rate=optim.Cosine(0.1), max_iter=20, batch_size=50,
        n_iter_no_change=np.inf, random_state=0,
    )  # fmt: skip
    model.fit(*iris)
    # The last of 20 epochs of 3 steps.
    assert model.learning_rate_ == pytest.approx(0.05 * (1 + np.cos(np.pi * 59 / 60)))


def test_a_plateau_lowers_the_rate(iris: tuple[Array, Array]) -> None:
    plan = optim.ReduceOnPlateau(0.1, patience=1, min_delta=0.9)
    model = MLPClassifier((8,), learning_rate=plan, max_iter=20, random_state=0).fit(*iris)
    assert model.learning_rate_ < 0.01


def test_adaptive_rates_are_divided_until_training_ends() -> None:
    model = MLPClassifier(tol=0.5, max_iter=3000, solver="sgd", learning_rate="adaptive")
    model.fit([[3, 2], [1, 6]], [1, 0])
    assert model.n_iter_ < 3000
    assert model.learning_rate_ < 1e-6


def test_inverse_scaling_counts_the_rows_of_all_calls() -> None:
    model = MLPClassifier(
        4, solver="sgd", learning_rate="invscaling", max_iter=1, power_t=0.25, warm_start=True
    )
    for calls in (1, 2):
        model.fit([[3, 2], [1, 6], [5, 6], [-2, -4]], [1, 1, 1, 0])
        assert model.learning_rate_ == pytest.approx(0.001 / (4 * calls + 1) ** 0.25)


def test_a_network_of_ones_own(iris: tuple[Array, Array]) -> None:
    X, y = iris
    search = GridSearchCV(
        NetworkClassifier(two_layers, learning_rate_init=0.02, random_state=0),
        {"model_options": [{"width": 4}, {"width": 16}]}, cv=3, error_score="raise",
    ).fit(X, y)  # fmt: skip
    assert search.best_score_ > 0.9
    assert search.best_estimator_.predict_proba(X).dtype == np.float32  # as the layers
    with pytest.raises(OptionError, match="model must be a function"):
        NetworkClassifier(two_layers(4, 3)).fit(X, y)
    with pytest.raises(OptionError, match="softmax"):
        NetworkClassifier(lambda i, o: nn.Sequential([nn.Linear(i, o), cr.softmax])).fit(X, y)


# --- targets and weights ----------------------------------------------------------------------


def test_string_labels_with_early_stopping(iris: tuple[Array, Array]) -> None:
    model = make_pipeline(
        Standardize(),
        MLPClassifier(
            (8,),
            early_stopping=True,
            validation_fraction=0.3,
            learning_rate_init=0.05,
            random_state=0,
        ),
    ).fit(*iris)
    net = model[-1]
    assert net.validation_scores_[net.n_iter_ - 1] <= net.best_validation_score_
    assert net.best_validation_score_ == max(net.validation_scores_) > 0.8
    assert model.classes_.tolist() == ["setosa", "versicolor", "virginica"]


def test_several_labels_and_several_outputs() -> None:
    X, Y = make_multilabel_classification(n_samples=60, random_state=0)
    labels = MLPClassifier(20, solver="lbfgs", random_state=0).fit(X, Y)
    assert labels.predict(X).shape == labels.predict_proba(X).shape == Y.shape
    assert labels.score(X, Y) > 0.9
    values = MLPRegressor(20, solver="lbfgs", random_state=0, alpha=0).fit(X, X[:, :2] / 10)
    assert values.predict(X).shape == (60, 2)
    assert values.score(X, X[:, :2] / 10) > 0.9


@pytest.mark.parametrize("label", ["one", 1, True])
def test_one_class_is_always_predicted(label: Any) -> None:
    model = MLPClassifier(4, max_iter=5).fit([[0.0], [1.0]], [label, label])
    assert model.predict([[5.0]]).tolist() == [label]
    assert model.predict_proba([[5.0]]).tolist() == [[1.0]]


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("alpha", [1e-4, 0.1, 1.0])
def test_lbfgs_with_weights_goes_the_way_of_rows_given_several_times(
    estimator: Any, alpha: float
) -> None:
    rng = np.random.default_rng(42)
    X, y, weight = rng.random((15, 30)), rng.integers(0, 3, 15), rng.integers(0, 5, 15)
    model = estimator(solver="lbfgs", alpha=alpha, max_iter=30, random_state=0)
    curve = clone(model).fit(X, y, sample_weight=weight).loss_curve_
    again = model.fit(X.repeat(weight, axis=0), y.repeat(weight)).loss_curve_
    np.testing.assert_allclose(curve[:10], again[:10], rtol=1e-10)
    np.testing.assert_allclose(curve, again, rtol=1e-7)


def test_class_weights_are_sample_weights(iris: tuple[Array, Array]) -> None:
    X, y = iris[0][:120], iris[1][:120]  # 20 of virginica
    options: dict[str, Any] = {"hidden_layer_sizes": 4, "random_state": 0, "max_iter": 10}
    by_class = MLPClassifier(**options, class_weight={"virginica": 5, "setosa": 2}).fit(X, y)
    weight = np.where(y == "virginica", 5, np.where(y == "setosa", 2, 1))
    by_row = MLPClassifier(**options).fit(X, y, sample_weight=weight)
    np.testing.assert_array_equal(by_class.coefs_[0], by_row.coefs_[0])
    plain = MLPClassifier(**options).fit(X, y)
    assert not np.array_equal(plain.coefs_[0], by_row.coefs_[0])
    balanced = MLPClassifier(**options, class_weight="balanced").fit(X, y)
    assert not np.array_equal(plain.coefs_[0], balanced.coefs_[0])


@pytest.mark.parametrize(
    ("weight", "message"),
    [([1.0, -1.0], r"sample_weight\[1\] is -1"), ([0.0, 0.0], "weight 0|non-zero number")],
)
def test_wrong_weights_are_refused(weight: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MLPRegressor().fit([[0.0], [1.0]], [0.0, 1.0], sample_weight=weight)


# --- validation and stopping ------------------------------------------------------------------


def test_given_validation_rows_make_a_curve(iris: tuple[Array, Array]) -> None:
    X, y = iris
    model = MLPClassifier((8,), max_iter=30, random_state=0)
    model.fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == 30
    assert model.validation_scores_[-1] == model.score(X[1::2], y[1::2])
    chances = model.predict_proba(X[1::2])[np.arange(75), np.repeat([0, 1, 2], 25)]
    assert model.validation_loss_curve_[-1] == pytest.approx(-np.log(chances).mean())
    assert model.best_loss_ == min(model.loss_curve_)  # the rows only look on


def test_the_best_weights_come_back() -> None:
    draw = np.random.default_rng(0)
    X, y = draw.normal(size=(40, 5)), draw.normal(size=40)  # which can only be learned by heart
    Xv, yv = draw.normal(size=(40, 5)), draw.normal(size=40)
    model = MLPRegressor(
        (50,), learning_rate_init=0.02, early_stopping=True, n_iter_no_change=20, random_state=0
    ).fit(X, y, X_val=Xv, y_val=yv)
    best = model.best_validation_score_
    assert model.score(Xv, yv) == pytest.approx(best, abs=1e-12)
    assert model.validation_scores_[-1] < best
    assert model.n_iter_ == int(np.argmax(model.validation_scores_)) + 1 + 21


def test_weights_count_in_the_validation_score() -> None:
    X = np.linspace(0, 1, 20)[:, None]
    weight = np.r_[np.ones(10), np.zeros(10)]
    y = np.r_[np.zeros(10), 9 * np.ones(10)]
    model = MLPRegressor(4, max_iter=2, random_state=0)
    model.fit(X, y, X_val=X, y_val=y + X[:, 0], sample_weight_val=weight)
    assert model.validation_scores_[-1] == model.score(X, y + X[:, 0], weight)


def test_a_bar_shows_progress(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("chainrule.train.progress.QUIET_SECONDS", 0)
    monkeypatch.setattr("chainrule.train.progress.LINE_SECONDS", 0)
    MLPRegressor(4, max_iter=2, progress=True).fit([[0.0], [1.0]], [0.0, 1.0])
    assert "epoch 2/2" in capsys.readouterr().err


def test_training_that_diverges_says_so(iris: tuple[Array, Array]) -> None:
    X, y = iris[0], iris[0][:, 0]
    wild = MLPRegressor(
        solver="sgd", learning_rate_init=1.0, activation="identity", random_state=0, batch_size=150
    )
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        wild.fit(X, y)
    wild.set_params(early_stopping=True)
    with pytest.warns(ConvergenceWarning, match="Training diverged in iteration"):
        wild.fit(X, y)
    assert all(np.isfinite(c).all() for c in wild.coefs_)
    assert np.isfinite(wild.best_validation_score_)
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        wild.set_params(batch_size=2).fit(X, y)  # in the first epoch, before any score


# --- going on ---------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_partial_fits_are_the_epochs_of_fit(solver: str, iris: tuple[Array, Array]) -> None:
    X, y = iris
    options: dict[str, Any] = {
        "solver": solver, "random_state": 3, "tol": 0, "batch_size": 40, "dropout": 0.1,
    }  # fmt: skip
    whole = MLPClassifier((8,), max_iter=6, **options).fit(X, y)
    parts = MLPClassifier((8,), max_iter=6, **options)
    for epoch in range(6):
        parts.partial_fit(X, y)
        if epoch == 2:
            parts = pickle.loads(pickle.dumps(parts))
        if epoch == 3:
            parts = copy.deepcopy(parts)
    for mine, other in zip(parts.coefs_, whole.coefs_, strict=True):
        np.testing.assert_array_equal(mine, other)
    assert parts.loss_curve_ == whole.loss_curve_


def test_partial_fit_takes_rows_in_parts_of_any_size(iris: tuple[Array, Array]) -> None:
    X, y = iris
    mixed = np.random.default_rng(0).permutation(150)
    model = MLPClassifier((8,), learning_rate_init=0.02, random_state=0)
    given = X[mixed].copy()
    for _ in range(40):
        for start, stop in ((0, 10), (10, 100), (100, 150)):
            rows = mixed[start:stop]
            weight = np.ones(len(rows)) if start else None
            model.partial_fit(X[rows], y[rows], np.unique(y), sample_weight=weight)
    np.testing.assert_array_equal(X[mixed], given)  # no call writes into the rows of another
    assert model.score(X, y) > 0.9
    assert model.t_ == 40 * 150


def test_weights_may_come_with_a_later_part(iris: tuple[Array, Array]) -> None:
    X, y = iris
    weight = np.where(y == "setosa", 0.4, 1.7)
    found = []
    for first in (None, np.ones(150)):
        model = MLPClassifier((8,), random_state=0).partial_fit(X, y, sample_weight=first)
        found.append(model.partial_fit(X, y, sample_weight=weight).coefs_[0])
    plain = MLPClassifier((8,), random_state=0).partial_fit(X, y).partial_fit(X, y)
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], plain.coefs_[0])


def test_weights_that_are_set_predict_and_train(iris: tuple[Array, Array]) -> None:
    X, y = iris
    model = MLPClassifier((3,), max_iter=2, random_state=0).fit(X, y)
    model.coefs_[-1] = np.zeros((3, 3))
    model.intercepts_[-1] = np.zeros(3)
    np.testing.assert_allclose(model.predict_proba(X), 1 / 3)
    model.coefs_[-1][:] = [[5, 0, 0]]  # in place
    model.intercepts_[-1][:] = [0, 0, 9]
    assert set(model.predict(X)) <= {"setosa", "virginica"}
    model.partial_fit(X, y)
    assert model.intercepts_[-1][2] == pytest.approx(9, abs=0.1)


def test_a_fitted_model_is_a_run(iris: tuple[Array, Array], tmp_path: Path) -> None:
    X, y = iris
    model = MLPClassifier((8,), solver="lbfgs", random_state=0).fit(X, y)
    assert model.run_.history["loss"] == model.loss_curve_
    loaded = cr.load(model.run_.save(tmp_path / "run"))
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(model.classes_[loaded.predict(X)], model.predict(X))


def test_a_search_over_alpha_compiles_once(iris: tuple[Array, Array]) -> None:
    models = [MLPClassifier((8,), alpha=a, max_iter=5, random_state=0) for a in (1e-4, 1.0)]
    graphs = [str(m.fit(*iris)._session.training.step.graph) for m in models]
    assert graphs[0] == graphs[1]
    assert np.abs(models[1].coefs_[0]).sum() < np.abs(models[0].coefs_[0]).sum()


def test_dtypes_follow_the_rows() -> None:
    X = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
    model = MLPRegressor(4, activation="prelu", normalization="layer", max_iter=3).fit(X, X[:, 0])
    assert {p.dtype for p in parameters(model.network_).values()} == {np.dtype("float32")}
    assert model.predict(X).dtype == np.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "adamm"}, "MLPRegressor: unknown solver 'adamm'. Did you mean 'adam'"),
        ({"learning_rate": 0.1}, "learning_rate_init"),
        ({"batch_size": 0}, "batch_size must be a positive integer"),
        ({"hidden_layer_sizes": (4, 0)}, "hidden_layer_sizes must be > 0"),
        ({"activation": ["relu", "tanh"]}, "activation has 2 entries for 1 hidden layers"),
        ({"normalization": "batchnorm"}, "unknown normalization 'batchnorm'. Did you mean"),
        ({"alpha": -1.0}, "alpha must be in"),
        ({"early_stopping": 1}, "early_stopping must be True or False"),
        ({"loss": "cross_entropy"}, "one of classes"),
        ({"loss": "mse_"}, "unknown loss 'mse_'"),
        ({"solver": "lbfgs", "dropout": 0.5}, "dropout or noise"),
    ],
)
def test_wrong_options_name_the_way_out(options: dict[str, Any], message: str) -> None:
    model = MLPRegressor(**options)
    with pytest.raises(OptionError, match=message):
        model.fit([[0.0], [1.0]], [0.0, 1.0])
