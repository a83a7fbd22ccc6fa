"""Who may import whom, what files may be called, and who reads the environment."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "paretext_models": ROOT / "models" / "paretext_models",
    "paretext_compression": ROOT / "compression" / "paretext_compression",
    "paretext_service": ROOT / "service" / "paretext_service",
    "paretext": ROOT / "cli" / "paretext",
}
# Which of our other packages each may import.
ARROWS: dict[str, set[str]] = {
    "paretext_models": set(),
    "paretext_compression": {"paretext_models"},
    "paretext_service": {"paretext_models"},
    "paretext": {"paretext_models", "paretext_compression", "paretext_service"},
}
BUILDING = {"torch", "transformers", "optimum", "onnx", "datasets", "safetensors", "pyarrow"}
BUILDING |= {"scipy", "sklearn", "matplotlib", "pandas"}
# Imported only when they are needed: the first by a recipe's check, the others by a build.
HEAVY = sorted(BUILDING | {"jsonschema"})
VAGUE_NAME = re.compile(r"(^|_)(managers?|helpers?|utils?|base|common|factory|handlers?)$")
# Sets a variable that a library reads; reads none.
SETS_THE_ENVIRONMENT = ROOT / "cli" / "paretext" / "extras.py"


@dataclass(frozen=True)
class Import:
    """A module that a file imports; `at_once` if importing the file does."""

    file: Path
    line: int
    module: str
    at_once: bool

    @property
    def package(self) -> str:
        return self.module.split(".")[0]

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"


def imports_of(file: Path) -> list[Import]:
    return list(_imports(file, ast.parse(file.read_text(encoding="utf-8")), at_once=True))


def _imports(file: Path, node: ast.AST, *, at_once: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(file, node.lineno, alias.name, at_once)
    if isinstance(node, ast.ImportFrom) and not node.level:
        # `from paretext import build` and `import paretext.build` are the same to us.
        yield Import(file, node.lineno, node.module or "", at_once)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        at_once = False
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        at_once = False
    for child in ast.iter_child_nodes(node):
        yield from _imports(file, child, at_once=at_once)


def package_imports(package: str) -> list[Import]:
    found = [one for file in PACKAGES[package].rglob("*.py") for one in imports_of(file)]
    assert found
    return found


def listed(imports: list[Import]) -> list[str]:
    return [str(one) for one in imports]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_follow_the_arrows(package: str) -> None:
    forbidden = PACKAGES.keys() - ARROWS[package] - {package}
    assert listed([one for one in package_imports(package) if one.package in forbidden]) == []


def test_benchmarks_run_the_command_instead_of_importing_it() -> None:
    found = [one for file in (ROOT / "benchmarks").glob("*.py") for one in imports_of(file)]
    assert listed([one for one in found if one.package == "paretext"]) == []


def test_serving_imports_nothing_that_only_building_needs() -> None:
    found = package_imports("paretext_service") + package_imports("paretext_models")
    networks = PACKAGES["paretext_models"] / "networks"
    beside = [one for one in found if networks not in one.file.parents]
    assert listed([one for one in beside if one.package in BUILDING]) == []
    assert {one.package for one in found if one not in beside} & BUILDING == {"torch"}


def test_the_command_line_imports_what_builds_only_when_called() -> None:
    building = BUILDING | {"paretext_compression"}
    found = package_imports("paretext")
    assert listed([one for one in found if one.at_once and one.package in building]) == []


def test_the_top_folders_are_not_packages() -> None:
    for folder in ("models", "compression", "service", "cli", "tests"):
        assert not (ROOT / folder / "__init__.py").exists(), folder
    # The standard library has a package of that name, and gzip imports it.
    assert not (ROOT / "tests" / "compression").exists()


def test_no_file_is_named_after_nothing() -> None:
    folders = [*PACKAGES.values(), ROOT / "tests", ROOT / "benchmarks", ROOT / "docker"]
    files = [file for folder in folders for file in folder.rglob("*.py")]
    assert [str(file) for file in files if VAGUE_NAME.search(file.stem)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_only_settings_read_the_environment(package: str) -> None:
    readers = {
        file
        for file in PACKAGES[package].rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute | ast.Name | ast.alias) and _is_environment(node)
    }
    assert {file for file in readers if file.name != "settings.py"} <= {SETS_THE_ENVIRONMENT}


def _is_environment(node: ast.Attribute | ast.Name | ast.alias) -> bool:
    names = {ast.Attribute: "attr", ast.Name: "id", ast.alias: "name"}
    return getattr(node, names[type(node)]) in ("environ", "environb", "getenv", "getenvb")


@pytest.mark.parametrize("module", ["paretext_service.app", "paretext.main"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
