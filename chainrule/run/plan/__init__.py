"""Plan how a graph is compiled: kernels, levels, memory and slots.

The plan does not depend on LLVM; :mod:`chainrule.run.llvm` compiles it to machine code.

Read next: :mod:`chainrule.run.plan.passes`.
"""
