"""Code compiled by these tests is kept in a folder of the session, never in the user's cache.

XLA takes the processor for eight devices.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.run.sanitized import KIND, check_accesses

# So that JAX, where it is installed, has eight devices: it reads this when it is first used.
FLAG = "--xla_force_host_platform_device_count=8"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAG}".strip()


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
