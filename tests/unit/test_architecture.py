"""The import table in docs/explanation/architecture.md, held against the code."""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "architecture.md"
PACKAGES = ("pipeline", "stages")
ALL = "all of the above"
DYNAMIC = {"stages.__main__": "it picks a kind by its name from the table of kinds"}
"""Modules that import by a name known only when they run, and why they must."""


@dataclass(frozen=True)
class Row:
    """One row of the table: these names, and everything below them, may import `allowed` and no other of our packages."""

    names: tuple[str, ...]
    allowed: tuple[str, ...]
    standard_library_only: bool


@dataclass(frozen=True)
class Import:
    """`target` is a module, as exactly as can be known; None if it is only known when the code runs."""

    module: str
    line: int
    target: str | None


def read_table(page: str) -> list[Row]:
    """Read the rows of the table whose header begins with `Package`. `ALL` stands for
    all of `pipeline` that is not below the row's own package."""
    lines = page.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| Package |")) + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        names, _, allowed = (cell.strip() for cell in line.strip("|").split("|"))
        rows.append(
            Row(tuple(re.findall(r"`([^`]+)`", names)), tuple(re.findall(r"`([^`]+)`", allowed)), "standard" in allowed)
        )
    return [
        replace(row, allowed=(*row.allowed, *_all(row, rows))) if ALL in lines[start + at] else row
        for at, row in enumerate(rows)
    ]


def _all(row: Row, rows: list[Row]) -> list[str]:
    names = [name for each in rows for name in each.names if name.split(".")[0] == "pipeline"]
    return [name for name in names if not f"{name}.".startswith(f"{row.names[0]}.")]


def modules_below(root: Path) -> dict[str, Path]:
    """Name every module of our packages below `root`."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(module: str, path: Path, modules: set[str]) -> list[Import]:
    """List every import of a module, wherever it stands."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [Import(module, node.lineno, name.name) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, module, is_package=path.name == "__init__.py")
            for name in node.names:
                full = f"{base}.{name.name}"
                found.append(Import(module, node.lineno, full if full in modules else base))
        elif isinstance(node, ast.Call) and _name(node.func) in {"import_module", "__import__"}:
            found.append(Import(module, node.lineno, _named(node.args[0]) if node.args else None))
    return found


