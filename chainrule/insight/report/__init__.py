"""The report of a training as one HTML file, and runs side by side in a terminal.

Read next: :mod:`chainrule.insight.report.report`.
"""
