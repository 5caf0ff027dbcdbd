"""What an installation would bring: packages, their sizes, and whether torch would come with CUDA."""

import json
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from profiles.pins import normalized

Torch = Literal["cpu", "cuda"]
# What a CUDA build of torch requires, and the CPU build does not. (nvidia-ml-py, which dvclive requires, only asks a
# driver what the card does.)
CUDA = re.compile(r"nvidia-(?!ml-py$).*|cuda-.*|triton|pytorch-triton.*")
CUDA_LABEL = re.compile(r"\+(cu\d|rocm|xpu)")


@dataclass(frozen=True)
class Package:
    """One file of an installation."""

    name: str  # as registries compare it
    version: str
    size: int | None  # bytes to fetch; 0: lies on this machine; None: the index does not tell

    @property
    def pin(self) -> str:
        """The requirement that brings this file and no other."""
        return f"{self.name}=={self.version}"


def requirements(project: Path, extras: Iterable[str]) -> list[str]:
    """The dependencies of a pyproject.toml and of some of its extras.

    Raises:
        ValueError: no such extra.
    """
    table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    optional: dict[str, list[str]] = table["optional-dependencies"]
    found: list[str] = list(table["dependencies"])
    for extra in extras:
        if extra not in optional:
            raise ValueError(f"no extra {extra!r} in {project.name}: {', '.join(optional)}")
        found += optional[extra]
    return sorted(set(found))


def read_lock(text: str) -> list[Package]:
    """The packages of a pylock.toml (PEP 751) for one Python and platform, as `uv pip compile` writes it."""
    packages = []
    for entry in tomllib.loads(text).get("packages", []):
        file = (entry.get("wheels") or [entry.get("sdist") or entry.get("archive") or {}])[0]
        here = "path" in file or file.get("url", "").startswith("file:")
        packages.append(Package(normalized(entry["name"]), entry["version"], 0 if here else file.get("size")))
    return packages


def read_report(text: str) -> list[Package]:
    """The packages of a report of `pip install --dry-run --report`, which tells no sizes."""
    packages = []
    for entry in json.loads(text)["install"]:
        url = entry["download_info"]["url"]
        version = entry["metadata"]["version"]
        if label := re.search(r"-\d[^-]*(\+[^-]+)-", unquote(urlsplit(url).path)):
            version = version.split("+")[0] + label[1]  # the file's name, where the metadata lack the label
        packages.append(Package(normalized(entry["metadata"]["name"]), version, 0 if url.startswith("file:") else None))
    return packages


def cuda_packages(packages: Iterable[Package]) -> list[str]:
    """The pins by which a torch for cards is known; none for a CPU build."""
    return [
        package.pin
        for package in packages
        if CUDA.fullmatch(package.name) or (package.name == "torch" and CUDA_LABEL.search(package.version))
    ]


def installed(site: Path) -> dict[str, str]:
    """Versions by name of the packages that stand whole in a site-packages folder.

    An installer writes INSTALLER and RECORD after a package's files. Metadata without them are what an interruption
    left; they are removed, or an installer would take the package for installed.
    """
    import shutil

    found = {}
    for folder in site.glob("*.dist-info"):
        name, _, version = folder.name.removesuffix(".dist-info").rpartition("-")
        if (folder / "INSTALLER").is_file() and (folder / "RECORD").is_file():
            found[normalized(name)] = version
        else:
            shutil.rmtree(folder)
    return found


def missing(packages: Iterable[Package], there: dict[str, str]) -> list[Package]:
    """Those that are not there in this version."""
    return [package for package in packages if there.get(package.name) != package.version]
