"""Floor 3, graph to numbers: the reference interpreter and the native engine.

The reference interpreter defines the meaning of every graph.  ``plan/`` divides a graph into
kernels, schedules them and assigns memory; ``llvm/`` compiles that plan to machine code.

Read next: :mod:`chainrule.run.reference`.
"""
