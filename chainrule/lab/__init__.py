"""Floor 10, the laboratory: healthy trainings, faults that break them, and claims as experiments.

Read next: :mod:`chainrule.lab.recipe`, :mod:`chainrule.lab.experiment`.
"""
