"""How much memory is free where a model will run."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> tuple[int, str]:
    """Free bytes, and the name of the place: the GPU where there is one, else this machine's."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0], torch.cuda.get_device_name()
    return available_host_bytes(), "this machine"


def available_on_gpu(device: "torch.device") -> tuple[int, str]:
    """Bytes that this process can hold on a GPU in all, and the GPU's name: the free ones, and what PyTorch has.

    Other processes have the rest, and so does this one's CUDA context.
    """
    import torch

    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    return free, torch.cuda.get_device_name(device)


def available_host_bytes() -> int:
    """Free bytes of this machine, or of the container that this runs in; pages of files are free, too."""
    import psutil

    free = int(psutil.virtual_memory().available)
    limit, used = CGROUP / "memory.max", CGROUP / "memory.current"
    if limit.is_file() and used.is_file() and (text := limit.read_text().strip()).isdigit():
        free = min(free, int(text) - int(used.read_text()) + _file_pages())
    return free


def _file_pages() -> int:
    """Bytes of this container that only keep what was read from files, as a training's shards are."""
    told = CGROUP / "memory.stat"
    lines = [line.split() for line in told.read_text().splitlines()] if told.is_file() else []
    return sum(int(value) for name, value in lines if name in ("active_file", "inactive_file"))
