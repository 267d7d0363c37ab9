"""The XLA engine: graphs run by XLA through JAX, for GPUs and for several devices.

Read next: :mod:`chainrule.run.xla.traced`.
"""
