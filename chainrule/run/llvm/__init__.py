"""The native engine, which compiles a plan to machine code with LLVM.

Read next: :mod:`chainrule.run.llvm.emit`.
"""
