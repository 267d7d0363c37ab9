"""The machine itself: independent multiply-adds on registers, on one core or on all.

Its "epoch" is a fixed number of them, so that they take turns with the others' epochs and
show what the machine could do at that time.

Read next: `bench/speed.py`.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from peak import peak
from workloads import Weights, Workload

from contestants.contestant import Contestant

CALLS = 200


class Peak(Contestant):
    def __init__(self, workload: Workload, threads: int | None):
        self.threads = threads or len(os.sched_getaffinity(0))
        self.calls = [peak() for _ in range(self.threads)]
        self.flops = CALLS * sum(flops for _, flops, _ in self.calls)
        self.pool = ThreadPoolExecutor(self.threads)

    def reset(self) -> None:
        pass

    def epoch(self, shuffle: bool = True) -> float:
        def work(place: int) -> None:
            for _ in range(CALLS):
                self.calls[place][0]()

        list(self.pool.map(work, range(self.threads)))
        return 0.0

    def weights(self) -> Weights:
        return []
