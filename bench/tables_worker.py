"""The contestants of `bench/tables.py`, and the process in which one of them runs.

Started as `python bench/tables_worker.py CONTESTANT`.  It reads requests from standard input, each
a line of JSON with a table, a seed and a fold, and answers each with a line: the score and the
times.  A contestant gets the columns of the training rows as they are, and prepares them itself.

Read next: `bench/tables.py`.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import chainrule as cr
from bench.table_sets import Data, load
from chainrule import data, tabular
from chainrule.tabular.scores import log_losses
from chainrule.tabular.table_training import settings_for

__all__ = ["CONTESTANTS", "FOLDS", "Contestant", "rows_of_folds", "run_fold", "score"]

Array = NDArray[Any]
# From the training rows and a seed to a function from rows to values, or to probabilities.
Fit = Callable[[Data, int], Callable[[Data], Array]]
FOLDS = 5
THREADS = "TABLES_THREADS"  # the variable with the number of threads
NO_TEST = 1e-9  # the share of rows that is left for a test: the fewest that are possible
HELD_OUT = "to predict"  # the name of the target, which no table has as a column


# --- the folds and the score -----------------------------------------------------------------


def rows_of_folds(found: Data, seed: int) -> list[tuple[Array, Array]]:
    """Return (training rows, held-out rows) of each fold; classes keep their shares."""
    if found.task == "regression":
        return data.folds(len(found.target), FOLDS, seed=seed)
    return data.stratified_folds(found.target.astype(str), FOLDS, seed=seed)


def score(train: Data, test: Data, predicted: Array) -> float:
    """Return the score of predictions for the rows `test`: 1 is perfect, 0 is a constant guess.

    Values: R² = 1 - Σ(y - ŷ)² / Σ(y - ȳ)², with the mean ȳ of the held-out rows.  Classes:
    1 - log loss / log loss of the shares of the classes in the training rows.
    """
    if train.task == "regression":
        rest = test.target - predicted
        return float(1 - (rest @ rest) / ((test.target - test.target.mean()) ** 2).sum())
    learned, truth = (np.searchsorted(train.classes, part.target.astype(str))
                      for part in (train, test))  # fmt: skip
    shares = np.bincount(learned, minlength=len(train.classes)) / len(learned)
    guess = np.broadcast_to(shares, predicted.shape)
    return float(1 - log_losses(truth, predicted).mean() / log_losses(truth, guess).mean())


# --- the contestants -------------------------------------------------------------------------


def fit_chainrule(train: Data, seed: int, **asked: Any) -> Callable[[Data], Array]:
    """Train as `chainrule train` does by default, but with every row for the training.

    `asked` are other settings than the defaults.
    """
    problem = as_problem(train, seed)
    settings = settings_for(problem, seed=seed, **asked)
    return predictor(tabular.fit_table(problem, settings, progress=False), train)


def as_problem(train: Data, seed: int) -> tabular.Problem:
    """Return the rows as a problem without rows for a test."""
    table = data.Table.from_arrays({**train.columns, HELD_OUT: train.target})
    return tabular.read_problem(table, HELD_OUT, task=train.task, test_fraction=NO_TEST, seed=seed)


def predictor(run: cr.Run, train: Data) -> Callable[[Data], Array]:
    """Return the function from rows to values, or to probabilities of the classes of `train`."""

    def predict(rows: Data) -> Array:
        found = tabular.predict_table(
            run, data.Table.from_arrays(rows.columns), tell=lambda line: None
        )
        if train.task == "regression":
            return found["prediction"]
        return np.stack([found[f"probability_{name}"] for name in train.classes], axis=1)

    return predict


def _frame(found: Data, missing: Any) -> tuple[Any, list[str], list[str]]:
    """Return a DataFrame, and the names of its columns of numbers and of words.

    A moment becomes three numbers: the day, the month and the day of the week.  Names are plain,
    because some libraries refuse others.  Missing words are `missing`.
    """
    pandas = importlib.import_module("pandas")
    columns, numbers, words = {}, [], []
    for k, values in enumerate(found.columns.values()):
        if values.dtype.kind == "M":
            moments = pandas.DatetimeIndex(values)
            days = values.astype("datetime64[D]").astype(np.float64)
            days[np.isnat(values)] = np.nan
            parts = {f"c{k}": days, f"c{k}m": moments.month, f"c{k}d": moments.dayofweek}
            columns |= {name: np.asarray(part, np.float64) for name, part in parts.items()}
            numbers += parts
        elif values.dtype.kind == "O":
            cells = [missing if cell is None else cell for cell in values.tolist()]
            columns[f"c{k}"] = pandas.Series(cells, dtype=object)
            words.append(f"c{k}")
        else:
            columns[f"c{k}"] = values.astype(np.float64)
            numbers.append(f"c{k}")
    return pandas.DataFrame(columns), numbers, words


def _answer(train: Data, model: Any, prepare: Callable[[Data], Any]) -> Callable[[Data], Array]:
    """Return the predictor of a fitted model with the interface of scikit-learn."""
    if train.task == "regression":
        return lambda rows: np.asarray(model.predict(prepare(rows)), np.float64).reshape(-1)
    order = [list(model.classes_).index(name) for name in train.classes]
    return lambda rows: np.asarray(model.predict_proba(prepare(rows)), np.float64)[:, order]


def _threads() -> int:
    return int(os.environ.get(THREADS, 2))


def _target(train: Data) -> Array:
    return train.target if train.task == "regression" else train.target.astype(str)


def fit_hist_gradient_boosting(train: Data, seed: int) -> Callable[[Data], Array]:
    """scikit-learn's HistGradientBoosting; words are categories, missing cells stay missing."""
    ensemble = importlib.import_module("sklearn.ensemble")
    compose = importlib.import_module("sklearn.compose")
    pipeline = importlib.import_module("sklearn.pipeline")
    preprocessing = importlib.import_module("sklearn.preprocessing")
    frame, numbers, words = _frame(train, np.nan)
    codes = preprocessing.OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan,
        max_categories=254,
    )  # fmt: skip
    kind = "Regressor" if train.task == "regression" else "Classifier"
    model = pipeline.make_pipeline(
        compose.ColumnTransformer([("words", codes, words)], remainder="passthrough"),
        getattr(ensemble, f"HistGradientBoosting{kind}")(
            categorical_features=[k < len(words) for k in range(len(words) + len(numbers))],
            random_state=seed,
        ),
    )
    model.fit(frame, _target(train))
    return _answer(train, model, lambda rows: _frame(rows, np.nan)[0])


