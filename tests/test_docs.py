"""README and docs/: links lead somewhere, and what stands in backticks like a file of the repository is one."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.graph import ROOT

PAGES = [ROOT / "README.md", ROOT / "documents/README.md", *sorted((ROOT / "docs").glob("*.md"))]
IN_GIT = ("stages/", "profiles/", "tests/", "bench/", "docs/", "install/", "experiments/", "metrics/", "documents/")
# Files of this repository by their first folder; those of data/, models/, .cache/ and timings/ are made by the graph.
EXAMPLES = {"documents/**/*.md", "documents/big.jsonl", "documents/linked", "documents/instructions.json"}


def prose(text: str) -> str:
    """The text without its code blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose(page.read_text())):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_are_there(page: Path) -> None:
    for name in re.findall(r"`([\w./*{}-]+)`", prose(page.read_text())):
        if name.startswith(IN_GIT) and name not in EXAMPLES:
            pattern = re.sub(r"\{[^}]*\}|NAME", "*", name).rstrip("/")
            assert list(ROOT.glob(pattern)), f"{page.name}: `{name}` is not there"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_name_modules(page: Path) -> None:
    for module in re.findall(r"python -m ((?:stages|bench|profiles|install|experiments)[\w.]*)", page.read_text()):
        if not module.endswith(("NAME", ".")):
            assert find_spec(module), f"{page.name}: python -m {module}"


def test_each_stage_has_a_row_and_each_profile_is_named() -> None:
    table = (ROOT / "docs/stages.md").read_text()
    for stage in (ROOT / "stages").glob("*.py"):
        if stage.stem != "__init__":
            assert re.search(rf"^\| {stage.stem}[@ ]", table, re.M), f"docs/stages.md: no row for {stage.stem}"
    for profile in (ROOT / "profiles").glob("*.yaml"):
        assert f"`{profile.stem}`" in (ROOT / "docs/profiles.md").read_text(), profile.stem


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) < 8_000
