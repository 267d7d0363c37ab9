"""Floor 10, the laboratory: healthy trainings, and faults that break them in a known way.

Read next: :mod:`chainrule.lab.recipe`.
"""
