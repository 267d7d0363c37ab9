"""The house rules, checked from the source alone.

Each rule is a function from the package's modules to a list of violations, so that
the same function judges chainrule itself and, below, a few lines made up to break it.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import chainrule  # noqa: F401 - registers the operations
from chainrule.core.primitive import registry
from chainrule.nn.activations import BY_NAME

# A package imports only packages on lower floors, never one beside or above it.
FLOOR = {
    "core": 0,  # the language: spec (shape, dtype), node and graph, tensor, primitive, verify
    "ops": 1,  # the vocabulary: elementwise, reduce, shape, linalg, index, random, composite
    "transform": 2,  # graph -> graph: grad (reverse mode), simplify
    "run": 3,  # graph -> numbers: reference (NumPy) and the native compiler
    "nn": 4,  # layers, activations, wiring, losses, initializers, regularizers
    "optim": 4,  # optimizers, learning-rate schedules
    "data": 4,  # tables, scaling, encoding, splits, batches, built-in data sets
    "step": 5,  # the training step as one graph: rows, loss, metrics, update, probes
    "doctor": 6,  # finding, survey, rules, watch
    "train": 7,  # the loop, progress, history, runs
    "tabular": 8,  # from a table to a scored run
    "insight": 9,  # explain, draw, features, report
    "sklearn": 9,  # scikit-learn classifiers, regressors, transformers
    "interop": 9,  # ONNX, safetensors, TensorBoard, DLPack
    "lab": 10,  # faults, and claims as experiments
    "serve": 10,  # a run as a web service
    "search": 10,  # of settings, by many trainings
    "studio": 10,  # the web page
    "cli": 11,  # the commands
    "__init__": 12,  # the public names
    "__main__": 12,
}

# Within a package, its parts stand on floors of their own.
WINGS = {
    "run": {
        "arena": 0,
        "blas": 0,
        "reference": 0,
        "plan": 1,  # knows no compiler
        "llvm": 2,
        "xla": 2,  # beside llvm, and neither knows of the other
        "engines": 3,
        "program": 4,  # chooses among the engines
    },
    "insight": {
        "render": 0,  # pictures and pages of any content
        "row_view": 0,
        "subject": 1,  # a model or a run, as one thing
        "drawing": 2,
        "explain": 2,
        "hidden": 3,
        "report": 4,
        "notebook": 5,
        "range_finder": 5,
    },
}

# Slow or optional to import: `import chainrule` loads none of them, and a function may.
HEAVY = {
    "click", "duckdb", "jax", "llvmlite", "narwhals", "onnx", "onnxruntime", "optuna",
    "python_calamine", "rich", "safetensors", "sklearn", "starlette", "tensorboardX", "torch",
    "uvicorn",
}  # fmt: skip
# A module that loads others by name, when they are first needed, lists them in this constant,
# and the rules read it as they read imports.
LOADED = "LOADED"
# tomli is what Python 3.10 lacks, tomllib what later ones bring.
THIRD_PARTY = HEAVY | {"numpy", "tomli", "tomllib"}

BANNED_NAMES = {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
MOST_LINES = 500


@dataclass(frozen=True)
class Import:
    """One imported module, as far as it can be resolved to a module of the package."""

    target: str
    line: int
    inside_function: bool


@dataclass(frozen=True)
class Module:
    """One source file under its dotted name."""

    name: str
    source: str
    is_package: bool = False

    @property
    def package(self) -> str:
        """The part of the house this module lives in."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else "__init__"

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source, self.name)

    def imports(self, house: House) -> Iterator[Import]:
        for node, inside in walk_with_depth(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(alias.name, node.lineno, inside)
            elif isinstance(node, ast.ImportFrom):
                base = absolute(self, node)
                targets = {
                    whole if (whole := f"{base}.{alias.name}") in house else base
                    for alias in node.names
                }
                for target in sorted(targets):
                    yield Import(target, node.lineno, inside)
        for name, line in self.loaded:
            yield Import(name, line, inside_function=False)

    @cached_property
    def loaded(self) -> list[tuple[str, int]]:
        """The modules that the constant `LOADED` names, as ``module`` or ``module:name``."""
        return [
            (value.value.split(":")[0], value.lineno)
            for node in self.tree.body
            if isinstance(node, ast.Assign)
            and [ast.unparse(target) for target in node.targets] == [LOADED]
            and isinstance(node.value, ast.Dict)
            for value in node.value.values
            if isinstance(value, ast.Constant) and isinstance(value.value, str)
        ]


House = dict[str, Module]


def walk_with_depth(tree: ast.AST, inside: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    for node in ast.iter_child_nodes(tree):
        yield node, inside
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from walk_with_depth(node, inside or is_function)


def absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    here = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*here, node.module] if node.module else here)


