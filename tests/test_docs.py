"""What there is, is documented; what is documented, is there."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main

from paretext.main import app
from paretext_compression import recipes
from paretext_models.recipe import methods
from paretext_service.app import create_app
from paretext_service.metrics import Metrics
from paretext_service.protocols.schemas import REQUEST_HEADERS, RESPONSE_HEADERS
from paretext_service.settings import Settings

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))
LINKING = (*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "docker" / "README.md")
LINKING += (ROOT / "examples" / "tickets" / "README.md",)

FENCE = re.compile(r"^```.*?^```", re.M | re.S)
LINK = re.compile(r"!?\[[^]]*\]\(\s*<?([^)\s>]+)|(?:src|href)=[\"']([^\"']+)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.M)
# Where somebody once worked; written so that this file is no finding itself.
FOLDERS = ("work", "root", "home/[a-z]+", "Users/[a-z]+")
MACHINE_PATH = re.compile(rf"(?<![\w.~$@}})/-])/(?:{'|'.join(FOLDERS)})/")
REGISTRIES = ("pypi", "pythonhosted", "npmjs", "anaconda", "crates", "golang")
REGISTRY_HOST = re.compile(rf"\b(?:{'|'.join(REGISTRIES)})\.(?:org|com|io|net)\b")
TORCH_HOST = ".".join(("download", "pytorch", "org"))
TORCH_INDEX_IN = ("README.md", "docker/Dockerfile.full", "docker/README.md", "CONTRIBUTING.md")


@cache
def documented() -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def missing(names: list[str]) -> list[str]:
    """Those that do not stand in the documentation as words of their own."""
    assert names
    return [n for n in names if not re.search(rf"(?<![\w-]){re.escape(n)}(?![\w-])", documented())]


def commands() -> dict[str, Any]:
    """The subcommands by name."""
    group: Any = typer.main.get_command(app)
    return dict(group.commands)


# What there is


def test_every_setting() -> None:
    names = [f"PARETEXT_{name.upper()}" for name in Settings.model_fields]
    assert missing([*names, "PARETEXT_CACHE"]) == []


def test_every_header() -> None:
    assert missing([*REQUEST_HEADERS, *RESPONSE_HEADERS, "Authorization"]) == []


def test_every_endpoint(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"store": tmp_path}
    paths = create_app(Settings(**settings)).openapi()["paths"]
    methods_of = [f"{way.upper()} {path}" for path, ways in paths.items() for way in ways]
    wanted = [*methods_of, "GET /", "GET /docs"]
    assert [one for one in wanted if f"`{one}`" not in documented()] == []


def test_every_metric() -> None:
    families = Metrics(10.0).registry.collect()
    names = [f.name + ("_total" if f.type == "counter" else "") for f in families]
    assert missing([name for name in names if name.startswith("paretext_")]) == []


def test_every_command_recipe_and_method() -> None:
    assert missing([f"paretext {name}" for name in commands()]) == []
    assert [n for n in (*recipes.names(), *methods()) if f"`{n}`" not in documented()] == []


def test_the_reference_is_current_and_lists_nothing_else() -> None:
    generator = reference_generator()
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert written == generator.reference(), "run `python docs/reference.py`"
    assert set(generator.HEADERS) == {*REQUEST_HEADERS, "Authorization"}
    assert set(generator.ANSWERS) == set(RESPONSE_HEADERS)


def reference_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# What is documented


@pytest.mark.parametrize("page", LINKING, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_images_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = [first or second for first, second in LINK.findall(text)]
    local = [target for target in targets if not re.match("[a-z]+:", target)]
    assert [target for target in local if not leads_somewhere(page, target)] == []


def leads_somewhere(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    file = page.parent / name if name else page
    if not anchor:
        return file.exists()
    return file.is_file() and anchor in anchors(file)


def anchors(file: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = HEADING.findall(FENCE.sub("", file.read_text(encoding="utf-8")))
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


def fenced_commands(page: Path) -> list[list[str]]:
    """The words of each `paretext ...` in a code block, without variables set before it."""
    blocks = FENCE.findall(page.read_text(encoding="utf-8"))
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = [line for line in lines if re.match(r"(\w+='[^']*' |\w+=\S* |\$ )*paretext ", line)]
    words = [shlex.split(line, comments=True) for line in found]
    return [line[line.index("paretext") + 1 :] for line in words]


def test_commands_in_code_blocks_are_valid() -> None:
    found = [line for page in LINKING for line in fenced_commands(page)]
    assert found
    for name, *arguments in found:
        # Parses, checks types and what is required, and calls nothing.
        commands()[name].make_context(name, [*arguments])


def test_options_in_running_text_exist() -> None:
    by_command = {
        name: {opt for param in one.params for opt in (*param.opts, *param.secondary_opts)}
        for name, one in commands().items()
    }
    known = set().union(*by_command.values())
    for code in re.findall(r"`([^`\n]+)`", FENCE.sub("", documented())):
        words = code.split()
        named = words[1] if words[0] == "paretext" and len(words) > 1 else ""
        assert words[0] != "paretext" or named in ("", *by_command), code
        if named or words[0].startswith("--"):
            options = {word.split("=")[0] for word in words if word.startswith("--")}
            assert options <= by_command.get(named, known), code


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    texts = [page.read_text(encoding="utf-8") for page in LINKING]
    named = re.findall(r"(?:^|`)make ([a-z-]+)", "\n".join(texts), re.M)
    assert named
    assert set(named) <= targets


def test_nothing_is_left_to_be_filled_in() -> None:
    assert re.findall(r"@[A-Z_]+@|TODO|FIXME", documented()) == []


# What has no place in a repository


def tracked() -> list[Path]:
    """The text files that git knows or would take."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in names.split("\0") if name]
    return [file for file in files if file.is_file() and b"\0" not in file.read_bytes()]


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = []
    for file in tracked():
        name, text = str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")
        hits = [match.group() for match in MACHINE_PATH.finditer(text)]
        hits += [match.group() for match in REGISTRY_HOST.finditer(text)]
        hits += [TORCH_HOST] * (TORCH_HOST in text and name not in TORCH_INDEX_IN)
        found += [f"{name}: {hit}" for hit in hits]
    assert found == []
