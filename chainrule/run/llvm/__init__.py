"""From a plan to machine code through LLVM: the native engine.

Read next: :mod:`chainrule.run.llvm.emit`.
"""
