"""Docstrings and READMEs of installed packages: a made-up distribution on sys.path, and the real default ones."""

import sys
from pathlib import Path

import pytest

from stages.lib.reading.documents import Document, Drop
from stages.lib.reading.packages import PackagesSource, packages_size, read_packages

LONG = "A sentence of documentation that says something. " * 8

MODULE = f'''"""Module. {LONG}"""
import os

raise RuntimeError("this file must not be imported")


def public():
    """Function. {LONG}

    Indented by four.
    """
    def inner():
        """Inner. {LONG}"""


def _private():
    """Private. {LONG}"""


if os.name == "posix":
    class Chosen:
        """Class. {LONG}"""

        async def method(self):
            """Method. {LONG}"""

        def short(self):
            """Too short."""

        def __init__(self):
            """Dunder. {LONG}"""
'''


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {
        "madeup/__init__.py": "",
        "madeup/zoo.py": MODULE,
        "madeup/broken.py": "def f(:\n",
        "madeup/_hidden.py": f'"""Hidden. {LONG}"""',
        "madeup-1.5.dist-info/METADATA": "Metadata-Version: 2.1\nName: madeup\nVersion: 1.5\n\n# Read me\n\nGrüße.\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    (tmp_path / "madeup-1.5.dist-info/RECORD").write_text("".join(f"{name},,\n" for name in [*files, "madeup/gone.py"]))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return tmp_path


def test_public_docstrings_and_the_readme_sorted_by_source(distribution: Path) -> None:
    read: list[int] = []
    source = PackagesSource(kind="packages", names=["madeup"], min_chars=50)
    items = list(read_packages(source, 10_000, read.append))
    documents = [item for item in items if isinstance(item, Document)]
    assert [document.source for document in documents] == [
        "madeup==1.5:README",
        "madeup==1.5:madeup.zoo",
        "madeup==1.5:madeup.zoo.Chosen",
        "madeup==1.5:madeup.zoo.Chosen.method",
        "madeup==1.5:madeup.zoo.public",
    ]
    assert documents[0].text == "# Read me\n\nGrüße.\n"
    assert documents[-1].text == f"Function. {LONG}\n\nIndented by four."
    drops = {item.source: item.reason for item in items if isinstance(item, Drop)}
    assert drops == {
        "madeup==1.5:madeup/broken.py": "unparsable_python",
        "madeup==1.5:madeup.zoo.Chosen.short": "short_docstring",
    }
    assert sum(read) == packages_size(source)


def test_no_readme_when_none_is_wanted(distribution: Path) -> None:
    source = PackagesSource(kind="packages", names=["madeup"], readme=False)
    assert all("README" not in item.source for item in read_packages(source, 10_000, print))


def test_a_package_that_is_not_installed_is_an_error_at_the_call() -> None:
    with pytest.raises(ValueError, match="'no-such-package' is not installed"):
        read_packages(PackagesSource(kind="packages", names=["peft", "no-such-package"]), 10_000, print)


def test_a_package_without_python_files_is_an_error(distribution: Path) -> None:
    (distribution / "madeup-1.5.dist-info/RECORD").write_text("madeup-1.5.dist-info/METADATA,,\n")
    with pytest.raises(ValueError, match="'madeup' lists no Python files"):
        read_packages(PackagesSource(kind="packages", names=["madeup"]), 10_000, print)


def test_the_default_packages_have_enough_and_always_the_same_to_say() -> None:
    source = PackagesSource(kind="packages", names=["accelerate", "peft"])
    items = list(read_packages(source, 1_000_000, lambda _: None))
    documents = [item for item in items if isinstance(item, Document)]
    assert len(documents) > 400
    assert sum(len(document.text) for document in documents) > 500_000
    assert any(document.source.endswith(":peft.tuners.lora.config.LoraConfig") for document in documents)
    assert items == list(read_packages(source, 1_000_000, lambda _: None))
    assert {item.reason for item in items if isinstance(item, Drop)} == {"short_docstring"}
