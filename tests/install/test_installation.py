"""Whole installations by the real uv and pip, without a network: their packages are made-up wheels in a folder."""

import ensurepip
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from install import tools
from install.command import WORK, run
from profiles.pins import ALONE, normalized
from tests.made_wheel import make_wheel

CUDA = "Requires-Dist: nvidia-made-up\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that needs torch; the folder `registry` is all that uv and pip can reach."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    extras = '[project.optional-dependencies]\ndev = ["made_tool"]\n'
    Path("pyproject.toml").write_text(f'[project]\nname = "p"\nversion = "1"\ndependencies = ["torch"]\n{extras}')
    Path("constraints.txt").write_text(f"torch==2.0\nmade_tool==1.1\nnvidia-made-up==3.0\n{ALONE}==0.1\n")
    registry = tmp_path / "registry"
    registry.mkdir()
    make_wheel(registry, "made_tool", "1.1")
    make_wheel(registry, "made_tool", "1.2")
    make_wheel(registry, "nvidia_made_up", "3.0")
    make_wheel(registry, ALONE.replace("-", "_"), "0.1", "Requires-Dist: not-to-be-had\n")
    bundled = next((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"), None)
    if bundled is None:
        pytest.skip("this Python comes without a wheel of pip")
    shutil.copy(bundled, registry)
    monkeypatch.setattr(tools, "PIP", "pip")
    for name, value in {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "uv"), "PIP_NO_INDEX": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    for name in ("UV_FIND_LINKS", "PIP_FIND_LINKS"):
        monkeypatch.setenv(name, str(registry))
    return registry


@pytest.fixture(params=["uv", "pip"])
def tool(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Either tool, uv as the one on PATH."""
    name: str = request.param
    found = shutil.which("uv")
    if name == "uv" and not found:
        pytest.skip("uv (extra dev) is not installed")
    (tmp_path / "bin").mkdir()
    if found:
        (tmp_path / "bin/uv").symlink_to(Path(found).resolve())
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin" if name == "uv" else "/usr/bin:/bin")
    return name


def there() -> dict[str, str]:
    """What stands in the environment, by its own pip."""
    listed = subprocess.run([".venv/bin/pip", "freeze"], capture_output=True, text=True, check=True).stdout
    return {normalized(name): version for name, version in (line.split("==") for line in listed.split())}


def test_the_cpu_build_comes_and_the_second_call_has_nothing_to_do(
    project: Path, tool: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_wheel(project, "torch", "2.0+cpu")
    assert run(["dev"]) == 0
    assert there() == {"torch": "2.0+cpu", "made-tool": "1.1", ALONE: "0.1"}
    told = capsys.readouterr().out
    assert f"install: {tool} brings 3 packages" in told
    assert "torch 2.0+cpu, the CPU build" in told
    assert not WORK.exists()
    assert run(["dev"]) == 0
    assert "all 3 packages are there (dev)" in capsys.readouterr().out
    # What an interruption left half installed is brought again.
    (tools.site_packages(Path(".venv")) / "made_tool-1.1.dist-info/INSTALLER").unlink()
    assert run(["dev"]) == 0
    assert f"{tool} brings 1 packages (2 of 3 are there)" in capsys.readouterr().out


def test_cuda_is_refused_unless_it_is_asked_for_and_then_stays(
    project: Path, tool: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_wheel(project, "torch", "2.0", CUDA)
    assert run(["dev"]) == 1
    told = capsys.readouterr().err
    assert "no CPU build of torch is to be had" in told
    assert f"{tool} would bring the CUDA build of torch==2.0, with 1 packages for cards" in told
    assert "make install TORCH=cuda" in told
    assert "torch" not in there()
    assert run(["--torch", "cuda", "dev"]) == 0
    assert there()["nvidia-made-up"] == "3.0"
    make_wheel(project, "torch", "2.0+cpu")
    assert run(["dev"]) == 1  # the environment's choice holds, and this registry would bring another build now
    assert "torch==2.0+cpu, which is no CUDA build" in capsys.readouterr().err
    assert run(["--torch", "cpu", "dev"]) == 0
    assert there()["torch"] == "2.0+cpu"
    (project / "torch-2.0+cpu-py3-none-any.whl").unlink()
    assert run(["--torch", "cuda", "dev"]) == 0  # a build without a label takes the place of one with
    assert there()["torch"] == "2.0"


def test_what_uv_cannot_have_pip_may_have(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv (extra dev) is not installed")
    make_wheel(project, "torch", "2.0", CUDA)
    (tmp_path / "cpu").mkdir()
    make_wheel(tmp_path / "cpu", "torch", "2.0+cpu")
    monkeypatch.setenv("PIP_FIND_LINKS", f"{project} {tmp_path / 'cpu'}")
    assert run(["dev"]) == 0
    told = capsys.readouterr().out
    assert "trying uv with PyTorch's index of CPU builds" in told
    assert "trying pip\n" in told
    assert there()["torch"] == "2.0+cpu"
    assert run(["--installer", "uv", "dev"]) == 1  # asked for, uv alone is tried


def test_an_environment_of_its_own_has_more_and_less_than_the_project(
    project: Path, tool: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_wheel(project, "torch", "2.0+cpu")
    make_wheel(
        project, "engine", "5.0", "Requires-Dist: made_tool==1.2\nRequires-Dist: torch==2.0\nRequires-Dist: unfit\n"
    )
    make_wheel(project, "unfit", "1.0", CUDA)
    beside = ["--with", "engine==5.0", "--with", "made_tool==1.2", "--without", "unfit", "--without", "nvidia-made-up"]
    assert run(beside) == 0  # another pin of made_tool than constraints.txt has
    assert there() == {"torch": "2.0+cpu", "made-tool": "1.2", "engine": "5.0", ALONE: "0.1"}
    assert run(beside) == 0
    assert "all 4 packages are there" in capsys.readouterr().out


def test_a_plan_that_fails_says_what_to_do(project: Path, tool: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dev"]) == 1  # no torch at all
    told = capsys.readouterr().err
    assert f"{tool}: working out what is needed failed: the pins of constraints.txt do not fit this Python" in told
    assert (WORK / "log.txt").read_text().startswith("$ ")
    assert run(["gup"]) == 1
    assert "no extra 'gup'" in capsys.readouterr().err


def test_uv_that_does_not_start_or_came_with_the_environment_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, code in {"shim": 127, ".venv/bin": 0, "users": 0}.items():
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "uv").write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / place / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/shim:{tmp_path}/.venv/bin:/nowhere")
    assert tools.uv_of_the_user(tmp_path / ".venv") == ""
    monkeypatch.setenv("PATH", f"{tmp_path}/shim:{tmp_path}/.venv/bin:{tmp_path}/users")
    assert tools.uv_of_the_user(tmp_path / ".venv") == f"{tmp_path}/users/uv"
    assert [way.told for way in tools.ways(Path("v"), "uv", cuda=True)] == ["uv"]
    assert [way.told for way in tools.ways(Path("v"), "", cuda=False)] == [
        "pip",
        "uv of v with PyTorch's index of CPU builds",
    ]


def test_it_starts_without_any_package_and_refuses_an_old_python() -> None:
    root = Path(__file__).parent.parent.parent
    bare = [sys.executable, "-S", "-m", "install", "--help"]
    assert "extras" in subprocess.run(bare, cwd=root, capture_output=True, text=True, check=True).stdout
    old = "import sys; sys.version_info = (3, 9, 18); import install.__main__ as command; command.main()"
    done = subprocess.run([sys.executable, "-S", "-c", old], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Python >= 3.11 is needed" in done.stderr
    assert "make install PYTHON=python3.12" in done.stderr
