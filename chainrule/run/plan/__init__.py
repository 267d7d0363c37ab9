"""From a graph to a plan that any compiler can emit: kernels, levels, memory, slots.

Nothing here knows LLVM.  :mod:`chainrule.run.llvm` turns the plan into machine code.

Read next: :mod:`chainrule.run.plan.passes`.
"""
