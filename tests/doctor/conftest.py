"""What the tests of the doctor share: enough time for its experiments on a busy machine."""

from __future__ import annotations

import pytest

from chainrule.doctor import fork


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let experiments take all their steps, so that no verdict depends on the machine's load."""
    monkeypatch.setattr(fork, "LEAST", 30.0)
    monkeypatch.setattr(fork, "MOST", 30.0)
