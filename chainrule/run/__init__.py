"""Floor 3, graph to numbers: the reference interpreter and the native engine.

The reference interpreter defines what every graph means.  ``plan/`` turns a graph into
kernels, levels and memory; ``llvm/`` turns that plan into machine code.  Another compiler
is a folder beside ``llvm/``.

Read next: :mod:`chainrule.run.reference`.
"""
