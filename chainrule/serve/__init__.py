"""A saved run as a web service: rows in, predictions out.

Read next: :mod:`chainrule.serve.service`.
"""