def is_ours(target: str) -> bool:
    return target.split(".")[0] == "chainrule"


def package_of(target: str) -> str:
    return Module(target, "").package


def wing_of(target: str) -> str:
    """Return the part of its package that a module stands in, nothing for the package itself."""
    parts = target.split(".")
    return parts[2] if is_ours(target) and len(parts) > 2 else ""


# --- the rules ------------------------------------------------------------------------


def rooms_without_a_floor(house: House) -> list[str]:
    return [
        f"{module.name}: '{module.package}' is not on the table of floors"
        for module in house.values()
        if module.package not in FLOOR
    ]


def imports_not_downward(house: House) -> list[str]:
    found = []
    for module in house.values():
        here = module.package
        for imported in module.imports(house):
            there = package_of(imported.target)
            if not is_ours(imported.target) or there == here or {here, there} - FLOOR.keys():
                continue
            if FLOOR[there] >= FLOOR[here]:
                found.append(
                    f"{module.name}:{imported.line}: {here} (floor {FLOOR[here]}) "
                    f"imports {there} (floor {FLOOR[there]})"
                )
    return found


def wings_not_downward(house: House) -> list[str]:
    found = []
    for module in house.values():
        wings = WINGS.get(module.package, {})
        here = wing_of(module.name)
        if not wings or not here:
            continue
        if here not in wings:
            found.append(f"{module.name}: '{here}' is not on the table of wings")
            continue
        for imported in module.imports(house):
            there = wing_of(imported.target)
            if package_of(imported.target) != module.package or there == here:
                continue
            if wings.get(there, -1) >= wings[here]:
                found.append(f"{module.name}:{imported.line}: {here} imports {there}")
    return found


def imports_through_a_package(house: House) -> list[str]:
    """Say `from chainrule.core.tensor import Tensor`, so that a reader lands at the definition.

    A package's own `__init__` may gather names from the packages inside it.
    """
    return [
        f"{module.name}:{imported.line}: imports through {imported.target}/__init__.py"
        for module in house.values()
        for imported in module.imports(house)
        if imported.target in house
        and house[imported.target].is_package
        and not (module.is_package and imported.target.startswith(module.name + "."))
    ]


def imports_of_nothing(house: House) -> list[str]:
    return [
        f"{module.name}:{imported.line}: there is no module {imported.target}"
        for module in house.values()
        for imported in module.imports(house)
        if is_ours(imported.target) and imported.target not in house
    ]


def import_cycles(house: House) -> list[str]:
    edges = {
        module.name: {i.target for i in module.imports(house) if i.target in house}
        for module in house.values()
    }
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return [" -> ".join(reversed(error.args[1]))]
    return []


def imports_inside_functions(house: House) -> list[str]:
    found, places = [], defaultdict(set)
    for module in house.values():
        for imported in module.imports(house):
            if not imported.inside_function:
                continue
            top = imported.target.split(".")[0]
            places[module.package, top].add(module.name)
            if top not in HEAVY:
                found.append(
                    f"{module.name}:{imported.line}: imports {imported.target} inside a function"
                )
    found += [
        f"{package}: {top} is imported inside functions of {' and '.join(sorted(modules))}"
        for (package, top), modules in places.items()
        if top in HEAVY and len(modules) > 1
    ]
    return found


