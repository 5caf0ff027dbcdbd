import subprocess
import tomllib
from pathlib import Path

import pytest

from profiles import pins
from tests.made_wheel import make_wheel

ROOT = Path(__file__).parent.parent


def test_the_committed_pins_are_read() -> None:
    found = pins.read_pins((ROOT / pins.CONSTRAINTS).read_text())
    assert {"torch", "vllm", "unsloth", "unsloth-zoo", "bitsandbytes", "ruamel-yaml", pins.ALONE} <= found.keys()


def test_every_required_package_is_pinned_and_the_cards_extra_has_what_messages_name() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    found = pins.read_pins((ROOT / pins.CONSTRAINTS).read_text())
    for requirement in [*project["dependencies"], *(one for extra in extras.values() for one in extra)]:
        assert pins.normalized(requirement.split("==")[0].split("[")[0]) in found, requirement
    assert {"vllm", "unsloth", "unsloth_zoo"} <= {one.split("==")[0] for one in extras["gpu"]}


@pytest.mark.parametrize("line", ["numpy>=2", "numpy", "-r other.txt", "numpy==1 ; python_version < '4'"])
def test_a_line_that_is_no_pin(line: str) -> None:
    with pytest.raises(ValueError, match=r"constraints\.txt:2: .*NAME==VERSION"):
        pins.read_pins(f"# pins\n{line}\n")


def test_a_name_pinned_twice() -> None:
    with pytest.raises(ValueError, match="each name once"):
        pins.read_pins("zc.lockfile==4.0\nzc_lockfile==4.1\n")


def test_what_floats_and_what_is_left_over() -> None:
    assert pins.differences({"a": "1", "b": "2"}, {"a": "1", "c": "3"}) == [
        "c==3 is needed and not pinned",
        "b==2 is pinned and not needed",
    ]


def test_uv_resolves_under_the_constraints_and_says_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        subprocess.run(["uv", "--version"], capture_output=True, check=True)
    except FileNotFoundError:
        pytest.skip("uv (extra dev) is not installed")
    make_wheel(tmp_path, "made_page", "1.0", "Requires-Dist: made_server<2\n")
    make_wheel(tmp_path, "made_server", "1.5")
    make_wheel(tmp_path, "made_server", "2.0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path))
    Path(pins.CONSTRAINTS).write_text("made-server==1.5\n")
    assert pins.resolve("3.12", "made_page") == {"made-page": "1.0", "made-server": "1.5"}
    Path(pins.CONSTRAINTS).write_text("made-server==2.0\n")
    with pytest.raises(ValueError, match=r"(?s)Python 3.11: made_page:.*made-server==2.0"):
        pins.resolve("3.11", "made_page")