def fit_perceptron(train: Data, seed: int) -> Callable[[Data], Array]:
    """scikit-learn's MLP on medians for missing numbers, standardized numbers and one-hot words.

    Its defaults, except that the target of a regression is standardized too.
    """
    neural = importlib.import_module("sklearn.neural_network")
    compose = importlib.import_module("sklearn.compose")
    impute = importlib.import_module("sklearn.impute")
    pipeline = importlib.import_module("sklearn.pipeline")
    preprocessing = importlib.import_module("sklearn.preprocessing")
    frame, numbers, words = _frame(train, np.nan)
    prepared = compose.ColumnTransformer(
        [
            ("numbers", pipeline.make_pipeline(
                impute.SimpleImputer(strategy="median"), preprocessing.StandardScaler()
            ), numbers),
            ("words", preprocessing.OneHotEncoder(handle_unknown="ignore"), words),
        ],
        sparse_threshold=0,
    )  # fmt: skip
    if train.task == "regression":
        network = compose.TransformedTargetRegressor(
            neural.MLPRegressor(random_state=seed), transformer=preprocessing.StandardScaler()
        )
    else:
        network = neural.MLPClassifier(random_state=seed)
    model = pipeline.make_pipeline(prepared, network).fit(frame, _target(train))
    return _answer(train, model, lambda rows: _frame(rows, np.nan)[0])


def fit_lightgbm(train: Data, seed: int) -> Callable[[Data], Array]:
    """LightGBM with its defaults; words are categories."""
    pandas = importlib.import_module("pandas")
    lightgbm = importlib.import_module("lightgbm")
    frame, _, words = _frame(train, None)
    kinds = {word: pandas.CategoricalDtype(sorted(set(frame[word].dropna()))) for word in words}
    kind = lightgbm.LGBMRegressor if train.task == "regression" else lightgbm.LGBMClassifier
    model = kind(random_state=seed, n_jobs=_threads(), verbose=-1)
    model.fit(frame.astype(kinds), _target(train))
    return _answer(train, model, lambda rows: _frame(rows, None)[0].astype(kinds))


