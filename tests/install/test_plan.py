"""What the tools' own answers say, and when torch would come with CUDA."""

import json
from pathlib import Path

import pytest

from install.plan import Package, cuda_packages, installed, missing, read_lock, read_report, requirements

# `uv pip compile --format pylock.toml` of uv 0.13, shortened.
LOCK = """
lock-version = "1.0"
created-by = "uv"

[[packages]]
name = "Jinja2"
version = "3.1.6"
sdist = { url = "https://example.org/jinja2-3.1.6.tar.gz", size = 245115, hashes = { sha256 = "01" } }
wheels = [{ url = "https://example.org/jinja2-3.1.6-py3-none-any.whl", size = 134899, hashes = { sha256 = "85" } }]

[[packages]]
name = "rouge-score"
version = "0.1.2"
sdist = { url = "https://example.org/rouge_score-0.1.2.tar.gz", size = 17400, hashes = { sha256 = "c7" } }

[[packages]]
name = "torch"
version = "2.13.0+cpu"
wheels = [{ url = "file:///wheels/torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl", hashes = {} }]

[[packages]]
name = "numpy"
version = "2.3.5"
wheels = [{ url = "https://example.org/numpy-2.3.5-cp311-cp311-manylinux_2_28_x86_64.whl", hashes = {} }]
"""


def test_uvs_lock_tells_what_is_to_fetch() -> None:
    assert read_lock(LOCK) == [
        Package("jinja2", "3.1.6", 134899),
        Package("rouge-score", "0.1.2", 17400),
        Package("torch", "2.13.0+cpu", 0),
        Package("numpy", "2.3.5", None),
    ]


def test_pips_report_tells_no_sizes_and_may_lack_the_label() -> None:
    def entry(name: str, version: str, url: str) -> dict[str, object]:
        return {"metadata": {"name": name, "version": version}, "download_info": {"url": url}}

    report = {
        "install": [
            entry("Jinja2", "3.1.6", "https://example.org/jinja2-3.1.6-py3-none-any.whl"),
            entry("torch", "2.13.0", "file:///w/torch-2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl"),
            entry("gguf", "0.19.0", "https://example.org/gguf-0.19.0.tar.gz"),
        ]
    }
    assert read_report(json.dumps(report)) == [
        Package("jinja2", "3.1.6", None),
        Package("torch", "2.13.0+cpu", 0),
        Package("gguf", "0.19.0", None),
    ]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["torch==2.13.0+cpu", "numpy==2.3.5", "nvidia-ml-py==13.615.71", "cudax==1"], 0),
        (["torch==2.13.0", "sympy==1.14.0"], 0),  # as for a Mac
        (["torch==2.13.0", "nvidia-cublas==13.1.1.3", "cuda-toolkit==13.0.3.0", "triton==3.7.1"], 3),
        (["torch==2.13.0+cu130"], 1),
        (["torch==2.13.0+rocm7.2"], 1),
    ],
)
def test_a_build_for_cards_is_known_by_its_label_or_its_libraries(names: list[str], found: int) -> None:
    packages = [Package(name.split("==")[0], name.split("==")[1], None) for name in names]
    assert len(cuda_packages(packages)) == found


def test_requirements_of_some_extras(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text(
        '[project]\ndependencies = ["torch"]\n[project.optional-dependencies]\ndev = ["uv", "torch"]\nx = ["y"]\n'
    )
    assert requirements(project, ["dev"]) == ["torch", "uv"]
    with pytest.raises(ValueError, match=r"no extra 'gup' in pyproject\.toml: dev, x"):
        requirements(project, ["gup"])


def test_a_package_of_which_an_interruption_left_half_is_missing(tmp_path: Path) -> None:
    for name, files in {"zc_lockfile-4.0": ["INSTALLER", "RECORD"], "numpy-2.3.5": ["METADATA", "RECORD"]}.items():
        (tmp_path / f"{name}.dist-info").mkdir()
        for file in files:
            (tmp_path / f"{name}.dist-info" / file).write_text("")
    assert installed(tmp_path) == {"zc-lockfile": "4.0"}
    assert not (tmp_path / "numpy-2.3.5.dist-info").exists()
    wanted = [Package("zc-lockfile", "4.0", 1), Package("numpy", "2.3.5", 1)]
    assert missing(wanted, installed(tmp_path)) == wanted[1:]
    assert missing([Package("zc-lockfile", "4.1", 1)], installed(tmp_path))
