"""What one request to the service may take, and how many connections there may be.

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

    `connections` is how many may be open at a time.
    Raises OptionError unless all are above 0.
    """

    bytes: int = 2**20
    rows: int = 10_000
    seconds: float = 10.0
    connections: int = 800  # of the 1,024 files that a process may usually open

    def __post_init__(self) -> None:
        check_whole("Limits: bytes", self.bytes)
        check_whole("Limits: rows", self.rows)
        check_whole("Limits: connections", self.connections)
        in_range(self, "seconds", 0, math.inf, open_low=True)
