"""The device that a command computes on."""

import torch

KINDS = ("cpu", "cuda", "mps", "xpu")  # that our model's arithmetic is known on


def default_device() -> str:
    """The GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def usable_device(name: str) -> torch.device:
    """The device of that name, after a number has been put on it.

    Raises:
        ValueError: there is no such device here, or PyTorch was built without it.
    """
    known = f"write {', '.join(KINDS[:-1])} or {KINDS[-1]}, with a number (cuda:1) where there are several"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"--device {name}: PyTorch knows no such device; {known}") from error
    if device.type not in KINDS:
        raise ValueError(f"--device {name}: our model does not run there; {known}")
    try:
        torch.zeros(1, device=device)
    # Which of these it is depends on the build: AssertionError where CUDA was left out of it.
    except (RuntimeError, AssertionError, NotImplementedError, ImportError, AttributeError) as error:
        found = " ".join(str(error).split(". ")[0].split())[:120]
        raise ValueError(f"--device {name}: cannot be used here ({found}); --device cpu works everywhere") from error
    return device
