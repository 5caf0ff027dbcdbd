from typing import Any

import pytest
import torch

from stages.lib.gguf.llama_runtime import GreedyReply
from stages.lib.gguf.release_gate import (
    Thresholds,
    agreement,
    closeness,
    closeness_faults,
    log_probs,
    make_windows,
    runtime_faults,
)
from tests.lib.gguf.tiny_families import tiny_family

LIMITS = Thresholds(
    max_mean_kl=0.05,
    min_top_agreement=0.9,
    max_perplexity_ratio=1.05,
    min_runtime_agreement=0.95,
    min_greedy_agreement=0.8,
    min_stopped=1,
)
FINE: dict[str, Any] = {
    "template_faults": {},
    "text_faults": [],
    "replies": 3,
    "replies_stopped": 2,
    "replies_run_past_the_end": 0,
    "file_agreement": 1.0,
    "reference_agreement": 0.9,
}


def test_a_model_is_close_to_itself_and_far_from_another() -> None:
    model, windows = tiny_family("llama"), make_windows([[5] * 7, list(range(30, 60))], 16, 32)
    assert windows.shape == (2, 16)
    expected = [log_probs(model, window) for window in windows]
    same = closeness(expected, model, windows)
    assert same == pytest.approx(same | {"mean_kl": 0.0, "top_agreement": 1.0, "perplexity_ratio": 1.0}, abs=1e-5)
    assert same["perplexity"] == same["reference_perplexity"]
    assert closeness_faults(same, LIMITS) == []
    # By hand: KL of the first window's first token.
    other = tiny_family("mistral")
    far = closeness(expected[:1], other, windows[:1])
    theirs, ours = expected[0], log_probs(other, windows[0])
    by_hand = torch.nn.functional.kl_div(ours, theirs, log_target=True, reduction="sum") / 16
    assert far["mean_kl"] == pytest.approx(float(by_hand), rel=1e-4)
    faults = closeness_faults(far, LIMITS)
    assert "> max_mean_kl 0.05" in faults[0]
    assert "< min_top_agreement 0.9" in faults[1]


def test_nan_never_passes() -> None:
    found = {"mean_kl": float("nan"), "top_agreement": float("nan"), "perplexity_ratio": float("nan")}
    assert len(closeness_faults(found, LIMITS)) == 3


def test_too_little_text_is_refused() -> None:
    with pytest.raises(ValueError, match="has 3 tokens, a window needs 4"):
        make_windows([[1, 2, 3]], 4, 100)


def test_a_greedy_reply_is_compared_step_by_step() -> None:
    model, prompt = tiny_family("llama"), [5, 6, 7]
    tokens: list[int] = []
    for _ in range(4):
        tokens.append(int(log_probs(model, torch.tensor(prompt + tokens))[-1].argmax()))
    same, gaps = agreement(model, prompt, GreedyReply(tokens, [-1.0] * 4, ended=False))
    assert same == [True] * 4 and len(gaps) == 4
    wrong = [tokens[0], (tokens[1] + 1) % 259, *tokens[2:]]
    assert agreement(model, prompt, GreedyReply(wrong, [], ended=False))[0][:2] == [True, False]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"template_faults": {"unicode": "from token 3 on"}}, "1 message shapes read otherwise (unicode)"),
        ({"text_faults": ["from token 0 on"]}, "1 held-out texts read otherwise"),
        ({"replies_run_past_the_end": 2}, "2 of 3 replies go on after their end token"),
        ({"replies_stopped": 0}, "0 of 3 replies stop; min_stopped 1"),
        ({"file_agreement": 0.5}, "file_agreement 0.5 of greedy tokens < min_runtime_agreement 0.95"),
        ({"reference_agreement": float("nan")}, "reference_agreement nan of greedy tokens < min_greedy_agreement"),
    ],
)
def test_each_fault_of_the_runtime_is_told_with_its_number(change: dict[str, Any], words: str) -> None:
    assert runtime_faults(FINE, LIMITS, chat=True) == []
    (fault,) = runtime_faults(FINE | change, LIMITS, chat=True)
    assert words in fault
