"""Floor 0: specs, nodes and graphs, tensors, primitive records, verification and errors.

This package does not define any operation, nor how a graph is differentiated
or run; the packages above it do.

Read in order: :mod:`~chainrule.core.spec`, :mod:`~chainrule.core.graph`,
:mod:`~chainrule.core.primitive`, :mod:`~chainrule.core.tensor`, :mod:`~chainrule.core.verify`.
"""
