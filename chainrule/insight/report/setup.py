"""The section with the settings and the software versions.

Read next: :mod:`chainrule.insight.report.section`.
"""

from __future__ import annotations

import platform
from html import escape

from chainrule.insight.render.text import setting
from chainrule.insight.report.section import Material, section
from chainrule.tabular.settings import unusual
from chainrule.train.saved_files import versions


@section("Settings", 100)
def settings(material: Material) -> str:
    """Return the settings that differ from their defaults, and the versions."""
    run = material.run
    asked = {"loss": run.objective.name, **unusual(run.settings)}
    lines = "".join(
        f"<tr><td>{escape(name.replace('_', ' '))}</td><td>{escape(setting(value))}</td></tr>"
        for name, value in asked.items()
    )
    told = ", ".join(f"{name} {version}" for name, version in versions().items())
    made = f"{told}, {platform.system()} on {platform.machine()}"
    return f'<table class="settings">{lines}</table><p class="faint">{escape(made)}</p>'