def _base(node: ast.ImportFrom, module: str, *, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parents = module.split(".")[: None if is_package else -1]
    parents = parents[: len(parents) - node.level + 1]
    return ".".join([*parents, *([node.module] if node.module else [])])


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _named(argument: ast.expr) -> str | None:
    """Give the module that an argument names, or the package where an f-string like f"package.{name}" looks for one."""
    constant = argument.values[0] if isinstance(argument, ast.JoinedStr) and argument.values else argument
    if not (isinstance(constant, ast.Constant) and isinstance(constant.value, str)):
        return None
    if constant is argument:
        return constant.value
    package, dot, _ = constant.value.rpartition(".")
    return package if dot and package not in PACKAGES else None


def row_of(module: str, rows: list[Row]) -> Row | None:
    """Give the row that names the module or the nearest package above it. A top package's row is for itself alone."""
    while module:
        for row in rows:
            if module in row.names:
                return row
        module = module.rpartition(".")[0]
        if module in PACKAGES:
            return None
    return None


def violations(root: Path, rows: list[Row]) -> list[str]:
    """Say which imports below `root` the table does not allow, and which modules it does not know."""
    modules = modules_below(root)
    said = []
    for module, path in modules.items():
        row = row_of(module, rows)
        if row is None:
            said.append(f"{module}: no row of the table covers it")
            continue
        for each in imports_of(module, path, set(modules)):
            reason = _reason(each, row, rows)
            if reason:
                said.append(f"{path.relative_to(root)}:{each.line}: {reason}")
    return said


def _reason(each: Import, row: Row, rows: list[Row]) -> str | None:
    if each.target is None:
        return None if each.module in DYNAMIC else "imports by a name that is only known when it runs"
    top = each.target.partition(".")[0]
    if top not in PACKAGES:
        foreign = row.standard_library_only and top not in sys.stdlib_module_names
        return f"imports {each.target}, but may use the standard library only" if foreign else None
    target = row_of(each.target, rows)
    if target is row or (target is not None and set(target.names) & set(row.allowed)):
        return None
    return f"{each.module} must not import {each.target}"


def cycle(rows: list[Row]) -> list[str]:
    """Give the names along one cycle between rows, or nothing."""
    done: set[Row] = set()

    def visit(row: Row, path: list[Row]) -> list[str]:
        if row in path:
            return [each.names[0] for each in [*path[path.index(row) :], row]]
        if row in done:
            return []
        for name in row.allowed:
            target = row_of(name, rows)
            found = visit(target, [*path, row]) if target else []
            if found:
                return found
        done.add(row)
        return []

    return next((found for row in rows if (found := visit(row, []))), [])


ROWS = read_table(PAGE.read_text(encoding="utf-8"))


def test_every_import_is_one_that_the_table_allows() -> None:
    assert violations(ROOT, ROWS) == []


def test_the_table_names_only_what_exists() -> None:
    modules = modules_below(ROOT)
    named = {name for row in ROWS for name in (*row.names, *row.allowed)}
    assert sorted(named - set(modules)) == []


def test_the_table_has_no_cycle() -> None:
    assert cycle(ROWS) == []


# The rules themselves, on a tree made for it.

TABLE = """
| Package | What | May import |
|---|---|---|
| `pipeline` | x | standard library only |
| `pipeline.engine`, `pipeline.attempt` | x | `stages.contract` |
| `stages` | x | standard library only |
| `stages.contract` | x | standard library only |
| `stages.build` | x | `stages.contract` |
| `stages.deploy` | x | `stages.contract` |

| Package | another table | `pipeline.cli` |
"""


@pytest.mark.parametrize(
    ("module", "code", "reason"),
    [
        ("stages.build", "import pipeline.engine", "stages.build must not import pipeline.engine"),
        ("stages.build", "from stages import deploy", "stages.build must not import stages.deploy"),
        ("stages.build", "from stages.deploy import apply", "stages.build must not import stages.deploy"),
        ("stages.build.images", "from ..deploy import apply", "stages.build.images must not import stages.deploy"),
        ("stages.build.images", "def f():\n    import stages.deploy.x", "must not import stages.deploy.x"),
        ("stages.build", "if TYPE_CHECKING:\n    import pipeline", "stages.build must not import pipeline"),
        ("stages.build", "import importlib\nimportlib.import_module('stages.deploy')", "must not import stages.deploy"),
        ("stages.build", "import_module(f'stages.deploy.{x}')", "must not import stages.deploy"),
        ("stages.build", "import_module(f'stages.{x}')", "imports by a name that is only known when it runs"),
        ("stages.build", "__import__(name)", "imports by a name that is only known when it runs"),
        ("stages.contract", "import yaml", "imports yaml, but may use the standard library only"),
        ("stages.new", "", "stages.new: no row of the table covers it"),
    ],
)
def test_what_the_table_forbids_is_found(tmp_path: Path, module: str, code: str, reason: str) -> None:
    _tree(tmp_path, {"pipeline.engine": "", "stages.deploy": "", module: code})
    found = violations(tmp_path, read_table(TABLE))
    assert len(found) == 1
    assert reason in found[0]


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("pipeline.engine", "from pipeline.attempt import attempt\nfrom stages import contract\nimport yaml"),
        (
            "stages.build",
            "from stages.build.images import x\nfrom . import images\nimport_module(f'stages.build.{x}')\nfrom stages.contract import Result",
        ),
        ("stages.contract", "import json\nfrom __future__ import annotations\nimport os.path"),
    ],
)
def test_what_the_table_allows_passes(tmp_path: Path, module: str, code: str) -> None:
    _tree(tmp_path, {"pipeline.attempt": "", "stages.build.images": "", "stages.contract": "", module: code})
    assert violations(tmp_path, read_table(TABLE)) == []


def test_a_cycle_in_the_table_is_found() -> None:
    rows = [Row(("a",), ("b",), standard_library_only=False), Row(("b",), ("a",), standard_library_only=False)]
    assert cycle(rows) == ["a", "b", "a"]


def _tree(root: Path, modules: dict[str, str]) -> None:
    """Write modules; one that others stand below, or that is above one, is a package."""
    packages = {module.rpartition(".")[0] for module in modules} | {"pipeline", "stages"}
    for module, code in {**dict.fromkeys(packages, ""), **modules}.items():
        path = root.joinpath(*module.split("."))
        if module in packages:
            path.mkdir(parents=True, exist_ok=True)
            (path / "__init__.py").write_text(code)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".py").write_text(code)
