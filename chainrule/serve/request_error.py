"""The answer to a request that can't be answered: a status, a sentence, the row and the column.

Read next: :mod:`chainrule.serve.request_body`.
"""

from __future__ import annotations

from typing import Any

from chainrule.core.errors import ChainruleError

__all__ = ["RequestError"]


class RequestError(ChainruleError):
    """A request is wrong, or too much; `status` is the number of the HTTP answer.

    `row` counts from 1; it and `column` are None where none is to blame.

    >>> RequestError(422, "'rde' is not a known value.", row=2, column="color").to_json()
    {'error': "row 2, column 'color': 'rde' is not a known value.", 'row': 2, 'column': 'color'}
    """

    def __init__(
        self, status: int, message: str, *, row: int | None = None, column: str | None = None
    ):
        places = [f"row {row}"] * (row is not None) + [f"column {column!r}"] * (column is not None)
        super().__init__(f"{', '.join(places)}: {message}" if places else message)
        self.status, self.row, self.column = status, row, column

    def to_json(self) -> dict[str, Any]:
        """Return the body of the answer."""
        found: dict[str, Any] = {"error": str(self)}
        if self.row is not None:
            found["row"] = self.row
        if self.column is not None:
            found["column"] = self.column
        return found
