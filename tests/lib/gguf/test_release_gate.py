import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.gguf.gate_texts import HeldOut, Text
from stages.lib.gguf.llama_runtime import GreedyReply, LlamaRuntime
from stages.lib.gguf.release_gate import (
    Thresholds,
    agreement,
    agreements,
    closeness,
    closeness_faults,
    keep_log_probs,
    kept_log_probs,
    log_probs,
    make_windows,
    run_checks,
    runtime_faults,
)
from tests.lib.gguf.tiny_families import tiny_family
from tests.lib.lora.tiny_chat import tiny_tokenizer

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


def test_kept_log_probabilities_are_those_of_the_model(tmp_path: Path) -> None:
    model, windows = tiny_family("llama"), make_windows([list(range(30, 62))], 16, 32)
    kept = list(kept_log_probs(keep_log_probs(model, windows, tmp_path)))
    assert all(torch.equal(one, log_probs(model, window)) for one, window in zip(kept, windows, strict=True))
    assert torch.allclose(log_probs(model, windows[0], last=3), kept[0][-3:], atol=1e-5)


def test_perplexities_are_of_what_follows_each_token() -> None:
    models = {"ours": tiny_family("mistral"), "theirs": tiny_family("llama")}
    windows = make_windows([list(range(30, 62))], 16, 32)
    found = closeness([log_probs(models["theirs"], window) for window in windows], models["ours"], windows)
    nats = {
        name: sum(
            -float(log_probs(model, window)[place, window[place + 1]]) for window in windows for place in range(15)
        )
        / 30
        for name, model in models.items()
    }
    assert found["perplexity"] == pytest.approx(math.exp(nats["ours"]), rel=1e-4)
    assert found["reference_perplexity"] == pytest.approx(math.exp(nats["theirs"]), rel=1e-4)
    assert found["perplexity_ratio"] == pytest.approx(math.exp(nats["ours"] - nats["theirs"]), rel=1e-4)


def test_what_is_just_at_a_threshold_passes() -> None:
    close = {"mean_kl": 0.05, "top_agreement": 0.9, "perplexity_ratio": 1.05}
    assert closeness_faults(close, LIMITS) == []
    for name, step in (("mean_kl", 0.001), ("top_agreement", -0.001), ("perplexity_ratio", 0.001)):
        (fault,) = closeness_faults(close | {name: close[name] + step}, LIMITS)
        assert fault.startswith(name)
    just = {"replies_stopped": 1, "file_agreement": 0.95, "reference_agreement": 0.8}
    assert runtime_faults(FINE | just, LIMITS, chat=True) == []


def test_what_is_no_fault() -> None:
    """A shape that is excused; replies of a base model that go on to the limit."""
    excused = replace(LIMITS, excused_shapes=("unicode",))
    assert runtime_faults(FINE | {"template_faults": {"unicode": "from token 3 on"}}, excused, chat=True) == []
    (fault,) = runtime_faults(FINE | {"template_faults": {"unicode": "x", "system": "y"}}, excused, chat=True)
    assert "1 message shapes read otherwise (system); system: y" in fault
    assert runtime_faults(FINE | {"replies_stopped": 0}, LIMITS, chat=False) == []


class ScriptedRuntime:
    """A runtime that reads as the tokenizer does and gives these replies."""

    def __init__(self, tokenizer: Any, replies: Sequence[GreedyReply]) -> None:
        self._tokenizer, self._replies = tokenizer, iter(replies)

    def tokens(self, text: str, special: bool = True) -> list[int]:
        found: list[int] = self._tokenizer(text)["input_ids"]
        return found[:-1] if "misread" in text else found

    def greedy(self, prompt: list[int], max_tokens: int) -> GreedyReply:
        return next(self._replies)


def test_replies_are_counted_by_how_they_end_and_how_far_the_models_agree() -> None:
    model, prompt, end = tiny_family("llama"), [5, 6, 7], 2
    drawn: list[int] = []
    for _ in range(3):
        drawn.append(int(log_probs(model, torch.tensor(prompt + drawn))[-1].argmax()))
    assert end not in drawn
    other = (drawn[0] + 1) % 250 + 3
    assert other != drawn[0]
    after = int(log_probs(model, torch.tensor([*prompt, other]))[-1].argmax())  # agrees again behind the difference
    replies = [
        GreedyReply(drawn, [], ended=False),
        GreedyReply([other, after], [], ended=False),
        GreedyReply([drawn[0], end], [], ended=True),
        GreedyReply([end, drawn[0]], [], ended=False),
    ]
    tokenizer = tiny_tokenizer(None)
    texts = [
        Text(text, tokenizer(text)["input_ids"], plain=plain)
        for text, plain in (("read alike", True), ("misread", True), ("misread too, with <|im_end|> as text", False))
    ]
    found, given = run_checks(
        cast(LlamaRuntime, ScriptedRuntime(tokenizer, replies)),
        tokenizer,
        ChatFormat(),
        HeldOut(texts, [prompt] * len(replies), 0),
        ends={end},
        max_new_tokens=3,
    )
    assert given == replies and found["texts"] == 2
    found |= agreements("file", model, [prompt] * len(replies), given)
    assert found == found | {
        "template_faults": {},
        "replies": 4,
        "replies_stopped": 1,
        "replies_run_past_the_end": 1,  # an end token that ends its reply does not count
        "reply_tokens": 9,
    }
    assert len(found["text_faults"]) == 1
    assert found["file_agreeing_prefix"][:3] == [3, 0, 1]


def test_nan_never_passes(tmp_path: Path) -> None:
    model = tiny_family("llama")
    model.lm_head.weight.data[3] = float("nan")
    with pytest.raises(ValueError, match="NaN on held-out text"):
        keep_log_probs(model, make_windows([list(range(30, 46))], 16, 16), tmp_path)
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
