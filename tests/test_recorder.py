"""The recorder sees what a stage's processes read and write, and the comparison says what dvc.yaml lacks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.graph import ROOT
from tests.recorded import Listed, Record, differences, read_records

STAGE = """
import glob, json, multiprocessing, sys
from pathlib import Path
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

def work(path):
    Path(path).read_text()

if __name__ == "__main__":
    from stages.lib.other import VALUE
    sys.audit("llmill.read", "params.yaml", "toy.key")
    multiprocessing.get_context("spawn").Process(target=work, args=["data/by_a_worker.txt"]).start()
    Path("data/out").mkdir()
    temporary = Path("data/.out.json.tmp")
    temporary.write_text("{}")
    temporary.rename("data/out/out.json")
    save_file({"a": np.zeros(2)}, "data/out/a.safetensors")
    with safe_open("data/in.safetensors", "numpy") as file:
        file.keys()
    with open("data/scratch", "w") as file:
        file.write("gone")
    Path("data/scratch").unlink()
    np.load("data/in.npy", mmap_mode="r")
    glob.glob("data/listed/*")
    Path("data/.whole.tmp").mkdir()
    Path("data/.whole.tmp/part.json").write_text("{}")
    assert [file.read_text() for file in Path("data/.whole.tmp").iterdir()]
    Path("data/.whole.tmp").rename("data/whole")
"""


def test_the_recorder_sees_what_a_stage_and_its_workers_do(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    for file, text in {
        "stages/__init__.py": "",
        "stages/toy.py": STAGE,
        "stages/lib/__init__.py": "",
        "stages/lib/other.py": "VALUE = 1\n",
        "data/by_a_worker.txt": "text",
        "data/listed/nothing.txt": "",
    }.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    save_file({"a": np.zeros(2)}, tmp_path / "data/in.safetensors")
    np.save(tmp_path / "data/in.npy", np.zeros(2))
    record = tmp_path.with_name("record")
    record.mkdir()
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests/recorder"), "LLMILL_RECORD": str(record)}
    for command in (["-m", "stages.toy", "one", "two"], ["-c", "open('data/in.npy', 'rb')"]):  # the second is no stage
        subprocess.run([sys.executable, *command], cwd=tmp_path, env=environment, check=True)

    records = read_records(record)
    assert set(records) == {"toy@one-two"}
    found = records["toy@one-two"]
    assert {path for path in found.read if path.startswith("data/")} == {
        "data/by_a_worker.txt",
        "data/in.safetensors",
        "data/in.npy",
        "data/whole/part.json",
    }
    assert {"stages/toy.py", "stages/lib/other.py"} <= found.read
    assert found.written == {"data/out/out.json", "data/out/a.safetensors", "data/whole/part.json"}
    assert {"data/listed", "data/whole"} <= found.listed and not any(".tmp" in path for path in found.listed)
    assert found.keys == {"params.yaml:toy.key"}
    assert {"numpy", "safetensors"} <= found.imported and not any("." in name for name in found.imported)
    # The second time Python reads the compiled modules.
    (tmp_path / "data/out/out.json").unlink()
    (tmp_path / "data/out/a.safetensors").unlink()
    (tmp_path / "data/out").rmdir()
    (tmp_path / "data/whole").rename(tmp_path / "whole")
    subprocess.run([sys.executable, "-m", "stages.toy"], cwd=tmp_path, env=environment, check=True)
    assert {"stages/toy.py", "stages/lib/other.py"} <= read_records(record)["toy"].read


RIGHT = Record(
    read={"data/in/a.json", "stages/toy.py"}, written={"out/b.json"}, listed={"data"}, keys={"params.yaml:toy.key"}
)
LISTED = Listed(
    deps=frozenset({"data/in", "stages/toy.py"}), outs=frozenset({"out"}), keys=frozenset({"params.yaml:toy"})
)


@pytest.mark.parametrize(
    ("record", "listed", "expected"),
    [
        ({}, {}, {}),
        ({"read": {"data/in/a.json", "data/other.json"}}, {}, {"reads, no dep": {"data/other.json"}}),
        ({"read": {"data/in/a.json", "stages/b.py"}}, {}, {"reads, no dep": {"stages/b.py"}}),
        ({"read": {"data/in/a.json", ".cache/x", "params.yaml"}}, {}, {}),
        ({"listed": {"data/elsewhere"}}, {}, {"lists, no dep": {"data/elsewhere"}}),
        ({"written": {"out/b.json", "data/in/c.json"}}, {}, {"writes, no out": {"data/in/c.json"}}),
        ({}, {"deps": {"data/in", "data/more"}}, {"dep, not read": {"data/more"}}),
        ({}, {"outs": {"out", "metrics/toy.json"}}, {"out, not written": {"metrics/toy.json"}}),
        ({"keys": {"params.yaml:toy.key", "prompts.yaml:p"}}, {}, {"key read, not tracked": {"prompts.yaml:p"}}),
        (
            {},
            {"keys": {"params.yaml:toy", "params.yaml:models.m"}},
            {"key tracked, not read": {"params.yaml:models.m"}},
        ),
    ],
)
def test_differences_of_both_ways(
    record: dict[str, set[str]], listed: dict[str, set[str]], expected: dict[str, set[str]]
) -> None:
    kept = {"stages/toy.py"} if "deps" in listed else set()
    changed = {key: frozenset(value | kept) for key, value in listed.items()}
    assert differences(Record(**{**vars(RIGHT), **record}), Listed(**{**vars(LISTED), **changed})) == expected
