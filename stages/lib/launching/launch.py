"""How a stage that runs in several processes starts them: here, or by the command that a cluster wants.

`LLMILL_LAUNCH` in the environment is put in front of `-m stages.NAME`, so that `dvc repro` runs such a stage on many
machines and dvc.yaml stays as it is (docs/clusters.md):

    LLMILL_LAUNCH="srun torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HEAD:29500"
"""

import os
import shlex
import shutil
import sys

LAUNCH = "LLMILL_LAUNCH"


def launch(module: str) -> None:
    """Replaces this process by what LLMILL_LAUNCH says, unless that is empty or has been done.

    Raises:
        ValueError: it is no command that there is.
    """
    if "WORLD_SIZE" in os.environ or not os.environ.get(LAUNCH, "").strip():
        return
    command = os.environ.pop(LAUNCH)  # what it starts is not to start it again
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"{LAUNCH}: {command!r}: {error}") from None
    if shutil.which(words[0]) is None:
        raise ValueError(f"{LAUNCH}: {words[0]} is no command on this machine; it is put in front of -m {module}")
    _become([*words, "-m", module, *sys.argv[1:]])


def start_processes(count: int, module: str) -> None:
    """Replaces this process by torchrun with so many of them on this machine, unless it is one of these already."""
    if count > 1 and "WORLD_SIZE" not in os.environ:
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        _become([sys.executable, *torchrun, "-m", module])


def _become(command: list[str]) -> None:
    sys.stdout.flush()
    os.execvp(command[0], command)
