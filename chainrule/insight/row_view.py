"""Choose how to show a row of the data: as an image, or as numbers with names.

The choice depends on the shape of the rows, the names of their features and the pipeline, whose
scaling a :class:`RowView` inverts.

Read next: :mod:`chainrule.insight.hidden.figures`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError
from chainrule.data.encode import NumericEncoder
from chainrule.data.pipeline import Pipeline
from chainrule.data.pixels import PixelPipeline

__all__ = ["RowView", "row_view"]

Array = np.ndarray[Any, Any]
PIXEL = re.compile(r"(?:.*\D)?(\d+)[_x,](\d+)")
SMALLEST = 49  # features of rows without names that can be a square image


@dataclass(frozen=True)
class RowView:
    """How to show rows of `shape`: as images of shape `image`, or as features with `names`.

    `places` are the indices of the features in the flat image, which may have more pixels; `undo`
    inverts the scaling of the pipeline.
    """

    shape: tuple[int, ...]
    names: tuple[str, ...]
    image: tuple[int, ...] | None = None
    places: Array | None = None
    undo: Callable[[Array], Array] | None = None

    def original(self, rows: Array) -> Array:
        """Return `rows` (rows, features) in the units of the data; float64."""
        flat = rows.reshape(len(rows), -1).astype(np.float64)
        return flat if self.undo is None else self.undo(flat)

    def as_images(self, rows: Array, original: bool = True) -> list[Array]:
        """Return `rows` as images; pixels that are not features are 0."""
        assert self.image is not None
        flat = self.original(rows) if original else rows.reshape(len(rows), -1)
        whole = np.zeros((len(rows), math.prod(self.image)))
        whole[:, slice(None) if self.places is None else self.places] = flat
        return list(whole.reshape(-1, *self.image))


def row_view(
    shape: tuple[int, ...],
    rows: Array,
    pipeline: Any = None,
    names: Sequence[str] | None = None,
    image_shape: Sequence[int] | None = None,
) -> RowView:
    """Return how to show rows of `shape`; `rows` are examples.

    Rows are shown as images if they have a height and a width, if their features are named like
    pixels (``pixel_3_4``), if `image_shape` is given, or, without names, if the number of
    features is a square, at least 49, and no value in `rows` is negative.  An empty `image_shape`
    says that they are not images.  Raises OptionError for an `image_shape` or `names` that do
    not fit.
    """
    count = math.prod(shape)
    known = tuple(map(str, names if names is not None else getattr(pipeline, "feature_names", ())))
    if names is not None and len(known) != count:
        raise OptionError(f"names has {len(known)} entries, but rows have {count} features.")
    if len(known) != count:  # no names, or those of the features before a projection
        known = ()
    undo = _undo(pipeline)
    told = known or tuple(f"x{i}" for i in range(count))
    if image_shape is not None:
        image = tuple(int(side) for side in image_shape)
        if image and (math.prod(image) != count or len(image) not in (2, 3)):
            raise OptionError(
                f"image_shape {image} has {math.prod(image)} numbers, but rows have {count}; "
                "give (height, width) or (height, width, 3), or () for rows that are not images."
            )
        return RowView(shape, told, image or None, None, undo)
    if len(shape) == 2 or (len(shape) == 3 and shape[-1] in (1, 3)):
        return RowView(shape, told, shape if shape[-1] == 3 or len(shape) == 2 else shape[:2],
                       None, undo)  # fmt: skip
    if known:
        found, places = _grid(known)
        return RowView(shape, told, found, places, undo)
    side = math.isqrt(count)
    square = len(shape) == 1 and side * side == count >= SMALLEST and rows.min(initial=0) >= 0
    return RowView(shape, told, (side, side) if square else None, None, undo)


def _grid(names: tuple[str, ...]) -> tuple[tuple[int, int] | None, Array | None]:
    """Return the shape of an image whose pixels are named by row and column, and their indices."""
    found = [PIXEL.fullmatch(name) for name in names]
    if len(names) < 4 or not all(found):
        return None, None
    at = np.array([[int(m[1]), int(m[2])] for m in found if m])
    height, width = (int(n) for n in at.max(axis=0) + 1)
    # Constant pixels may have been dropped, but a few such names are not an image.
    if height < 2 or width < 2 or 2 * len(names) < height * width:
        return None, None
    return (height, width), at[:, 0] * width + at[:, 1]


def _undo(pipeline: Any) -> Callable[[Array], Array] | None:
    """Return the inverse of the pipeline's scaling, None without one."""
    if isinstance(pipeline, PixelPipeline) and pipeline.steps:

        def to_pixels(rows: Array) -> Array:
            for step in reversed(pipeline.steps):
                rows = step.undo(rows)
            return rows

        return to_pixels
    if not isinstance(pipeline, Pipeline) or pipeline.projection is not None:
        return None

    def to_columns(rows: Array) -> Array:
        columns, start = rows.copy(), 0
        for encoder in pipeline.encoders:
            if isinstance(encoder, NumericEncoder):
                stop = start + len(encoder.median)
                columns[:, start:stop] = encoder.scaling.undo(rows[:, start:stop])
            start += len(encoder.feature_names)
        return columns

    return to_columns