def imports_in_disguise(house: House) -> list[str]:
    """`import_module` hides an edge from every rule above: only lazy `__init__`s may call it, and
    modules whose constant `LOADED` shows what they load."""
    return [
        f"{module.name}:{node.lineno}: calls {ast.unparse(node.func)}"
        for module in house.values()
        if not module.is_package and not module.loaded
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).split(".")[-1] in {"import_module", "__import__"}
    ]


def relative_imports(house: House) -> list[str]:
    return [
        f"{module.name}:{node.lineno}: relative import"
        for module in house.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]


def undeclared_dependencies(house: House) -> list[str]:
    return [
        f"{module.name}:{imported.line}: {imported.target} is not a declared dependency"
        for module in house.values()
        for imported in module.imports(house)
        if not is_ours(imported.target)
        and imported.target.split(".")[0] not in THIRD_PARTY | sys.stdlib_module_names
    ]


def names_that_say_nothing(house: House) -> list[str]:
    return [
        f"{module.name}: name it after its main thing"
        for module in house.values()
        if BANNED_NAMES & set(module.name.split("."))
    ]


def names_used_twice(house: House) -> list[str]:
    """Files that bear one name are taken for one another in tracebacks and searches."""
    places = defaultdict(list)
    for module in house.values():
        if not module.is_package and "." in module.name:
            places[module.name.split(".")[-1]].append(module.name)
    return [f"{' and '.join(names)} bear one name" for names in places.values() if len(names) > 1]


def operations_listed_again(house: House) -> list[str]:
    """A constant that lists operations is a second registry, which a new one does not enter.

    What holds for some operations is a field of their records.  A table from operations to
    functions, such as a backend's kernels, is no such list.
    """
    found = []
    for module in house.values():
        if module.package == "ops":
            continue
        for node in module.tree.body:
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
                for literal in ast.walk(node.value):
                    named = _operations_in(literal)
                    if len(named) >= 3:
                        found.append(f"{module.name}:{literal.lineno}: lists {', '.join(named)}")
    return found


def _operations_in(node: ast.AST) -> list[str]:
    if isinstance(node, (ast.List, ast.Set, ast.Tuple)):
        listed = node.elts
    elif isinstance(node, ast.Dict):
        functions = (ast.Name, ast.Attribute, ast.Lambda, ast.Call)
        listed = [
            key
            for key, value in zip(node.keys, node.values, strict=True)
            if key is not None and not isinstance(value, functions)
        ]
    else:
        return []
    texts = [item.value for item in listed if isinstance(item, ast.Constant)]
    # Activations bear the names of their operations; lists of activations are other lists.
    return [text for text in texts if text in registry and text not in BY_NAME]


def missing_docstrings(house: House) -> list[str]:
    return [
        f"{module.name}: no module docstring"
        for module in house.values()
        if not (ast.get_docstring(module.tree) or "").strip()
    ]


def long_files(house: House) -> list[str]:
    return [
        f"{module.name}: {lines} lines, more than {MOST_LINES}"
        for module in house.values()
        if (lines := len(module.source.splitlines())) > MOST_LINES
    ]


RULES: list[Callable[[House], list[str]]] = [
    rooms_without_a_floor,
    imports_not_downward,
    wings_not_downward,
    imports_through_a_package,
    imports_of_nothing,
    import_cycles,
    imports_inside_functions,
    imports_in_disguise,
    relative_imports,
    undeclared_dependencies,
    names_that_say_nothing,
    names_used_twice,
    operations_listed_again,
    missing_docstrings,
    long_files,
]


# --- chainrule itself -----------------------------------------------------------------


