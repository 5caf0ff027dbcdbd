"""The chat template of an exported finetuned GPT gives the ids that finetune trains on; what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from jinja2.exceptions import TemplateError
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from stages.lib.conversations.encoding import encode
from stages.lib.conversations.rendering import render
from stages.lib.gpt.generate import generate
from stages.lib.gpt.model import GPT, GPTConfig
from stages.lib.gpt.sampling import PRESETS
from stages.lib.gpt_export.huggingface import to_hf
from stages.lib.instructions.batches import tokenize
from stages.lib.instructions.examples import Example
from stages.lib.instructions.records import as_pair
from stages.lib.reading.documents import Drop
from stages.lib.tokens.instruction_template import TEMPLATE, prompt_ids
from stages.lib.tokens.tokenizers import load_tokenizer

TEXTS = ["What is a cat?", "A cat is an animal.\nIt says:  miau", "Größe, 漢字 and  two blanks"]


def sentencepiece(directory: Path, scheme: str) -> None:
    """A tokenizer that marks beginnings by a blank and puts `<s>` first, as Llama's does."""
    backend = Tokenizer(models.Unigram())
    if scheme == "normalizer":
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        backend.pre_tokenizer = None
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=80, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(TEXTS * 9, trainer)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    made.save_pretrained(directory)


def byte_level(directory: Path) -> None:
    """A byte-level BPE that has a sep of its own, and puts a blank before a text."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=True), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<end>", "<'\"sep>"], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", sep_token="<'\"sep>")
    made.save_pretrained(directory)


@pytest.fixture(params=["byte", "gpt2", "first", "always", "never", "normalizer", "byte_level"])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    if request.param in ("byte", "gpt2"):
        return load_tokenizer(request.param)
    if request.param == "byte_level":
        byte_level(tmp_path / "source")
    else:
        sentencepiece(tmp_path / "source", request.param)
    return load_tokenizer("hf:source")


def exported(tokenizer: Any, directory: Path, template: str = TEMPLATE, **shape: Any) -> tuple[GPT, Any]:
    """A model with random weights and the tokenizer that was exported with it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"context": 64, "n_layer": 1, "n_head": 1, "d_model": 8, "tied": False} | shape
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size + 3, **sizes)).eval()
    to_hf(model, tokenizer, directory, template=template)
    return model, AutoTokenizer.from_pretrained(directory)


def chat_ids(theirs: Any, *turns: tuple[str, str], **options: Any) -> list[int]:
    messages = [{"role": role, "content": content} for role, content in turns]
    return list(theirs.apply_chat_template(messages, return_dict=False, **options))


def example_of(record: dict[str, Any]) -> Example:
    """The example that finetune makes of a chat."""
    pair = as_pair("here", record)
    assert not isinstance(pair, Drop)
    return Example(*pair, "here")


def test_a_question_and_its_answer_have_the_ids_that_are_trained(tokenizer: Any, tmp_path: Path) -> None:
    _, theirs = exported(tokenizer, tmp_path / "out")
    for question, answer in ((TEXTS[0], TEXTS[1]), (f" \n{TEXTS[2]}\n\n", "\tIt\n"), ("x", "y")):
        record = {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        example = example_of(record)
        trained = [*tokenize(example, tokenizer, "all")[0].tolist(), tokenizer.eot]
        assert chat_ids(theirs, ("user", question), ("assistant", answer)) == trained
        asked = prompt_ids(tokenizer, example.prompt)
        assert trained[: len(asked)] == asked
        assert chat_ids(theirs, ("user", question), add_generation_prompt=True) == asked
        turns = record["messages"][:1]
        assert encode(theirs, render(theirs, turns, generation_prompt=True)) == asked  # as our chat asks
        assert theirs(example.prompt)["input_ids"] == tokenizer.encode(example.prompt).tolist()  # nothing put before


def test_a_system_turn_is_joined_to_the_question_as_in_the_data(tmp_path: Path) -> None:
    tokenizer = load_tokenizer("byte")
    _, theirs = exported(tokenizer, tmp_path / "out")
    for system in ("Be brief.", "  Be brief. ", " ", ""):
        turns = [("system", system), ("user", " What is it?"), ("assistant", "A cat.")]
        record = {"messages": [{"role": role, "content": content} for role, content in turns]}
        example = example_of(record)
        trained = [*tokenize(example, tokenizer, "all")[0].tolist(), tokenizer.eot]
        assert chat_ids(theirs, *turns) == trained


@pytest.mark.parametrize(
    "turns",
    [
        [("user", "a"), ("assistant", "b"), ("user", "c")],
        [("user", "a"), ("user", "b")],
        [("assistant", "a")],
        [("system", "a")],
        [("user", "a"), ("system", "b")],
        [("user", "a"), ("tool", "b")],
        [("user", "a"), ("assistant", "b")],  # with a prompt for another answer
    ],
)
def test_what_was_not_trained_is_refused_in_a_sentence(tmp_path: Path, turns: list[tuple[str, str]]) -> None:
    _, theirs = exported(load_tokenizer("byte"), tmp_path / "out")
    with pytest.raises(TemplateError, match="was finetuned on one question and its answer: give one user turn"):
        chat_ids(theirs, *turns, add_generation_prompt=True)


def test_a_model_that_was_not_finetuned_has_no_chat_template(tmp_path: Path) -> None:
    _, theirs = exported(load_tokenizer("byte"), tmp_path / "out", template="")
    assert theirs.chat_template is None
    assert not (tmp_path / "out/chat_template.jinja").exists()


@pytest.mark.parametrize(
    "shape",
    [{}, {"position": "learned", "norm": "layernorm", "activation": "gelu_tanh", "bias": True}],
)
def test_transformers_answers_what_we_answer(tokenizer: Any, tmp_path: Path, shape: dict[str, Any]) -> None:
    model, theirs = exported(tokenizer, tmp_path / "out", d_model=32, **shape)
    with torch.no_grad():  # so that what follows depends on the question
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(12)
    to_hf(model, tokenizer, tmp_path / "out", template=TEMPLATE)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    drawn = set()
    for question in ("What is it?", "Who are you?", "a", "cat", "It says:", "animal"):
        asked = chat_ids(theirs, ("user", question), add_generation_prompt=True)
        text = loaded.generate(torch.tensor([asked]), max_new_tokens=24, do_sample=False)[0].tolist()
        new = generate(
            model,
            [prompt_ids(tokenizer, question)],
            max_new_tokens=24,
            sampling=PRESETS["greedy"],
            valid_ids=tokenizer.vocab_size,
            stop=tokenizer.eot,
        )[0]
        assert new == [token for token in text[len(asked) :] if token != tokenizer.eot]
        drawn |= set(new)
    assert len(drawn) > 5
