"""Floor 6, the doctor: what is wrong with a training, why, and what to change.

Read next: :mod:`chainrule.doctor.finding`.
"""
