"""Lay out the pages of the site in a folder from which Sphinx builds it.

The Markdown pages of the repository are copied, with links to each other turned into links of
the site.  The pages of the reference are lists of the public names, whose text is that of the
docstrings.  `docs/tour.py` and the chapters of the tutorial become pages with what they print.

Run: `make docs`, which calls this and then Sphinx, and writes to `build/site`.

Read next: `docs/notebooks.py`, `docs/conf.py`.
"""

from __future__ import annotations

import os
import re
import shutil
from importlib import import_module
from pathlib import Path

from notebooks import CHAPTERS, NOTEBOOKS, notebook, page, run

from chainrule.insight.render.page import read_asset

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "build" / "site-source"

# The site's pages by section: the name of each, and the file that it comes from.
PAGES: dict[str, dict[str, str]] = {
    "Start": {
        "index": "README.md", "tour": "docs/tour.py", "commands": "docs/commands.md",
        "examples": "examples/README.md",
    },
    "Build your own neural network": {
        f"tutorial/{chapter.stem}": f"docs/tutorial/{chapter.name}" for chapter in CHAPTERS
    },
    "Guides": {
        name: f"docs/{name}.md"
        for name in (
            "table", "frames", "targets", "images", "wiring", "your-own", "catalogue", "many",
            "callbacks", "tune", "interrupted", "large-data", "workers", "engines", "scaling",
            "bad-input", "scikit-learn", "onnx", "pytorch", "serve", "doctor", "explain", "draw",
            "features", "report",
        )
    },
    "Background": {
        "architecture": "docs/architecture.md",
        "performance": "docs/performance.md",
        **({"claims": "docs/claims.md"} if (ROOT / "docs" / "claims.md").exists() else {}),
        "tables-bench": "docs/tables-bench.md",
        "bench": "bench/README.md",
        "changelog": "CHANGELOG.md",
        "contributing": "CONTRIBUTING.md",
    },
}  # fmt: skip

