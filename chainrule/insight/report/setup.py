"""The section with the settings and the software versions.

Read next: :mod:`chainrule.insight.report.section`.
"""

from __future__ import annotations

import platform
from html import escape
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from chainrule.insight.render.text import setting
from chainrule.insight.report.section import Material, section
from chainrule.tabular.settings import unusual


@section("Settings", 100)
def settings(material: Material) -> str:
    """Return the settings that differ from their defaults, and the versions."""
    run = material.run
    asked = {"loss": run.objective.name, **unusual(run.settings)}
    lines = "".join(
        f"<tr><td>{escape(name.replace('_', ' '))}</td><td>{escape(setting(value))}</td></tr>"
        for name, value in asked.items()
    )
    try:
        own = version("chainrule")
    except PackageNotFoundError:
        own = "from its source"
    made = (
        f"chainrule {own}, Python {platform.python_version()}, NumPy {np.__version__}, "
        f"{platform.system()} on {platform.machine()}"
    )
    return f'<table class="settings">{lines}</table><p class="faint">{escape(made)}</p>'