def read_house(root: Path) -> House:
    house = {}
    for path in sorted((root / "chainrule").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        house[name] = Module(name, path.read_text("utf-8"), is_package)
    return house


def test_the_page_on_the_architecture_has_the_floors(repository: Path) -> None:
    page = (repository / "docs" / "architecture.md").read_text("utf-8")
    told = {name: int(floor) for floor, name in re.findall(r"\| (\d+) \| `chainrule/(\w+)/`", page)}
    there = {path.parent.name for path in (repository / "chainrule").glob("*/__init__.py")}
    assert told == {name: floor for name, floor in FLOOR.items() if name in there}


@pytest.fixture(scope="module")
def house(repository: Path) -> House:
    return read_house(repository)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_chainrule_keeps_the_rule(rule: Callable[[House], list[str]], house: House) -> None:
    assert rule(house) == []


def test_the_whole_house_is_read(house: House) -> None:
    assert {"core", "ops", "transform", "run", "nn", "optim", "data", "train", "cli"} <= {
        module.package for module in house.values()
    }


def test_every_folder_of_modules_is_a_package(repository: Path) -> None:
    folders = {path.parent for path in (repository / "chainrule").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_importing_chainrule_loads_nothing_heavy(repository: Path) -> None:
    code = "import sys, chainrule; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    loaded = set(answer.stdout.split())
    assert "chainrule" in loaded
    assert (HEAVY | {"torch"}) & loaded == set()


# --- the rules can fail ---------------------------------------------------------------


def build(sources: dict[str, str]) -> House:
    """Return modules named as in `core.tensor`; one named `core/` is the package core."""
    house = {}
    for key, source in sources.items():
        name = ".".join(["chainrule", *key.strip("/").split(".")]).rstrip(".")
        house[name] = Module(name, source, key.endswith("/"))
    return house


SOUND = {
    "/": '"""Doc."""\nfrom chainrule import core\nfrom chainrule.nn import Dense\n',
    "core/": '"""Doc."""\nfrom chainrule.core.tensor import Tensor\n',
    "core.tensor": '"""Doc."""\nimport math\nimport numpy as np\nfrom chainrule.core import spec\n',
    "core.spec": '"""Doc."""\n',
    "nn/": '"""Doc."""\nfrom chainrule.nn.layers import Dense\n',
    "nn.layers": '"""Doc."""\nfrom chainrule.core import tensor\nimport chainrule.ops.add\n',
    "ops/": '"""Doc."""\n',
    "ops.add": '"""Doc."""\nimport chainrule.core.spec\n',
    "train/": '"""Doc."""\n',
    "train.loop": '"""Doc."""\nfrom chainrule.nn.layers import Dense\n',
    "data/": '"""Doc."""\n',
    "data.table": '"""Doc."""\ndef read():\n    import duckdb\n    from duckdb import sql\n',
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_sound_house_passes(rule: Callable[[House], list[str]]) -> None:
    assert rule(build(SOUND)) == []


@pytest.mark.parametrize(
    ("rule", "name", "lines", "message"),
    [
        (rooms_without_a_floor, "attic.box", "", "'attic' is not on the table"),
        (imports_not_downward, "core.up", "import chainrule.nn.layers", "core (floor 0) imports"),
        (imports_not_downward, "nn.side", "from chainrule.data import table", "data (floor 4)"),
        (imports_not_downward, "nn.side", "from chainrule.train.loop import f", "train (floor 7)"),
        (imports_not_downward, "core.up", "from ..nn import layers", "nn (floor 4)"),
        (imports_not_downward, "nn.root", "import chainrule", "__init__ (floor 12)"),
        (
            imports_not_downward,
            "core.up",
            "if TYPE_CHECKING:\n    from chainrule.nn.layers import Dense",
            "nn (floor 4)",
        ),
        (wings_not_downward, "insight.render.a", "import chainrule.insight.report.b", "render imp"),
        (wings_not_downward, "insight.explain.a", "import chainrule.insight.drawing.b", "explain"),
        (wings_not_downward, "insight.attic", "", "'attic' is not on the table of wings"),
        (imports_through_a_package, "nn.a", "from chainrule.core import Tensor", "core/__init__"),
        (imports_through_a_package, "nn.a", "from chainrule.nn import Dense", "nn/__init__"),
        (imports_through_a_package, "train/", "from chainrule.nn import Dense", "nn/__init__"),
        (imports_of_nothing, "nn.a", "from chainrule.core.tensr import Tensor", "core.tensr"),
        (import_cycles, "core.spec", "from chainrule.core import tensor", "core.tensor -> "),
        (import_cycles, "core.spec", "def f():\n    import chainrule.core.tensor", "core.spec"),
        (imports_inside_functions, "nn.a", "def f():\n    import math", "imports math inside"),
        (imports_inside_functions, "nn.a", "f = lambda: g\nasync def g(): import re", "re inside"),
        (imports_inside_functions, "data.b", "def f():\n    import duckdb", "data: duckdb"),
        (imports_in_disguise, "nn.a", "importlib.import_module('x')", "importlib.import_module"),
        (
            imports_not_downward,
            "nn.a",
            "LOADED = {'x': 'chainrule.data.table:Table'}",
            "data (floor 4)",
        ),
        (imports_of_nothing, "nn.a", "LOADED = {'x': 'chainrule.nn.gone'}", "no module"),
        (imports_in_disguise, "nn.a", "__import__('x')", "__import__"),
        (relative_imports, "nn.a", "from . import layers", "relative import"),
        (undeclared_dependencies, "nn.a", "from pandas.core import frame", "pandas.core is not"),
        (names_that_say_nothing, "nn.utils", "", "nn.utils"),
        (names_that_say_nothing, "nn.helpers.a", "", "nn.helpers.a"),
        (names_used_twice, "nn.table", "", "chainrule.data.table and chainrule.nn.table bear"),
        (operations_listed_again, "nn.a", "KEPT = {'sum', 'max', 'exp'}", "lists sum, max, exp"),
        (operations_listed_again, "nn.a", "KEPT = {'add': 1, 'sub': 1, 'mul': 2}", "lists add"),
        (missing_docstrings, "nn.a", "", "no module docstring"),
        (missing_docstrings, "nn.a", "''' '''", "no module docstring"),
        (long_files, "nn.a", "\n" * (MOST_LINES + 1), "501 lines"),
    ],
)
def test_a_broken_rule_is_found(
    rule: Callable[[House], list[str]], name: str, lines: str, message: str
) -> None:
    violations = rule(build({**SOUND, name: lines}))
    assert len(violations) == 1
    assert message in violations[0]


# --- the public files -----------------------------------------------------------------

PUBLIC = ("chainrule", "docs", "tests", "bench", "examples", ".ci", ".github")
TEXT = {
    "", ".cfg", ".css", ".csv", ".html", ".js", ".json", ".md", ".py", ".rst", ".sh", ".svg",
    ".toml", ".txt", ".yaml", ".yml",
}  # fmt: skip
# Written in pieces, or this file would accuse itself.
FOREIGN = re.compile(
    r"(?<![\w.)}/-])/(?:wo" + r"rk|ro" + r"ot|home/\w+|Users/\w+)/|helper" + r"[ -]session",
    re.IGNORECASE,
)


def foreign_words(text: str) -> list[str]:
    return [
        f"line {number}: {match.group()}"
        for number, line in enumerate(text.splitlines(), 1)
        for match in FOREIGN.finditer(line)
    ]


def public_files(root: Path) -> Iterator[Path]:
    yield from (path for path in root.iterdir() if path.is_file() and path.name != ".git")
    for folder in PUBLIC:
        yield from (path for path in (root / folder).rglob("*") if path.is_file())


def test_public_files_speak_of_the_project_alone(repository: Path) -> None:
    skipped = {"__pycache__", "results"}
    found = {
        str(path.relative_to(repository)): words
        for path in public_files(repository)
        if path.suffix in TEXT and not skipped & set(path.relative_to(repository).parts)
        if (words := foreign_words(path.read_text("utf-8", errors="replace")))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("text", "foreign"),
    [
        ("cd /wo" + "rk/main", True),
        ("open('/ro" + "ot/.cache/x')", True),
        ("/home/" + "ada/data.csv", True),
        ("a Helper" + " session said so", True),
        ("https://example.org/work/1", False),
        ("network/root/leaf, and ./work/here", False),
        ("/usr/share/datasets", False),
    ],
)
def test_foreign_words_are_found(text: str, foreign: bool) -> None:
    assert bool(foreign_words(text)) is foreign
