"""Scaling of a network's inputs by a constant, and detection of pixels from 0 to 255.

Data of dtype uint8 may be pixels of images, which are scaled to 0 to 1, or small integers,
such as one-hot columns, which keep their values.

Read next: :mod:`chainrule.step.record`, which records the scaling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError
from chainrule.core.options import is_number
from chainrule.core.tensor import Tensor
from chainrule.nn.layer import Sequential

__all__ = [
    "Scale",
]

_IMAGE_AXES = (3, 4)  # rows, height, width, and optionally channels


@dataclass(eq=False)
class Scale:
    """Multiply by a constant: ``y = factor * x``.

    As the first layer it sets how data are scaled: ``nn.Scale(1 / 255)`` for flattened pixels,
    (n, pixels), and ``nn.Scale(1)`` for uint8 data in the shape of images that are not images.
    Raises OptionError for a `factor` that is not a finite number other than 0.

    >>> import chainrule as cr
    >>> Scale(0.5)(cr.tensor([[1.0, 4.0]]))
    Tensor([[0.5, 2. ]], f32[1,2])
    """

    factor: float

    def __post_init__(self) -> None:
        if not is_number(self.factor) or not math.isfinite(self.factor) or self.factor == 0:
            raise OptionError(
                f"Scale: factor must be a finite number other than 0, not {self.factor!r}."
            )
        self.factor = float(self.factor)

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.factor


def leading_scale(model: Any) -> Scale | None:
    """Return the first layer of `model` if it is a :class:`Scale`, else None."""
    while isinstance(model, Sequential) and len(model):
        model = model[0]
    return model if isinstance(model, Scale) else None


def starts_with_scale(model: Any) -> bool:
    """Return whether the first layer of `model` is a :class:`Scale`."""
    return leading_scale(model) is not None


def reads_pixels(model: Any, dtype: np.dtype[Any], axes: int) -> bool:
    """Return whether data of this `dtype` and number of `axes` are pixels, to scale by 1/255.

    They are if they are uint8 in the shape of images, (n, height, width) or (n, height, width,
    channels), unless `model` starts with its own :class:`Scale`.
    """
    return dtype == np.uint8 and axes in _IMAGE_AXES and not starts_with_scale(model)


def input_factor(model: Any, dtype: np.dtype[Any], axes: int) -> float:
    """Return what data with this `dtype` and number of `axes` are multiplied by at the start.

    It is 1/255 for pixels, the factor of a leading :class:`Scale`, and 1 for all other data.
    """
    if reads_pixels(model, dtype, axes):
        return 1 / 255
    scale = leading_scale(model)
    return 1.0 if scale is None else scale.factor
