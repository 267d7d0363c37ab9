"""Write arrays as PNG images, compressed by the standard library.

Source: W3C, Portable Network Graphics Specification (third edition), sections 5 and 11.

Read next: :func:`chainrule.insight.render.chart.image_grid`, which shows them.
"""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from typing import Any

import numpy as np

from chainrule.core.errors import ShapeError

__all__ = ["data_uri", "png"]

Array = np.ndarray[Any, Any]
_PLUS, _MINUS = np.array([31, 95, 168.0]), np.array([184, 70, 10.0])


def png(pixels: Array) -> bytes:
    """Return the PNG file of 8-bit `pixels`: (height, width) gray, or with 3 or 4 channels.

    >>> png(np.zeros((2, 3), np.uint8))[1:4]
    b'PNG'
    """
    kinds = {2: 0, 3: 2, 4: 6}  # color types of PNG: gray, RGB, RGBA
    kind = kinds.get(2 if pixels.ndim == 2 else pixels.shape[-1] if pixels.ndim == 3 else 0)
    if kind is None or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise ShapeError(
            f"an image must have 8-bit pixels of shape (height, width) or (height, width, 3 or 4), "
            f"not {pixels.dtype} of shape {pixels.shape}."
        )
    height, width = pixels.shape[:2]
    lines = pixels.reshape(height, -1)
    raw = np.concatenate([np.zeros((height, 1), np.uint8), lines], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def data_uri(image: Any, signed: bool = False) -> str:
    """Return `image` as ``data:image/png;base64,...``; see :func:`png`."""
    return "data:image/png;base64," + b64encode(png(_as_pixels(image, signed))).decode()


def _as_pixels(image: Any, signed: bool) -> Array:
    array = np.asarray(image)
    if array.dtype == np.uint8:
        return array
    numbers = np.nan_to_num(array.astype(np.float64), posinf=0, neginf=0)
    if signed:
        if numbers.ndim != 2:
            raise ShapeError(
                f"a signed image must have shape (height, width), not {numbers.shape}."
            )
        strength = (np.abs(numbers) / (np.abs(numbers).max(initial=0) or 1))[..., None]
        end = np.where((numbers < 0)[..., None], _MINUS, _PLUS)
        return np.rint(255 + (end - 255) * strength).astype(np.uint8)
    low, high = numbers.min(initial=np.inf), numbers.max(initial=-np.inf)
    stretched = (numbers - low) / (high - low) if high > low else np.zeros_like(numbers)
    pixels: Array = np.rint(255 * stretched).astype(np.uint8)
    return pixels
