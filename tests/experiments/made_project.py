"""A repository with one short stage, for experiments that run it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
STAGE = """import json, os, pathlib, signal
import number
x = int(open("params.yaml").read().split(":")[1])
print("the stage says", x)
if x == 13:
    raise SystemExit("13 brings bad luck")
once = pathlib.Path(os.environ["LLMILL_CACHE"]) / f"killed_{x}"
if x == 7 and not once.exists():
    once.touch()
    parent = os.getppid()  # a shell of DVC's, or DVC itself
    command = pathlib.Path(f"/proc/{parent}/cmdline").read_bytes()
    if b"exp" not in command.split(b"\\0"):
        parent = int(pathlib.Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)
json.dump({"value": x + number.PLUS}, open("metrics.json", "w"))
"""
GRAPH = """stages:
  add:
    cmd: python stage.py
    deps: [stage.py, number.py]
    params: [x]
    metrics: [metrics.json: {cache: false}]
"""


def make(place: Path) -> Path:
    """The repository, committed."""
    place.mkdir()
    files = {"stage.py": STAGE, "number.py": "PLUS = 100\n", "dvc.yaml": GRAPH, "params.yaml": "x: 0\n"}
    for name, text in (files | {".gitignore": "/.cache/\n__pycache__\n"}).items():
        (place / name).write_text(text)
    for command in (
        "git init -q -b trunk",
        "dvc init -q",
        "git config user.name tests",
        "git config user.email tests@localhost",
        "git add -A",
        "git commit -qm A",
    ):
        run(place, *command.split())
    return place


def run(place: Path, *command: str, code: int = 0) -> str:
    """Runs a command with this environment's python and dvc first on the PATH; returns what it prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
    environment.pop("LLMILL_CACHE", None)
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def values(place: Path) -> dict[str, int]:
    """The value of each experiment that came to its end, by its name."""
    found = {}
    for ref in run(place, "git", "for-each-ref", "--format=%(refname)", "refs/exps").split():
        metrics = run(place, "git", "show", f"{ref}:metrics.json")
        found[ref.rpartition("/")[2]] = int(metrics.strip("{} ").split(":")[1])
    return found