# The pages of the reference: the packages whose public names each lists, and other classes that
# their functions return.
REFERENCE: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "graphs": ("Tensors, graphs and gradients", ("core", "transform", "run"), ()),
    "operations": ("Operations", ("ops",), ()),
    "training": ("Training", ("train",), ()),
    "nn": ("Networks: chainrule.nn", ("nn",), ()),
    "optim": ("Optimizers: chainrule.optim", ("optim",), ()),
    "data": ("Data: chainrule.data", ("data",), ()),
    "tabular": ("Tables: chainrule.tabular", ("tabular",), ()),
    "sklearn": ("scikit-learn: chainrule.sklearn", ("sklearn",), ()),
    "insight": (
        "Explanations, drawings and reports",
        ("insight",),
        (
            "insight.drawing.draw.Drawing", "insight.explain.explanation.Explanation",
            "insight.explain.layerwise.NetworkExplanation", "insight.explain.neuron.Neuron",
            "insight.explain.attribution.Attribution", "insight.hidden.learned.Features",
            "insight.report.report.Report",
        ),
    ),
    "search": ("Search", ("search",), ("search.tuned.Tuned", "search.tuned.Tried")),
    "interop": (
        "Other libraries",
        ("interop",),
        ("interop.export.Exported", "interop.from_onnx.OnnxModel"),
    ),
    "doctor": (
        "Diagnosis", ("doctor",), ("doctor.finding.Finding", "doctor.finding.Findings"),
    ),
    "lab": (
        "The laboratory: chainrule.lab",
        (),
        (
            "lab.recipe.Recipe", "lab.recipe.healthy", "lab.breakage.Fault",
            "lab.faults.break_recipe",
        ),
    ),
}  # fmt: skip
FLOORS = tuple(floor for _, floors, _ in REFERENCE.values() for floor in floors)
PACKAGES = ("chainrule", "nn", "optim", "data", "tabular", "train", "sklearn")
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)(?=[)#])")
BLOCK = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


def linked(text: str, origin: str, places: dict[str, str]) -> str:
    """Return the Markdown of the file `origin` with its links as those of the site.

    `places` are the names of the pages by the file that they come from.
    """

    def target(match: re.Match[str]) -> str:
        file = (ROOT / origin).parent / match[1]
        name = places.get(os.path.relpath(file, ROOT))
        here = (SOURCE / places[origin]).parent
        return os.path.relpath(SOURCE / f"{name}.md" if name else file, here)

    parts = BLOCK.split(text)
    parts[1::2] = [re.sub(r"\n+```$", "\n```", part) for part in parts[1::2]]  # of doctests
    parts[::2] = [LINK.sub(target, part) for part in parts[::2]]
    return "".join(parts)


def names_by_module(packages: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the public names of floors, by the module that defines them."""
    found: dict[str, list[str]] = {}
    seen = set()
    for package in PACKAGES:
        path = package if package == "chainrule" else f"chainrule.{package}"
        module = import_module(path)
        for name in sorted(module.__all__, key=str.lower):
            thing = getattr(module, name)
            home = getattr(thing, "__module__", "")
            floor = home.split(".")[1] if home.startswith("chainrule.") else ""
            if floor in packages and id(thing) not in seen:
                found.setdefault(home, []).append(f"{path}.{name}")
                seen.add(id(thing))
    return dict(sorted(found.items()))


def described(path: str) -> str:
    """Return the directive that documents one name."""
    home, _, name = path.rpartition(".")
    thing = getattr(import_module(home), name)
    if isinstance(thing, type):
        routed = [name for name in vars(thing) if re.fullmatch(r"set_\w+_request", name)]
        left_out = f"   :exclude-members: {', '.join(routed)}\n" if routed else ""  # scikit-learn's
        return f".. autoclass:: {path}\n   :members:\n{left_out}"
    return f".. auto{'function' if callable(thing) else 'data'}:: {path}\n"


def reference(title: str, floors: tuple[str, ...], others: tuple[str, ...]) -> str:
    """Return one page of the reference, in reStructuredText."""
    parts = [f"{title}\n{'=' * len(title)}\n"]
    for home, paths in names_by_module(floors).items():
        first = (import_module(home).__doc__ or home).split("\n")[0]
        summary = re.split(r"[.:,;]", first)[0]
        parts.append(f"{summary}\n{'-' * len(summary)}\n")
        parts += [described(path) for path in paths]
    if others:
        if floors:
            parts.append(f"Results\n{'-' * 7}\n")
        parts += [described(f"chainrule.{path}") for path in others]
    return "\n".join(parts)


def modules() -> str:
    """Return the page with the docstring of every module, in the order of the folders."""
    paths = sorted((ROOT / "chainrule").rglob("*.py"))
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in paths]
    names = [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]
    # A function such as `nn.lsuv` has the name of its module.
    taken = {path for paths in names_by_module(FLOORS).values() for path in paths}
    title = "All modules"
    parts = [f"{title}\n{'=' * len(title)}\n", "What each file does, and what to read next.\n"]
    for name in names:
        parts += [f"{name}\n{'-' * len(name)}\n", f".. automodule:: {name}\n"]
        if name in taken:
            parts[-1] += "   :no-index:\n"
    return "\n".join(parts)


def tour() -> str:
    """Return the page of `docs/tour.py`, with what its parts print."""
    found = run(ROOT / "docs" / "tour.py")
    for cell in found:
        cell.text = re.sub(r"(?m)^heading\(.*\)\n+", "", cell.text)
        cell.text = re.sub(r"(?m)^(\d+\. .*?) -+$", r"## \1", cell.text)
        cell.printed = re.sub(r"\n\d+\. .*\n-+\n", "", cell.printed)
    found[0].text = re.sub(r"# (.*)", r"# The tour\n\n\1: `docs/tour.py`.", found[0].text, count=1)
    return page(found)


def lesson(chapter: Path) -> str:
    """Return the page of a chapter of the tutorial, and write its notebook."""
    found = run(chapter)
    NOTEBOOKS.mkdir(parents=True, exist_ok=True)
    book = NOTEBOOKS / f"{chapter.stem}.ipynb"
    book.write_text(notebook(found), "utf-8")
    title, _, rest = page(found).partition("\n")
    way = os.path.relpath(book, chapter.parent)  # `linked` turns it into that of the site
    return f"{title}\n\n[This chapter as a notebook]({way})\n{rest}"


def picture_colors() -> str:
    """Return the style of pictures where the reader chose the theme, not the system."""
    light, dark = re.findall(r":root \{(.*?)\}", read_asset("render/page.css"), re.DOTALL)
    themes = {"light": light, "dark": dark}
    return "".join(
        f'body[data-theme="{name}"] svg.drawing {{{colors}}}\n' for name, colors in themes.items()
    )


def main() -> None:
    """Write all pages to `SOURCE`, which is emptied first."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    SOURCE.mkdir(parents=True)
    SOURCE.with_name("pictures.css").write_text(picture_colors(), "utf-8")
    pages: dict[str, str] = {}
    places = {file: name for section in PAGES.values() for name, file in section.items()}
    for file, name in places.items():
        if file == "docs/tour.py":
            pages[f"{name}.md"] = tour()
        elif name.startswith("tutorial/"):
            pages[f"{name}.md"] = linked(lesson(ROOT / file), file, places)
        else:
            pages[f"{name}.md"] = linked((ROOT / file).read_text("utf-8"), file, places)
    for name, (title, floors, others) in REFERENCE.items():
        pages[f"reference/{name}.rst"] = reference(title, floors, others)
    pages["reference/modules.rst"] = modules()
    sections = {title: list(section) for title, section in PAGES.items()}
    sections["Reference"] = [f"reference/{name}" for name in (*REFERENCE, "modules")]
    for title, names in sections.items():
        listed = "\n".join(name for name in names if name != "index")
        pages["index.md"] += f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{listed}\n```\n"
    for name, text in pages.items():
        (SOURCE / name).parent.mkdir(exist_ok=True)
        (SOURCE / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
