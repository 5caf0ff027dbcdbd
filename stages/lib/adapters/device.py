"""The cards that adapters are trained on, their attention and arithmetic, checked before all else."""

import importlib.util
import os
from typing import Any, Literal, assert_never

from stages.lib.adapters.lora import Backend
from stages.lib.weights.models import Dtype

AttnImplementation = Literal["sdpa", "flash_attention_2", "eager"]


def choose_one_device(stage: str, backend: Backend) -> None:
    """Leaves one GPU visible where there are several, and says which one; before anything is on a GPU.

    The trainers of transformers would split each batch over all of them (DataParallel), with other random numbers and
    other results. A process of torchrun's has a GPU of its own, and stays as it is.

    Raises:
        ValueError: torchrun started several processes, and the backend trains in one.
    """
    import torch

    if "WORLD_SIZE" in os.environ:
        if backend == "unsloth" and os.environ["WORLD_SIZE"] != "1":
            raise ValueError(
                f"backend: unsloth trains in one process, and torchrun started WORLD_SIZE={os.environ['WORLD_SIZE']} "
                f"of {stage}: run python -m stages.{stage}, or set backend: hf"
            )
        return
    count = torch.cuda.device_count()
    if count <= 1:
        return
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    chosen = visible[0] if visible else "0"
    os.environ["CUDA_VISIBLE_DEVICES"] = chosen
    print(
        f"{stage}: {count} GPUs are visible; an adapter is trained on one, this is {chosen} "
        "(CUDA_VISIBLE_DEVICES chooses another; torchrun takes several)",
        flush=True,
    )
    left = torch.cuda.device_count()
    if left != 1:  # CUDA had started already
        raise ValueError(f"{stage}: {left} GPUs stay visible; set CUDA_VISIBLE_DEVICES={chosen} and run again")


def share_of(what: str, count: int, processes: int) -> int:
    """Of the `count` micro-batches of a step those that each process computes.

    Raises:
        ValueError: they do not divide; `what` are the params that say how many there are.
    """
    if count % processes:
        raise ValueError(
            f"{what}: {count} micro-batches a step cannot be divided among {processes} processes; change the params, "
            "or the number of processes (the micro-batches are no part of the result: a killed training goes on)"
        )
    return count // processes


def has_gpu() -> bool:
    """Whether there is a card to train on; else it is the CPU."""
    import torch

    return torch.cuda.is_available()


def check_attention(attention: AttnImplementation, dtype: Dtype, backend: Backend) -> None:
    """Checks that there is what an attention needs.

    Raises:
        ValueError: names what is missing.
    """
    import torch

    if backend == "unsloth" and attention != "sdpa":
        raise ValueError(
            f"attn_implementation: unsloth chooses its own attention by what is installed; {attention} is for "
            "backend: hf (leave sdpa here)"
        )
    match attention:
        case "sdpa" | "eager":
            return
        case "flash_attention_2":
            missing = [
                (not torch.cuda.is_available(), "a CUDA GPU, and torch sees none"),
                (importlib.util.find_spec("flash_attn") is None, "the package flash-attn, which is not installed"),
                (dtype == "float32", "dtype: bfloat16 or float16, it is float32"),
            ]
            for absent, what in missing:
                if absent:
                    raise ValueError(f"attn_implementation: flash_attention_2 needs {what}; use sdpa")
        case _:
            assert_never(attention)


def set_attention(model: Any, attention: AttnImplementation) -> None:
    """Has a loaded model attend in this way."""
    model.set_attn_implementation(attention)


def use_tf32(on: bool) -> None:
    """Lets this process multiply float32 matrices with 10 bits of mantissa, from here on, or not.

    Raises:
        ValueError: the card cannot.
    """
    import torch

    able = torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 8
    if on and not able:
        found = torch.cuda.get_device_name() if torch.cuda.is_available() else "torch sees no GPU"
        raise ValueError(f"tf32: needs a CUDA GPU of the Ampere generation (A100, RTX 30) or a later one: {found}")
    if able:
        from transformers.utils.import_utils import enable_tf32

        enable_tf32(on)
