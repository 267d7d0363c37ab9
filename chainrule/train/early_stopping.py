"""Early stopping: end a training whose score does not improve any more.

Read next: :mod:`chainrule.train.loop`.
"""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.core.options import check_whole, in_range
from chainrule.optim.plateau import check_monitor

__all__ = ["EarlyStopping"]


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when `monitor` has not improved by the share `min_delta` for `patience` epochs.

    `min_delta` is relative to the best score that counted: 0.001 asks for 0.1 % of it.  The
    weights with the best score of all are restored, by whatever margin it was the best.
    `monitor` names an entry of the history; by default ``val_loss``, or ``loss`` where there is
    no validation.  Better is lower, but higher for accuracies and r2.  Raises OptionError for a
    patience below 1 and a min_delta outside [0, 1).
    """

    patience: int = 10
    monitor: str | None = None
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        check_whole("EarlyStopping: patience", self.patience)
        in_range(self, "min_delta", 0.0, 1.0)
        check_monitor(self)
