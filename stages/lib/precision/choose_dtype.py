"""Which dtype a base computes in, where the params leave it to the machine."""

import json
from pathlib import Path
from typing import Literal

from stages.lib.adapters.lora import Dtype
from stages.lib.core.records import write_json


def choose_dtype(asked: Dtype | Literal["auto"], base: Path, directory: Path, rows: int) -> Dtype:
    """The dtype as asked, or by a probe whose answer is kept in `directory`, so that a resumed training keeps it.

    Tuning multiplies frozen matrices and little else, so their products decide: bfloat16 where it takes under 0.8 of
    float32's time (GPUs, CPUs with AMX).

    Args:
        asked: a dtype, or auto.
        base: the base's directory, whose config.json tells its width.
        directory: of the training's checkpoints.
        rows: tokens computed together.
    """
    if asked != "auto":
        return asked
    kept = directory / "precision.json"
    if kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))["dtype"]  # type: ignore[no-any-return]
    import torch
    from transformers import AutoConfig

    from stages.lib.precision.matmul import seconds_of_matmul

    hidden = int(AutoConfig.from_pretrained(base, trust_remote_code=False).get_text_config().hidden_size)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    half, whole = (
        seconds_of_matmul(rows, hidden, 4 * hidden, dtype, device) for dtype in (torch.bfloat16, torch.float32)
    )
    dtype: Dtype = "bfloat16" if half < 0.8 * whole else "float32"
    write_json(kept, {"dtype": dtype})
    return dtype
