"""Floor 9: models in and out of other libraries: ONNX.

Read next: :mod:`chainrule.interop.export`.
"""
