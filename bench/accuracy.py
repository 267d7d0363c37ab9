"""Compare accuracy with scikit-learn on small data sets and with a published Fashion-MNIST result.

Run `python bench/accuracy.py [--only small|fashion] [--seeds N]` (or `make accuracy`).  Prints
Markdown tables, writes `bench/results/accuracy.json`, and exits with 1 if a result misses its
target.  No choice depends on test rows: the small sets share one setting, fixed in advance, and
the setting for Fashion-MNIST is selected on rows held out of its training part.

Read next: `chainrule/train/fit.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

import chainrule as cr
from chainrule import data, nn, optim

RESULTS = Path(__file__).parent / "results" / "accuracy.json"
SMALL = ("iris", "wine", "breast-cancer", "digits")
HIDDEN, EPOCHS, BATCH, RATE = 64, 60, 32, 3e-3
MARGIN = 0.01  # the accuracy may be lower than scikit-learn's by this much

FASHION_HIDDEN = (256, 128, 100)
# The benchmark table of github.com/zalandoresearch/fashion-mnist, "3 layers 256-128-100".
FASHION_PUBLISHED = 0.8833
FASHION_BATCH, FASHION_EPOCHS, FASHION_SEED = 128, 20, 0
FASHION_OPTIMIZERS = (optim.Adam(1e-3), optim.SGD(0.05, momentum=0.9, nesterov=True))


def network(sizes: Sequence[int]) -> nn.Sequential:
    """Return Linear layers of the given sizes with ReLU between them."""
    layers: list[Any] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(layers[:-1])


def ours(X: Any, y: Any, X_test: Any, classes: int, seed: int) -> Any:
    """Return chainrule's predictions for `X_test`."""
    model = network([X.shape[1], HIDDEN, classes])
    run = cr.fit(
        model, (X, y), loss="cross_entropy", optimizer=optim.Adam(RATE), epochs=EPOCHS,
        batch_size=BATCH, seed=seed, progress=False,
    )  # fmt: skip
    return run.predict(X_test)


def theirs(X: Any, y: Any, X_test: Any, classes: int, seed: int) -> Any:
    """Return scikit-learn's predictions, with its defaults except more iterations to converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = MLPClassifier(hidden_layer_sizes=(HIDDEN,), max_iter=1000, random_state=seed)
        return model.fit(X, y).predict(X_test)


def small_set(name: str, seeds: int) -> dict[str, Any]:
    """Return the mean accuracies over five stratified folds and `seeds` initial weights."""
    found = data.load(name)
    classes = int(found.y.max()) + 1
    scores: dict[str, list[float]] = {"chainrule": [], "scikit_learn": []}
    for train, test in data.stratified_folds(found.y, 5, seed=0):
        scaler = data.Standardize().fit(found.X[train])
        X, X_test = scaler.transform(found.X[train]), scaler.transform(found.X[test])
        for seed in range(seeds):
            for key, predict in (("chainrule", ours), ("scikit_learn", theirs)):
                with threadpool_limits(1):  # at this size, more threads are slower
                    predicted = predict(X, found.y[train], X_test, classes, seed)
                scores[key].append(float(np.mean(predicted == found.y[test])))
    means = {key: float(np.mean(values)) for key, values in scores.items()}
    met = means["chainrule"] >= means["scikit_learn"] - MARGIN
    return {"set": name, "rows": len(found.y), **means, "met": met, "scores": scores}


def train_fashion(found: Any, rows: Any, method: Any, epochs: int, **options: Any) -> cr.Run:
    """Train the 256-128-100 network on the given rows of the training part."""
    return cr.fit(
        network([784, *FASHION_HIDDEN, 10]), (found.X[rows], found.y[rows]),
        loss="cross_entropy", optimizer=method, epochs=epochs, batch_size=FASHION_BATCH,
        seed=FASHION_SEED, **options,
    )  # fmt: skip


def fashion() -> dict[str, Any]:
    """Select optimizer and epochs on held-out training rows, train on all rows, test once."""
    started = time.perf_counter()
    found = data.load("fashion-mnist")
    train, held = data.split(found.y, 1 / 6, seed=FASHION_SEED)
    tried = []
    for method in FASHION_OPTIMIZERS:
        run = train_fashion(
            found, train, method, FASHION_EPOCHS, validation=(found.X[held], found.y[held])
        )
        scores = [record["val_accuracy"] for record in run.history]
        tried.append((max(scores), 1 + int(np.argmax(scores)), method, scores))
    validation, epochs, method, _ = max(tried, key=lambda entry: entry[0])
    final = train_fashion(found, np.arange(len(found.y)), method, epochs)
    accuracy = final.evaluate((found.X_test, found.y_test))["accuracy"]
    return {
        "set": "fashion-mnist",
        "hidden": FASHION_HIDDEN,
        "optimizer": repr(method),
        "batch_size": FASHION_BATCH,
        "epochs": epochs,
        "seed": FASHION_SEED,
        "validation_accuracy": validation,
        "test_accuracy": accuracy,
        "published": FASHION_PUBLISHED,
        "met": accuracy >= FASHION_PUBLISHED,
        "tried": {repr(m): scores for _, _, m, scores in tried},
        "seconds": time.perf_counter() - started,
    }


def report_small(seeds: int) -> list[dict[str, Any]]:
    """Measure and print the small sets."""
    print(
        f"Five stratified folds x {seeds} seeds, one hidden layer of {HIDDEN}, standardized "
        f"inputs; chainrule: Adam({RATE:g}), batches of {BATCH}, {EPOCHS} epochs; "
        "scikit-learn: MLPClassifier's defaults, up to 1000 epochs.\n\n"
        "| set | rows | chainrule | scikit-learn | within 0.01 or above |\n|---|---|---|---|---|"
    )
    rows = []
    for name in SMALL:
        row = small_set(name, seeds)
        rows.append(row)
        print(
            f"| {name} | {row['rows']} | {row['chainrule']:.4f} | {row['scikit_learn']:.4f} "
            f"| {'yes' if row['met'] else 'NO'} |",
            flush=True,
        )
    return rows


def report_fashion() -> list[dict[str, Any]]:
    """Measure and print Fashion-MNIST, or print why it was skipped."""
    try:
        row = fashion()
    except cr.DataError as error:
        print(f"\nFashion-MNIST was skipped: {error}")
        return []
    print(
        f"\n| set | hidden | picked on validation | validation | test | published |"
        f"\n|---|---|---|---|---|---|\n| {row['set']} | {'-'.join(map(str, row['hidden']))} | "
        f"{row['optimizer']}, {row['epochs']} epochs, batches of {row['batch_size']}, seed "
        f"{row['seed']} | {row['validation_accuracy']:.4f} | {row['test_accuracy']:.4f} | "
        f"{row['published']} |"
    )
    return [row]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the selected measurements, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("small", "fashion"))
    parser.add_argument("--seeds", type=int, default=3, help="initial weights for each fold")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    if options.only != "fashion":
        rows += report_small(options.seeds)
    if options.only != "small":
        rows += report_fashion()
    RESULTS.parent.mkdir(exist_ok=True)
    about = {
        "chainrule": cr.__version__,
        "numpy": np.__version__,
        "scikit_learn": sklearn.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
    }
    RESULTS.write_text(json.dumps({"about": about, "results": rows}, indent=1) + "\n")
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
