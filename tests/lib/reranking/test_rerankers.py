"""The two rerankers that ask a language model, over the real room, and the opening of the other two."""

from contextlib import closing
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from stages.lib.cache.ledger import Ledger
from stages.lib.llm.asking import AskedModel, make_backend
from stages.lib.reranking.cross_encoder import CrossEncoderReranker
from stages.lib.reranking.late_interaction import LateInteractionReranker
from stages.lib.reranking.pair_scores import QueryDocument
from stages.lib.reranking.rerankers import asking_reranker, open_encoder_reranker
from stages.lib.weights.models import ModelEntry, load_model_entry

PROMPTS = {"rerank_instruction": "Find the answer\n", "query_likelihood_prompt": "Passage: {document}\nQuestion:\n"}
PAIRS = [
    QueryDocument("who likes apples?", "Ann likes apples and oranges."),
    QueryDocument("who likes apples?", "A gradient is a vector."),
    QueryDocument("what is a gradient?", "A gradient is a vector."),
    QueryDocument("who likes apples?", "Ann likes apples. " * 200),
]
MAX_LENGTH = 401  # 400 for the prompt, one for the answer


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random causal model whose tokenizer knows Qwen's chat tokens, yes and no as one token each."""
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    directory = tmp_path_factory.mktemp("qwen") / "model"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|im_start|>", "<|im_end|>", "<think>", "</think>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(["yes\nno\nyes\nno", "who likes apples and oranges, Ann likes a vector"] * 9, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>")
    fast.save_pretrained(directory)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.2,
        eos_token_id=fast.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory


def scores(
    directory: Path, method: Literal["yes_no", "likelihood"], ledger: Path, max_length: int = 0
) -> tuple[list[float], int]:
    entry = ModelEntry(
        source=f"path:{directory}",
        backend="transformers",
        rerank_method=method,
        max_length=max_length,
    )
    with closing(make_backend(entry)) as backend, closing(Ledger(ledger)) as store:
        found = asking_reranker(AskedModel(entry, backend, store), PROMPTS).score(PAIRS)
    return found.values.tolist(), found.truncated


def test_yes_no_is_what_qwens_own_code_computes(qwen: Path, tmp_path: Path) -> None:
    """As on the model card: body tokens cut to max_length - prefix - suffix, softmax over the two last logits."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(qwen), AutoModelForCausalLM.from_pretrained(qwen).eval()
    prefix = tokenizer.encode(
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
        'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
    )
    suffix = tokenizer.encode("<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")
    expected = []
    for query, document in PAIRS:
        body = tokenizer.encode(f"<Instruct>: Find the answer\n<Query>: {query}\n<Document>: {document}")
        ids = prefix + body[: MAX_LENGTH - 1 - len(prefix) - len(suffix)] + suffix
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[0, -1]
        two = logits[[tokenizer.convert_tokens_to_ids("no"), tokenizer.convert_tokens_to_ids("yes")]]
        expected.append(float(torch.softmax(two, dim=0)[1]))
    found, truncated = scores(qwen, "yes_no", tmp_path / "ledger.sqlite", MAX_LENGTH)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert truncated == 1
    assert np.ptp(found) > 1e-3


def test_query_likelihood_is_the_mean_log_probability_of_the_question(qwen: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(qwen), AutoModelForCausalLM.from_pretrained(qwen).eval()
    expected = []
    for query, document in PAIRS:
        prompt = tokenizer.encode(f"Passage: {document}\nQuestion:")
        question = tokenizer.encode(f" {query}")
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + question])).logits[0].log_softmax(-1)
        places = range(len(prompt) - 1, len(prompt) + len(question) - 1)
        expected.append(np.mean([float(logits[at, token]) for at, token in zip(places, question, strict=True)]))
    found, truncated = scores(qwen, "likelihood", tmp_path / "ledger.sqlite")
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert truncated == 0


def test_encoders_are_opened_by_their_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path))
    entry = load_model_entry("minilm-l6")
    with open_encoder_reranker(entry, ["some text"]) as reranker:
        assert isinstance(reranker, LateInteractionReranker)
    crossing = ModelEntry(source=entry.source, sha256=entry.sha256, backend=entry.backend)
    with open_encoder_reranker(crossing, None) as reranker:
        assert isinstance(reranker, CrossEncoderReranker)
    assert (tmp_path / "rerank" / "ledger.sqlite").exists()


def test_an_encoder_needs_its_backend() -> None:
    entry = ModelEntry(source="server:m", backend="openai")
    with pytest.raises(ValueError, match="needs backend sentence_transformers"), open_encoder_reranker(entry, None):
        pass


def test_a_method_of_the_other_kind_is_refused() -> None:
    entry = ModelEntry(source="path:x", backend="sentence_transformers", rerank_method="yes_no")
    with (
        pytest.raises(ValueError, match=r"path:x: rerank_method 'yes_no' asks a language model"),
        open_encoder_reranker(entry, None),
    ):
        pass
