"""Every column of docs/families.md holds for every family; the page is what the command prints."""

import re
from collections.abc import Callable

import pytest

from tests import families
from tests.family_checks import CHECKS, SLOW
from tests.graph import ROOT

COLUMNS = [
    pytest.param(check, id=column, marks=[pytest.mark.slow] if column in SLOW else [])
    for column, check in CHECKS.items()
]


@pytest.mark.parametrize("name", families.FAMILIES)
@pytest.mark.parametrize("check", COLUMNS)
def test_family(name: str, check: Callable[[str], str]) -> None:
    assert isinstance(check(name), str)  # a check asserts what it compares, and returns what is to be said of it


def test_the_page_has_a_row_for_each_family_and_a_column_for_each_check() -> None:
    page = (ROOT / "docs/families.md").read_text()
    head = re.search(r"^\| family \|.*$", page, re.M)
    assert head
    assert all(f"| {column} " in head[0] for column in CHECKS)
    assert set(families.FAMILIES) <= set(re.findall(r"^\| (\w+) \|", page, re.M))
