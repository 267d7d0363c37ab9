"""Memory-mapped arrays train in a process that may allocate a quarter of their size.

The limit is on private writable memory (RLIMIT_DATA), so that pages of the mapped file, which
the system takes back as it likes, do not count, and a copy anywhere is a MemoryError.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.errors import DataError
from chainrule.step.part import Part

MEGABYTES = 400

LIMITED = """
import re, resource, sys
import numpy as np
import chainrule as cr
from chainrule import nn

path, engine, loss = sys.argv[1:]
X = np.load(path, mmap_mode="r")
# A class each, or (loss mse) a second large array as the target.
y = np.arange(len(X)) % 4 if loss == "cross_entropy" else X

def train(X, y):
    model = nn.Linear(X[0].size, 4 if loss == "cross_entropy" else X[0].size)
    return cr.fit(model, (X, y), loss=loss, epochs=1, batch_size=256, validation=0.1,
                  engine=engine, progress=False)

train(X[:64], y[:64])  # what is loaded and compiled once does not grow with the data
used = int(re.search(r"VmData:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 100 * 2**20,) * 2)
try:
    np.array(X)
except MemoryError:
    print("limited")
run = train(X, y)
print(run.settings["rows"], sorted(run.history[0]))
"""


def train_limited(path: Path, engine: str, loss: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path), engine, loss],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(cr.__file__).parents[1]),
            "OPENBLAS_NUM_THREADS": "1",
            "CHAINRULE_THREADS": "2",
            "CHAINRULE_CACHE": str(path.parent / "code"),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
@pytest.mark.parametrize(
    ("dtype", "engine", "loss"),
    [
        ("float32", "native", "cross_entropy"),
        ("float64", "native", "cross_entropy"),
        pytest.param("uint8", "native", "cross_entropy", marks=pytest.mark.thorough),
        pytest.param("float32", "reference", "cross_entropy", marks=pytest.mark.thorough),
        ("float32", "native", "mse"),
    ],
)
def test_a_mapped_file_four_times_the_limit_trains(
    tmp_path: Path, dtype: str, engine: str, loss: str
) -> None:
    width = 64 if loss == "mse" else 4000 // np.dtype(dtype).itemsize
    rows = MEGABYTES * 2**20 // (width * np.dtype(dtype).itemsize)
    path = tmp_path / "x.npy"
    # A file with holes: it reads as zeros, but for the rows written, and takes no time to make.
    X = np.lib.format.open_memmap(path, "w+", dtype, (rows, width))
    X[::1000] = 1
    X.flush()
    del X
    out = train_limited(path, engine, loss)
    assert out.startswith("limited\n")
    assert f"\n{rows - round(rows * 0.1)} [" in out
    assert "val_loss" in out


def test_a_mapped_array_trains_as_the_same_array_in_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 5)).astype("float32")
    y = (X[:, 0] > 0).astype(int)
    np.save(tmp_path / "x.npy", X)
    histories = []
    for features in (X, np.load(tmp_path / "x.npy", mmap_mode="r")):
        model = nn.Sequential([nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2)])
        run = cr.fit(
            model, (features, y), loss="cross_entropy", validation=0.2, epochs=3, progress=False
        )
        histories.append([(r["loss"], r["val_loss"], r["val_accuracy"]) for r in run.history])
    assert histories[0] == histories[1]


def test_nan_deep_in_a_mapped_array_is_named(tmp_path: Path) -> None:
    X = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", "float32", (5_000_000, 2))
    X[4_500_000, 1] = np.nan
    X[4_900_000] = np.inf
    with pytest.raises(
        DataError, match=r"X\[4500000, 1\] \(row 4500000, column 1\) is NaN; 3 such"
    ):
        cr.fit(nn.Linear(2, 1), (X, X[:, :1]), loss="mse", progress=False)


def test_validation_of_another_kind_is_refused_before_training() -> None:
    X = np.full((4, 1, 2), 90, "uint8")
    with pytest.raises(DataError, match=r"validation holds float64 and X uint8"):
        cr.fit(
            nn.Sequential([nn.Flatten(), nn.Linear(2, 2)]), (X, [0, 1, 0, 1]), loss="cross_entropy",
            validation=(X / 255, [0, 1, 0, 1]), progress=False,
        )  # fmt: skip


def test_variance_of_some_rows_is_that_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainrule.step.part.BLOCK_BYTES", 200)  # so that there are many blocks
    rng = np.random.default_rng(1)
    y = rng.normal(3, 2, size=(100, 3)).astype("float32")
    rows = rng.permutation(100)[:37]
    expected = y[rows].astype("float64").var(axis=0).mean()
    np.testing.assert_allclose(Part(y, y, rows).variance, expected, rtol=1e-12)
    np.testing.assert_allclose(Part(y, y).variance, y.astype("float64").var(axis=0).mean())
    assert sum(len(block["x"]) for block in Part(y, y, rows).blocks()) == 37
