"""What every test shares: Hypothesis settings, the repository's root, and PyTorch on request."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# A deadline measures the machine, not the code.  On a build machine the same
# examples are drawn every time, so that a red run can be repeated.
settings.register_profile("local", deadline=None, max_examples=40)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.hookimpl(tryfirst=True)  # before those of other markers are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all but one in n cases of a test marked ``one_in(n)`` as thorough.

    Use an odd n where two parameters are combined, so that each value occurs.
    """
    seen: Counter[str] = Counter()
    for item in items:
        marker = item.get_closest_marker("one_in")
        if marker is not None:
            test = item.nodeid.partition("[")[0]
            if seen[test] % marker.args[0]:
                item.add_marker(pytest.mark.thorough)
            seen[test] += 1


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def torch() -> Any:
    """Return PyTorch on one thread; tests that use it carry the ``oracle`` marker."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return torch
