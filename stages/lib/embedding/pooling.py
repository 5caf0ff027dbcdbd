"""From token states to one vector a text. B texts, T tokens (padding included), H the hidden size."""

from collections.abc import Callable
from pathlib import Path

import torch

from stages.lib.core.records import read_json, read_json_object

Pool = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # (B, T, H), (B, T) 1 for real tokens -> (B, H)


def mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The average over the real tokens (Sentence-BERT, https://arxiv.org/abs/1908.10084, section 3)."""
    weights = mask.unsqueeze(-1).to(states.dtype)  # (B, T, 1)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)  # (B, H)


def first_token(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The state of the first real token ([CLS] in BERT)."""
    return states[torch.arange(len(states), device=states.device), mask.long().argmax(dim=1)]  # (B, H)


def last_token(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The state of the last real token, on whichever side the padding is (`last_token_pool` of Qwen3-Embedding)."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    return states[torch.arange(len(states), device=states.device), (mask.long() * positions).argmax(dim=1)]  # (B, H)


def maximum(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The largest value over the real tokens, dimension by dimension."""
    return states.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(dim=1)  # (B, H)


POOLINGS: dict[str, Pool] = {"mean": mean, "cls": first_token, "lasttoken": last_token, "max": maximum}


def read_pooling(directory: Path) -> str:
    """The name of a model's own pooling, as its sentence-transformers files (`modules.json`) tell it.

    Raises:
        ValueError: the directory does not say, or asks for more than pooling and normalisation (such as a dense
            layer), which would give other vectors than the model's authors mean.
    """
    modules = directory / "modules.json"
    found = ""
    for module in read_json(modules, hint="it would tell the model's own pooling; or set `pooling: last_token`"):
        kind = module["type"].rpartition(".")[2]
        if kind == "Transformer" and module["path"] not in ("", "."):
            raise ValueError(f"{modules}: weights in a folder of their own ({module['path']!r}) are not supported")
        if kind == "Pooling":
            found = _pooling_name(directory / module["path"] / "config.json")
        elif kind not in ("Transformer", "Normalize"):
            raise ValueError(
                f"{modules}: module {module['type']} is not supported; only Transformer, Pooling, Normalize"
            )
    if not found:
        raise ValueError(f"{modules}: names no Pooling module")
    return found


def _pooling_name(path: Path) -> str:
    """Reads `pooling_mode: mean` (sentence-transformers 6) or `pooling_mode_mean_tokens: true` (before)."""
    config = read_json_object(path)
    legacy = {
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_cls_token": "cls",
        "pooling_mode_lasttoken": "lasttoken",
        "pooling_mode_max_tokens": "max",
    }
    modes = config.get("pooling_mode", [name for key, name in legacy.items() if config.get(key)])
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise ValueError(f"{path}: pooling {modes or sorted(config)} is not supported; one of {sorted(POOLINGS)}")
    return str(modes[0])
