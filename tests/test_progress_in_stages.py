"""Each stage says that it moves: at once, before what it imports, and part by part, in a log and on a terminal."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.lib.core.records import write_jsonl
from tests.graph import ROOT, STAGES
from tests.terminal import run_on_terminal, screen

STAGE = [sys.executable, "-m", "stages.near_pairs", "minilm-l6"]
COUNTED = re.compile(r"near pairs minilm-l6: +\d+% .*\[\d+:\d\d<\d+:\d\d, +[\d.]+k?token/s\]")


def begun(stage: str) -> tuple[int, list[str]]:
    """Where in a stage's script it begins: the statement's place, and the parts that it names."""
    body = ast.parse((ROOT / f"stages/{stage}.py").read_text()).body
    for place, statement in enumerate(body):
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'":
            (call,) = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
            assert ast.unparse(call.func) == "progress.begin"
            name, parts = map(ast.literal_eval, call.args)
            assert name == stage
            return place, parts
    raise AssertionError(f"{stage} does not begin")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_begins_before_its_imports(stage: str) -> None:
    place, parts = begun(stage)
    body = ast.parse((ROOT / f"stages/{stage}.py").read_text()).body
    assert [ast.unparse(statement) for statement in body[1:place]] == ["from stages.lib.core import progress"]
    assert parts


@pytest.mark.parametrize("stage", STAGES)
def test_the_parts_are_the_laps_of_its_stopwatch(stage: str) -> None:
    _, parts = begun(stage)
    tree = ast.parse((ROOT / f"stages/{stage}.py").read_text())
    laps = [
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "lap"
        and isinstance(node.args[0], ast.Constant)
    ]
    planned = {
        part.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Stopwatch" and len(node.args) == 2
        for part in ast.walk(node.args[1])
        if isinstance(part, ast.Constant)
    }
    assert set(laps) <= (planned or set(parts))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with few chunks, which near_pairs embeds by the real model."""
    place = tmp_path_factory.mktemp("project")
    for name in ("stages", "params.yaml", "dvc.yaml"):
        (place / name).symlink_to(ROOT / name)
    chunks = [{"id": f"c{n}", "text": f"Part {n} of a text. " + f"It goes on about {n}. " * 20} for n in range(400)]
    write_jsonl(place / "data/chunks/chunks.jsonl", chunks)
    return place


@pytest.mark.landing
@pytest.mark.slow
def test_a_stage_moves_in_a_log(project: Path) -> None:
    done = subprocess.run(STAGE, cwd=project, capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert lines[0] == "near_pairs minilm-l6 1/5 imports [00:00<?]"
    assert any(COUNTED.search(line) for line in lines), done.stderr
    assert "\r" not in done.stderr and "\x1b" not in done.stderr
    assert all(line.startswith("near_pairs minilm-l6 ") for line in lines), done.stderr
    assert len(done.stdout.splitlines()) == 1 and done.stdout.startswith("near_pairs minilm-l6: 400 chunks -> all kept")


@pytest.mark.slow
def test_a_stage_moves_on_a_terminal_and_leaves_what_it_said(project: Path) -> None:
    shutil.rmtree(project / ".cache", ignore_errors=True)
    code, written = run_on_terminal(STAGE, project)
    assert code == 0
    assert re.search(r"near_pairs minilm-l6 1/5 imports \[00:00<", written)
    assert re.search(r"near pairs minilm-l6: +\d+%\|.+\[\d+:\d\d<\d+:\d\d, +[\d.]+k?token/s\]", written)
    (said,) = [line for line in screen(written) if line]
    assert said.startswith("near_pairs minilm-l6: 400 chunks -> all kept")