def fit_catboost(train: Data, seed: int) -> Callable[[Data], Array]:
    """CatBoost with its defaults; words are categories, a missing one is a category too."""
    catboost = importlib.import_module("catboost")
    frame, _, words = _frame(train, "(missing)")
    regression = train.task == "regression"
    kind = catboost.CatBoostRegressor if regression else catboost.CatBoostClassifier
    model = kind(
        random_seed=seed, thread_count=_threads(), cat_features=words, verbose=False,
        allow_writing_files=False,
    )  # fmt: skip
    model.fit(frame, _target(train))
    return _answer(train, model, lambda rows: _frame(rows, "(missing)")[0])


def fit_realmlp(train: Data, seed: int) -> Callable[[Data], Array]:
    """RealMLP-TD of pytabkit, with medians for missing numbers, which it does not take.

    For classes, as its documentation says for log loss: no label smoothing, and stopping by cross
    entropy.
    """
    pytabkit = importlib.import_module("pytabkit")
    frame, numbers, words = _frame(train, "(missing)")
    medians = frame[numbers].median().fillna(0.0)
    options: dict[str, Any] = {
        "device": "cpu", "random_state": seed, "n_cv": 1, "n_refit": 0, "n_threads": _threads(),
        "verbosity": 0,
    }  # fmt: skip
    kind = pytabkit.RealMLP_TD_Regressor
    if train.task == "classification":
        kind = pytabkit.RealMLP_TD_Classifier
        options |= {"use_ls": False, "val_metric_name": "cross_entropy"}

    def prepare(rows: Data) -> Any:
        return _frame(rows, "(missing)")[0].fillna(medians)

    model = kind(**options).fit(prepare(train), _target(train), cat_col_names=words)
    return _answer(train, model, prepare)


@dataclass(frozen=True)
class Contestant:
    """What fits, what it is called on the page, and the distribution and module it needs."""

    fit: Fit
    title: str
    distribution: str
    module: str

    @property
    def version(self) -> str:
        """The version that its results belong to; of chainrule, also a digest of its source."""
        found = version(self.distribution) if self.distribution else cr.__version__
        return found if self.distribution else f"{found}+{_source_digest()}"


@lru_cache
def _source_digest() -> str:
    package = Path(cr.__file__).parent
    digest = hashlib.sha1()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


CONTESTANTS = {
    "chainrule": Contestant(fit_chainrule, "chainrule", "", "chainrule"),
    "hgb": Contestant(
        fit_hist_gradient_boosting, "HistGradientBoosting", "scikit-learn", "sklearn.ensemble"
    ),
    "mlp": Contestant(fit_perceptron, "scikit-learn MLP", "scikit-learn", "sklearn.neural_network"),
    "lightgbm": Contestant(fit_lightgbm, "LightGBM", "lightgbm", "lightgbm"),
    "catboost": Contestant(fit_catboost, "CatBoost", "catboost", "catboost"),
    "realmlp": Contestant(fit_realmlp, "RealMLP-TD", "pytabkit", "pytabkit"),
}


# --- one fold, and the process ---------------------------------------------------------------


def run_fold(contestant: str, found: Data, seed: int, fold: int) -> dict[str, Any]:
    """Train on the rows outside `fold`, and return the score on its rows, and the times."""
    learned, held = rows_of_folds(found, seed)[fold]
    train, test = found.rows(learned), found.rows(held)
    clock, processor = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predict = CONTESTANTS[contestant].fit(train, seed)
        fitted, used = time.perf_counter() - clock, time.process_time() - processor
        clock = time.perf_counter()
        predicted = predict(test)
    took = time.perf_counter() - clock
    if not np.isfinite(predicted).all():
        raise ValueError("some predictions are not finite")
    return {
        "score": score(train, test, predicted),
        "rows": len(found.target),
        "features": len(found.columns),
        "threads": _threads(),
        "fit_seconds": fitted,
        "fit_cpu_seconds": used,
        "predict_seconds": took,
    }


def main() -> None:
    # Libraries may print, so standard output is reserved for answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    name = sys.argv[1]
    try:
        importlib.import_module(CONTESTANTS[name].module)
        reply = {"version": CONTESTANTS[name].version}
    except ImportError as error:
        reply = {"missing": str(error)}
    print(json.dumps(reply), file=answers, flush=True)
    remembered = lru_cache(2)(load)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            reply = run_fold(name, remembered(asked["table"]), asked["seed"], asked["fold"])
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(reply), file=answers, flush=True)
    os._exit(0)  # threads of some libraries would prevent a normal exit


if __name__ == "__main__":
    main()
