"""Load the optional packages starlette and uvicorn, or say how to install them.

Read next: :mod:`chainrule.serve.service`.
"""

from __future__ import annotations

from typing import Any

from chainrule.core.errors import not_installed

__all__ = ["starlette_library", "uvicorn_library"]

PACKAGES = "starlette uvicorn httptools uvloop"


def starlette_library() -> Any:
    """Return the package starlette, with the parts that the service uses.

    Raises OptionError where it is not installed.
    """
    try:
        import starlette.applications
        import starlette.responses
        import starlette.routing
    except ImportError as error:
        raise not_installed("the service", "starlette", PACKAGES, error) from error
    return starlette


def uvicorn_library() -> Any:
    """Return the package uvicorn.

    Raises OptionError where it is not installed.
    """
    try:
        import uvicorn
        import uvicorn.protocols.http.auto
    except ImportError as error:
        raise not_installed("the service", "uvicorn", PACKAGES, error) from error
    return uvicorn
