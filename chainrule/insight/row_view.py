"""How a row of the data is shown: as an image where it is one, else as numbers by name.

What is known of the rows goes in (their shape, the names of their features, a pipeline); a
:class:`RowView` comes out, which undoes the scaling of a pipeline before it shows anything.

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
SMALLEST = 49  # features of rows without names that may be taken for a square image


@dataclass(frozen=True)
class RowView:
    """What rows of `shape` are: an image of shape `image`, or features with `names`.

    `places` are those of the features among the image's numbers, which may be more; `undo`
    takes rows of features back to what they were before a pipeline scaled them.
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
        """Return `rows` as images; pixels that are no feature are 0."""
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
    """Return how rows of `shape` are shown; `rows` are some, to tell images from other numbers.

    Rows are images where they have a height and a width, where their features are named as
    pixels are (``pixel_3_4``), where `image_shape` says so, and, without names, where there are
    a square number of them, 49 or more, none negative.  An empty `image_shape` says that they
    are none.  Raises OptionError for an `image_shape` or `names` that do not fit.
    """
    count = math.prod(shape)
    known = tuple(map(str, names if names is not None else getattr(pipeline, "feature_names", ())))
    if names is not None and len(known) != count:
        raise OptionError(f"names has {len(known)} entries, but rows have {count} features.")
    if len(known) != count:  # none, or those of pixels before a projection
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
    """Return the image that features named by row and column are in, and their places in it."""
    found = [PIXEL.fullmatch(name) for name in names]
    if len(names) < 4 or not all(found):
        return None, None
    at = np.array([[int(m[1]), int(m[2])] for m in found if m])
    height, width = (int(n) for n in at.max(axis=0) + 1)
    # Constant pixels may have been left out, but a table of a few such names is not an image.
    if height < 2 or width < 2 or 2 * len(names) < height * width:
        return None, None
    return (height, width), at[:, 0] * width + at[:, 1]


def _undo(pipeline: Any) -> Callable[[Array], Array] | None:
    """Return what takes features back to the numbers that the pipeline was given, if anything."""
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
