"""How much an installation brings, in MB to fetch and GB on the disk, as far as the tools tell."""

from collections.abc import Sequence

from install.plan import Package, cuda_packages
from install.tools import Way

# Of the extras of `make install` with the CPU build, on Linux x86-64 and Python 3.11 (docs/install.md has how they were
# measured). pip tells no sizes, and uv none on the disk.
FETCHED_MB, ON_DISK_GB = 930, 3.1


def whole_default(packages: Sequence[Package], lacking: Sequence[Package], extras: Sequence[str]) -> bool:
    """Whether this is the first `make install`, of which the sizes were measured."""
    return "dev" in extras and len(lacking) == len(packages) and not cuda_packages(packages)


def expected_megabytes(
    way: Way, packages: Sequence[Package], lacking: Sequence[Package], extras: Sequence[str]
) -> float:
    """MB to fetch, nothing being cached; 0: not known."""
    if way.tool == "uv":
        return sum(package.size or 0 for package in lacking) / 1e6
    here = any(package.size == 0 for package in lacking)
    return FETCHED_MB if whole_default(packages, lacking, extras) and not here else 0


def summary(way: Way, packages: Sequence[Package], lacking: Sequence[Package], extras: Sequence[str]) -> str:
    """What is done, with which tool, and how much it brings."""
    if not lacking:
        return f"all {len(packages)} packages are there ({', '.join(extras) or 'no extra'})"
    text = f"{way.told} brings {len(lacking)} packages"
    if len(lacking) < len(packages):
        text += f" ({len(packages) - len(lacking)} of {len(packages)} are there)"
    if megabytes := expected_megabytes(way, packages, lacking, extras):
        text += f", {megabytes:.0f} MB to fetch" if way.tool == "uv" else f", about {megabytes:.0f} MB to fetch"
        untold = [package.name for package in lacking if package.size is None] if way.tool == "uv" else []
        text += f" and {', '.join(untold)}, whose size is not told" if untold else ""
        text += f" (less what the cache of {way.tool} has)"
    text += f", {ON_DISK_GB} GB on the disk" if whole_default(packages, lacking, extras) else ""
    torch = next((package for package in packages if package.name == "torch"), None)
    return text + (
        f"; torch {torch.version}, the {'CUDA' if cuda_packages(packages) else 'CPU'} build" if torch else ""
    )
