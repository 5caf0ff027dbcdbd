"""`dvc queue` on a stage of this repository: an experiment runs the code and the params of when it was queued."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.experiments.made_project import ROOT, run

SPLITTERS = "stages/lib/splitting/splitters.py"
LINE = "return best_boundary(self.text, low, high, high)"  # where a chunk ends: as late as it may
EARLY = LINE.replace("high, high", "high, low")
BROKEN = "raise RuntimeError('of neither experiment')"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of HEAD of which dvc.lock names nothing, and whose chunks are of the licence."""
    place = tmp_path / "clone"
    run(ROOT, "git", "clone", "--quiet", str(ROOT), str(place))
    run(place, "git", "config", "user.email", "tests@localhost")
    run(place, "git", "config", "user.name", "tests")
    params = yaml.safe_load((place / "params.yaml").read_text())
    shutil.copy(ROOT / "LICENSE", place / "documents/licence.md")
    params["chunk"]["sources"] = [{"kind": "files", "patterns": ["documents/licence.md"]}]
    (place / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    run(place, "git", "rm", "--quiet", "dvc.lock")
    run(place, "git", "add", "--all")
    run(place, "git", "commit", "--quiet", "--message", "Chunk alone")
    return place


def edit(place: Path, new: str) -> None:
    """Writes another line of code for the committed one."""
    run(place, "git", "checkout", "--quiet", SPLITTERS)
    text = (place / SPLITTERS).read_text()
    assert text.count(LINE) == 1
    (place / SPLITTERS).write_text(text.replace(LINE, new))


def chunks_of(place: Path, chars: int) -> int:
    """What the stage itself makes in this directory."""
    params = yaml.safe_load((place / "params.yaml").read_text())
    (place / "params.yaml").write_text(yaml.safe_dump(params | {"chunk": params["chunk"] | {"chunk_chars": chars}}))
    run(place, "env", f"PYTHONPATH={place}", "python", "-m", "stages.chunk")
    return int(json.loads((place / "metrics/chunk.json").read_text())["chunk"]["chunks"])


def wait_for(place: Path, names: set[str], seconds: float = 240) -> dict[str, str]:
    """The refs of experiments, when all are there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        listed = run(place, "git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
        refs = {ref.rpartition("/")[2]: ref for ref in listed if ref.rpartition("/")[2] in names}
        if refs.keys() == names:
            return refs
        time.sleep(1)
    raise AssertionError(run(place, "dvc", "queue", "status"))


@pytest.mark.landing
@pytest.mark.slow
def test_a_queued_experiment_runs_the_code_and_params_it_was_queued_with(clone: Path, tmp_path: Path) -> None:
    expected = {}
    for name, code, chars in (("late", LINE, 400), ("early", EARLY, 400), ("long", EARLY, 900)):
        edit(clone, code)
        run(clone, "dvc", "exp", "run", "--queue", "chunk", "--name", name, "-S", f"chunk.chunk_chars={chars}")
        copy = tmp_path / name
        shutil.copytree(clone, copy, ignore=shutil.ignore_patterns(".dvc", ".git"))
        expected[name] = chunks_of(copy, chars)
    assert len(set(expected.values())) == 3, expected
    edit(clone, BROKEN)
    try:
        # Its workers keep stdout: a pipe would be open until they end.
        dvc = str(Path(sys.executable).with_name("dvc"))
        subprocess.run([dvc, "queue", "start", "-j", "2"], cwd=clone, stdout=subprocess.DEVNULL, check=True)
        refs = wait_for(clone, set(expected))
    finally:
        run(clone, "dvc", "queue", "stop", "--kill")
    made = {name: json.loads(run(clone, "git", "show", f"{ref}:metrics/chunk.json")) for name, ref in refs.items()}
    assert {name: metrics["chunk"]["chunks"] for name, metrics in made.items()} == expected
    assert EARLY in run(clone, "git", "show", f"{refs['early']}:{SPLITTERS}")
    assert BROKEN in (clone / SPLITTERS).read_text()
