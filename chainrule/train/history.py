"""The records of a training, one for each epoch, and their columns by name.

Read next: :mod:`chainrule.train.run`.
"""

from __future__ import annotations

from typing import Any

from chainrule.core.errors import OptionError, did_you_mean

__all__ = ["History"]


class History(list[dict[str, Any]]):
    """A list of records; a name instead of an index returns that entry of every record.

    >>> history = History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    >>> history["loss"], history[-1]["epoch"]
    ([0.5, 0.25], 2)
    """

    def __getitem__(self, key: Any) -> Any:
        """Return the record at an index, records of a slice, or the entries of a name.

        An entry that a record does not have is None.  Raises OptionError for a name that no record
        has.
        """
        if not isinstance(key, str):
            return super().__getitem__(key)
        if not any(key in record for record in self):
            names = dict.fromkeys(name for record in self for name in record)
            raise OptionError(f"the history has no {key!r}. {did_you_mean(key, names)}")
        return [record.get(key) for record in self]
