"""The chat talks to our own GPT after finetune: each question by itself, in the template it was trained on."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.lib.chat import terminal as program
from stages.lib.chat.events import RefusedTurnsError
from stages.lib.chat.terminal import chat, open_stream
from stages.lib.gpt.checkpoints import TokenizerFacts
from stages.lib.gpt.generate import generate
from stages.lib.gpt.model import GPT, GPTConfig
from stages.lib.gpt.sampling import PRESETS
from stages.lib.gpt_export.huggingface import export_checkpoint
from stages.lib.tokens.instruction_template import TEMPLATE, prompt_ids
from stages.lib.tokens.tokenizers import load_tokenizer
from tests.lib.gpt.saved_model import save_model

BYTES = load_tokenizer("byte")
QUESTIONS = ("What is it?", "And why?")


def checkpoint(directory: Path, template: str = TEMPLATE) -> GPT:
    torch.set_num_threads(1)
    torch.manual_seed(3)
    model = GPT(GPTConfig(vocab_size=264, context=48, n_layer=1, n_head=1, d_model=32, tied=False)).eval()
    with torch.no_grad():  # so that what follows depends on the question
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(12)
    facts = TokenizerFacts(name="byte", identity=BYTES.identity, vocab_size=260, eot=BYTES.eot)
    save_model(directory, model, facts, template)
    return model


def expected(model: GPT, question: str, tokens: int) -> str:
    ids = generate(
        model,
        [prompt_ids(BYTES, question)],
        max_new_tokens=tokens,
        sampling=PRESETS["greedy"],
        valid_ids=260,
        stop=BYTES.eot,
    )[0]
    return "".join(letter for letter in BYTES.decode(ids) if letter.isprintable()).strip()  # as a terminal shows it


def stream_of(place: Path) -> Any:
    return open_stream(str(place), None, max_new_tokens=8, temperature=0.0, seed=0)


@pytest.mark.parametrize("exported", [False, True])
def test_it_answers_as_generate_does_and_forgets_earlier_turns(tmp_path: Path, exported: bool) -> None:
    model = checkpoint(tmp_path / "tuned")
    place = tmp_path / "tuned"
    if exported:
        place = tmp_path / "exported"
        export_checkpoint(tmp_path / "tuned", place)
    stream, out = stream_of(place), io.StringIO()
    with pytest.raises(RefusedTurnsError, match="was finetuned on one question and its answer"):
        turns = [("user", "a"), ("assistant", "b"), ("user", "c")]
        stream.count_tokens([{"role": role, "content": content} for role, content in turns])
    chat(stream, [*QUESTIONS, QUESTIONS[0]], out, max_new_tokens=8)
    first, second = (expected(model, question, 8) for question in QUESTIONS)
    assert first != second
    said = out.getvalue()
    assert said.count(first) == 2 and said.count(second) == 1
    assert said.count("(the oldest turns have no place in the model's chat template: forgotten)") == 1


def test_the_command_allows_as_many_tokens_as_the_context_has_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = checkpoint(tmp_path / "tuned")
    monkeypatch.setattr(sys, "argv", ["chat", "--model", str(tmp_path / "tuned")])
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{QUESTIONS[0]}\n"))
    program.main()
    assert expected(model, QUESTIONS[0], 24) in capsys.readouterr().out


def test_a_gpt_that_was_only_pretrained_is_told_apart(tmp_path: Path) -> None:
    checkpoint(tmp_path / "best", template="")
    with pytest.raises(ValueError, match="continues texts and was not finetuned to answer: run the stage finetune"):
        stream_of(tmp_path / "best")
