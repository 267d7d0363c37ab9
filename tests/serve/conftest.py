"""Small runs of each kind to serve, and a client that asks them without a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, tabular
from chainrule.serve.limits import Limits
from chainrule.train.run import Run

SIZES = 180


def columns() -> dict[str, Any]:
    """Return a table with a column of each kind, some with missing cells."""
    rng = np.random.default_rng(0)
    size = rng.uniform(20, 120, SIZES).round(1)
    return {
        "size": size,
        "fee": [f"€{1000 + 37 * i:,}.50" for i in range(SIZES)],
        "rooms": [None if i % 9 == 4 else int(i % 5 + 1) for i in range(SIZES)],
        "heating": ["gas", "oil", "wood", "gas"] * (SIZES // 4),
        "state": ["poor", "fair", "good", "fair", None] * (SIZES // 5),
        "garage": [i % 3 == 0 for i in range(SIZES)],
        "sold": [f"{1 + i % 28}/{1 + i % 12}/{2000 + i % 20}" for i in range(SIZES)],
        "price": (1000 * size + 500).tolist(),
        "kind": ["flat" if s < 70 else "house" for s in size],
    }


def trained(target: str, **options: Any) -> Run:
    table = {k: v for k, v in columns().items() if k in target.split(",") or k not in
             ("price", "kind")}  # fmt: skip
    roles = {"state": ["poor", "fair", "good"], "sold": "date(dayfirst)"}
    problem = tabular.read_problem(table, target, roles=roles)
    settings = tabular.choose_settings(problem.rows["train"], task=problem.pipeline.task,
                                       hidden=(4,), epochs=3, **options)  # fmt: skip
    return tabular.fit_table(problem, settings, progress=False)


@pytest.fixture(scope="session")
def numbers() -> Run:
    """Return a run that predicts a number from a table."""
    return trained("price")


@pytest.fixture(scope="session")
def classes() -> Run:
    """Return a run that predicts one of two classes from a table."""
    return trained("kind")


@pytest.fixture(scope="session")
def both() -> Run:
    """Return a run that predicts a number and a class."""
    return trained("price,kind")


@pytest.fixture(scope="session")
def arrays() -> Run:
    """Return a run on rows of three numbers."""
    X = np.random.default_rng(1).normal(size=(60, 3)).astype("float32")
    model = nn.Sequential([nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)])
    y = (X[:, 0] > 0).astype("int32")
    return cr.fit(model, (X, y), loss="cross_entropy", epochs=2, progress=False)


@pytest.fixture(scope="session")
def images() -> Run:
    """Return a run on pixels, 2 by 2 of 0 to 255."""
    X = np.random.default_rng(2).integers(0, 256, (40, 2, 2)).astype("uint8")
    model = nn.Sequential([nn.Flatten(), nn.Linear(4, 1)])
    y = X.mean(axis=(1, 2)) / 255
    return cr.fit(model, (X, y), loss="mse", epochs=2, progress=False)


@pytest.fixture
def client() -> Callable[..., Any]:
    """Return a function from a run to a client of its service."""
    testclient = pytest.importorskip("starlette.testclient")
    pytest.importorskip("httpx2")
    from chainrule.serve.service import service

    def client(run: Run, **limits: Any) -> Any:
        return testclient.TestClient(service(run, Limits(**limits)), raise_server_exceptions=False)

    return client
