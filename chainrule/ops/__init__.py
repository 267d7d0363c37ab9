"""Floor 1: all operations, one record each, and composites built from them.

Read next: :mod:`chainrule.ops.arithmetic`, then :mod:`chainrule.ops.composite`.
"""
