from typing import Any

import pytest
import torch

from stages.lib.adapters.one_answer import check_classes
from stages.lib.lora.masks import IGNORED, MaskedChat, encode_conversation
from stages.lib.lora.preflight import check_packing, check_supervision, show_sample
from stages.lib.lora.validation_losses import sample_losses
from tests.lib.lora.tiny_chat import CHATML, chat_record, tiny_tokenizer, write_tiny_base


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(write_tiny_base(tmp_path_factory.mktemp("base") / "tiny")).eval()


def samples(count: int = 3) -> list[MaskedChat]:
    return [encode_conversation(tiny_tokenizer(), chat_record(i)["messages"], f"r{i}") for i in range(count)]


def test_counts_what_is_learned() -> None:
    counts = check_supervision(samples(), {2}, tiny_tokenizer())
    assert counts["samples"] == counts["samples_with_end_of_turn"] == 3
    assert 0 < counts["supervised_tokens"] < counts["tokens"]


def test_zero_supervised_tokens_fail() -> None:
    blank = MaskedChat("empty", [1, 2], [IGNORED, IGNORED])
    with pytest.raises(ValueError, match="1 of 4 samples have zero supervised tokens, such as 'empty'"):
        check_supervision([*samples(), blank], {2}, tiny_tokenizer())
    with pytest.raises(ValueError, match="no training samples"):
        check_supervision([], {2}, tiny_tokenizer())


def test_an_end_of_turn_that_is_never_learned_fails() -> None:
    tokenizer = tiny_tokenizer(CHATML.replace("message['content'] + '<|im_end|>\n'", "message['content'] + '\n'"))
    unending = [encode_conversation(tokenizer, chat_record(i)["messages"], f"r{i}") for i in range(3)]
    with pytest.raises(ValueError, match=r"end of turn .*<.im_end.>.* never learn to stop"):
        check_supervision(unending, {2}, tokenizer)


def test_one_class_fails() -> None:
    check_classes(["yes", "no"], ["selected", "unanswerable"], "file")
    check_classes(["yes"], ["selected"], "file")
    with pytest.raises(ValueError, match="file: all 3 answers are 'yes'"):
        check_classes(["yes"] * 3, [], "file")
    with pytest.raises(ValueError, match="file: all 2 samples are of the kind 'unanswerable'"):
        check_classes(["No a.", "No b."], ["unanswerable"] * 2, "file")


def test_shows_the_mask() -> None:
    shown = show_sample(samples()[1], tiny_tokenizer(), color=False)
    assert "⟦Thing 1 is green.<|im_end|>⟧" in shown and "\x1b" not in shown
    assert "\x1b[1;32m⟦Thing" in show_sample(samples()[1], tiny_tokenizer(), color=True)


def test_packing_that_keeps_samples_apart_passes(model: Any) -> None:
    assert check_packing(model, samples(), pad_id=2) < 1e-4


def test_packing_that_leaks_fails(model: Any) -> None:
    class Leaky(torch.nn.Module):
        """Forgets position_ids, as a model does whose attention knows no packing."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, input_ids: Any, position_ids: Any, use_cache: bool) -> Any:
            return self.inner(input_ids=input_ids, use_cache=use_cache)

    with pytest.raises(ValueError, match=r"packing leaks across samples.*set packing: false"):
        check_packing(Leaky(), samples(), pad_id=2)


def test_losses_equal_those_of_transformers(model: Any) -> None:
    found = sample_losses(model, samples(), pad_id=2, batch_tokens=250)
    for sample, loss in zip(samples(), found, strict=True):
        ids, labels = torch.tensor([sample.input_ids]), torch.tensor([sample.labels])
        assert loss == pytest.approx(model(input_ids=ids, labels=labels).loss.item(), rel=1e-4)
