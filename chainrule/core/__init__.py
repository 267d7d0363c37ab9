"""Floor 0, the language: specs, nodes and graphs, tensors, primitive records, verification, errors.

Nothing here knows what any particular operation means, how a graph is
differentiated, or how it is run; the floors above add that.

Read in order: :mod:`~chainrule.core.spec`, :mod:`~chainrule.core.graph`,
:mod:`~chainrule.core.primitive`, :mod:`~chainrule.core.tensor`, :mod:`~chainrule.core.verify`.
"""
