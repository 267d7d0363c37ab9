"""Load the optional packages onnx and onnxruntime, or say how to install them.

Read next: :mod:`chainrule.interop.onnx_writer`.
"""

from __future__ import annotations

from typing import Any

from chainrule.core.errors import OptionError

__all__ = ["onnx_library", "runtime_library"]


def onnx_library() -> Any:
    """Return the package onnx, which reads and writes the format.

    Raises OptionError where it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise _missing("onnx", error) from error
    return onnx


def runtime_library() -> Any:
    """Return the package onnxruntime, which runs ONNX models.

    Raises OptionError where it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise _missing("onnxruntime", error) from error
    return onnxruntime


def _missing(name: str, error: ImportError) -> OptionError:
    return OptionError(
        f"ONNX needs the package {name}, which can't be imported ({error}); install it with: "
        "pip install onnx onnxruntime."
    )
