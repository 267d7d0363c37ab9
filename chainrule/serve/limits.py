"""What one request to the service may take.

Read next: :mod:`chainrule.serve.service`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from chainrule.core.options import check_whole, in_range

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """What one request may take: bytes of its body, rows, and seconds until it is answered.

    Raises OptionError unless all are above 0.
    """

    bytes: int = 2**20
    rows: int = 10_000
    seconds: float = 10.0

    def __post_init__(self) -> None:
        check_whole("Limits: bytes", self.bytes)
        check_whole("Limits: rows", self.rows)
        in_range(self, "seconds", 0, math.inf, open_low=True)
