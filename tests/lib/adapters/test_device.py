"""The one card of a training, its attention and TF32, with stand-ins for what torch sees."""

import os
from typing import Any

import pytest
import torch

from stages.lib.adapters.device import check_attention, choose_one_device, share_of, use_tf32


def cards(monkeypatch: pytest.MonkeyPatch, there: int, visible: str | None) -> None:
    """A machine with so many GPUs, of which torch sees those that CUDA_VISIBLE_DEVICES names."""
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    def count() -> int:
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        return there if named is None else len([name for name in named.split(",") if name])

    monkeypatch.setattr(torch.cuda, "device_count", count)


@pytest.mark.parametrize(
    ("there", "visible", "left"),
    [(4, None, "0"), (4, "2,3", "2"), (8, "GPU-aa, GPU-bb", "GPU-aa"), (1, None, None), (4, "3", "3"), (0, None, None)],
)
def test_one_of_several_cards_is_left(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    there: int,
    visible: str | None,
    left: str | None,
) -> None:
    cards(monkeypatch, there, visible)
    before = torch.cuda.device_count()
    choose_one_device("grpo", "hf")
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == left
    assert torch.cuda.device_count() <= 1
    told = capsys.readouterr().out
    assert (f"grpo: {before} GPUs are visible; an adapter is trained on one, this is {left}" in told) == (before > 1)


def test_a_choice_that_comes_too_late_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    cards(monkeypatch, 2, None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="2 GPUs stay visible; set CUDA_VISIBLE_DEVICES=0"):
        choose_one_device("qlora", "hf")


def test_torchruns_processes_keep_their_cards_and_unsloth_has_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    cards(monkeypatch, 2, None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    choose_one_device("qlora", "hf")
    assert torch.cuda.device_count() == 2
    with pytest.raises(ValueError, match=r"unsloth trains in one process, and torchrun started WORLD_SIZE=2 of qlora"):
        choose_one_device("qlora", "unsloth")


def test_micro_batches_are_shared_out_evenly_or_not_at_all() -> None:
    assert share_of("gradient_accumulation_steps", 6, 3) == 2
    with pytest.raises(ValueError, match=r"gradient_accumulation_steps: 6 micro-batches .* among 4 processes"):
        share_of("gradient_accumulation_steps", 6, 4)


@pytest.mark.parametrize(
    ("cuda", "installed", "chosen", "message"),
    [
        (False, True, ("bfloat16", "hf"), "flash_attention_2 needs a CUDA GPU, and torch sees none; use sdpa"),
        (True, False, ("bfloat16", "hf"), "needs the package flash-attn, which is not installed"),
        (True, True, ("float32", "hf"), "needs dtype: bfloat16 or float16, it is float32"),
        (True, True, ("bfloat16", "unsloth"), "unsloth chooses its own attention"),
        (True, True, ("bfloat16", "hf"), None),
    ],
)
def test_flash_attention_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, installed: bool, chosen: Any, message: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    if message is None:
        check_attention("flash_attention_2", *chosen)
    else:
        with pytest.raises(ValueError, match=message):
            check_attention("flash_attention_2", *chosen)


@pytest.mark.parametrize(("capability", "message"), [(None, "torch sees no GPU"), ((7, 5), "Tesla T4"), ((8, 0), None)])
def test_tf32_needs_a_card_that_has_it(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int] | None, message: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    switched: list[bool] = []
    monkeypatch.setattr("transformers.utils.import_utils.enable_tf32", switched.append)
    use_tf32(False)  # nothing to say
    if message is None:
        use_tf32(True)
        assert switched == [False, True]
    else:
        with pytest.raises(ValueError, match=f"tf32: needs a CUDA GPU of the Ampere generation.*{message}"):
            use_tf32(True)
