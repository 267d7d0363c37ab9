"""Load the optional packages onnx and onnxruntime, or say how to install them.

Read next: :mod:`chainrule.interop.onnx_writer`.
"""

from __future__ import annotations

from typing import Any

from chainrule.core.errors import not_installed

__all__ = ["onnx_library", "runtime_library"]


def onnx_library() -> Any:
    """Return the package onnx, which reads and writes the format.

    Raises OptionError where it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise not_installed("ONNX", "onnx", "onnx onnxruntime", error) from error
    return onnx


def runtime_library() -> Any:
    """Return the package onnxruntime, which runs ONNX models.

    Raises OptionError where it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise not_installed("ONNX", "onnxruntime", "onnx onnxruntime", error) from error
    return onnxruntime
