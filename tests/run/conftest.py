"""Code compiled by these tests is kept in a folder of the session, never in the user's cache."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.run.sanitized import KIND, check_accesses


@pytest.fixture(scope="session", autouse=True)
def code_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Send compiled code to a folder of this session; return its path."""
    folder = str(tmp_path_factory.mktemp("code"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAINRULE_CACHE", folder)
        patch.delenv("CHAINRULE_ENGINE", raising=False)
        patch.delenv("CHAINRULE_THREADS", raising=False)
        if KIND:
            check_accesses(patch)
        yield os.environ["CHAINRULE_CACHE"]
