"""Floor 10, search: the settings of a training on a table, found by trying many of them.

Read next: :mod:`chainrule.search.tune`.
"""
