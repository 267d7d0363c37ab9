"""One file for each framework; each trains a workload by epochs, as its users would at their best.

Read next: `bench/contestants/contestant.py`.
"""

from __future__ import annotations
