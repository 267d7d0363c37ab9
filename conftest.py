"""Leave the modules of optional engines out of the doctests where their compiler is missing."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("jax") else ["chainrule/run/xla/*"]
