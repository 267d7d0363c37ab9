"""Settings of Sphinx for the site that `make docs` builds.

Read next: `docs/site_source.py`, which lays out the pages.
"""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import inspect

import chainrule

project = "chainrule"
author = "the authors of chainrule"
version = release = chainrule.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]

# Warnings are errors (`-W -n`); a type of another library has no page here.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!chainrule\.).*"),
    (r"py:.*", r"chainrule\..*\._\w+"),
]
default_role = "code"
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
# The packages that only some engines need; the docstrings of their modules can be read without.
autodoc_mock_imports = [name for name in ("jax",) if find_spec(name) is None]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 110
add_module_names = False
toc_object_entries_show_parents = "hide"

html_math_renderer = "mathml"
html_theme = "furo"
html_title = "chainrule"
html_static_path = ["site.css", "../build/pictures.css"]
html_css_files = ["site.css", "pictures.css"]
html_search_scorer = str(Path(__file__).with_name("search.js"))
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_search_summary = False  # which a browser may not fetch from a disk
html_theme_options = {"top_of_page_buttons": []}
highlight_language = "none"
pygments_style = "default"
pygments_dark_style = "native"

SAFE = re.compile(r"(``.*?``|:[a-z:]+:`[^`]*`|`[^`]*`)", re.DOTALL)


def mark_up(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Make reStructuredText of a docstring: plain text, in which ``*`` and ``|`` are themselves.

    A table of Markdown, and what a doctest prints, is shown as it is.
    """
    text = "\n".join(lines)
    parts = re.split(r"(?m)^(>>> (?:.*\n?)+?(?=\n|\Z)|(?:\|.*(?:\n|\Z))+)", text)
    for i, part in enumerate(parts):
        if part.startswith("|"):
            parts[i] = "\n::\n\n" + re.sub(r"(?m)^", "    ", part) + "\n"
        elif not part.startswith(">>>"):
            cut = SAFE.split(part)
            cut[::2] = [
                re.sub(r"([*|])", r"\\\1", re.sub(r"(\w)_(?!\w)", r"\1\\_", p)) for p in cut[::2]
            ]
            parts[i] = "".join(cut)
    lines[:] = "".join(parts).split("\n")


def sign(
    app: Any, what: str, name: str, thing: Any, options: Any, signature: str, result: str
) -> tuple[str, str] | None:
    """Take the signature of an optimizer or schedule from its fields, not from ``__new__``."""
    if what != "class" or "**named" not in (signature or ""):
        return None
    fields = inspect.signature(thing.__init__, bound_method=True)
    return inspect.stringify_signature(fields, show_return_annotation=False), ""


def name_of(path: str) -> Any:
    """Return what the dotted `path` names; raise AttributeError or ImportError if nothing."""
    home, _, name = path.rpartition(".")
    try:
        return getattr(import_module(home), name)
    except ImportError:
        return getattr(name_of(home), name)


def find_name(app: Any, env: Any, node: Any, content: Any) -> Any:
    """Link the name of an object in the file that defines it to its public name.

    An object that is not public, but exists, is named without a link.
    """
    path = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not path.startswith("chainrule."):
        return None
    try:
        wanted = name_of(path)
    except (AttributeError, ImportError):
        return None  # which is a warning
    domain = env.domains["py"]
    for public, entry in domain.objects.items():
        same = public.rpartition(".")[2] == path.rpartition(".")[2] and not entry.aliased
        if same and entry.objtype != "module" and name_of(public) is wanted:
            return domain.resolve_xref(
                env, node["refdoc"], app.builder, entry.objtype, public, node, content
            )
    return content


def show_math(translator: Any, node: Any) -> None:
    """Write a formula as MathML, which browsers show without a script."""
    block = isinstance(node, nodes.math_block)
    formula = tex2mathml(node.astext(), as_block=block)
    translator.body.append(f'<div class="formula">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def setup(app: Any) -> None:
    app.add_html_math_renderer("mathml", (show_math, None), (show_math, None))
    app.connect("autodoc-process-docstring", mark_up)
    app.connect("autodoc-process-signature", sign)
    app.connect("missing-reference", find_name)
