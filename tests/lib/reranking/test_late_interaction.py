import json
import math
import string
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.lib.cache.ledger import Ledger
from stages.lib.reranking.late_interaction import (
    LateInteractionReranker,
    best_matches,
    inverse_document_frequency,
)
from stages.lib.reranking.pair_scores import QueryDocument
from stages.lib.reranking.token_encoder import is_late_interaction_checkpoint
from stages.lib.weights.models import ModelEntry, load_model_entry, locate

PAIRS = [
    QueryDocument("Which tower stands in Paris?", "The Eiffel Tower is a wrought-iron lattice tower in Paris, France."),
    QueryDocument("Which tower stands in Paris?", "A gradient is the vector of partial derivatives of a function."),
    QueryDocument("What is a gradient?", "A gradient is the vector of partial derivatives of a function."),
]


@pytest.fixture(scope="module")
def minilm() -> ModelEntry:
    return load_model_entry("minilm-l6")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(tmp_path / "ledger.sqlite")) as opened:
        yield opened


def max_sim(query: np.ndarray, document: np.ndarray) -> float:
    """The definition, loop by loop."""
    return sum(max(float(np.dot(q, d)) for d in document) for q in query)


def test_best_matches() -> None:
    query, document = np.eye(3)[:2], np.array([[0.6, 0.8, 0.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])
    assert best_matches(query, document).tolist() == [1.0, 0.8]


def test_inverse_document_frequency_counts_documents_not_occurrences() -> None:
    weights, unseen = inverse_document_frequency([[1, 1, 2], [1, 3], [1]])
    assert weights[1] == 1.0
    assert weights[2] == weights[3] == pytest.approx(math.log(4 / 2) + 1)
    assert unseen == pytest.approx(math.log(4) + 1)


def test_plain_encoder_scores_are_maxsim_over_its_own_token_states(minilm: ModelEntry, ledger: Ledger) -> None:
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = (kind.from_pretrained(locate(minilm)) for kind in (AutoModel, AutoTokenizer))

    def states(text: str) -> np.ndarray:
        with torch.inference_mode():
            output = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        normalised: np.ndarray = torch.nn.functional.normalize(output, dim=1).numpy()
        return normalised

    found = LateInteractionReranker(minilm, ledger, None).score(PAIRS)
    expected = [max_sim(states(pair.query), states(pair.document)) for pair in PAIRS]
    np.testing.assert_allclose(found.values, expected, atol=2e-5)
    assert found.values[0] > found.values[1]
    assert found.truncated == 0


def test_idf_weighs_words_among_themselves(minilm: ModelEntry, ledger: Ledger) -> None:
    corpus = [pair.document for pair in PAIRS[:2]]
    pair = PAIRS[0]
    plain = LateInteractionReranker(minilm, ledger, None)
    weighted = LateInteractionReranker(minilm, ledger, corpus)
    answer = next(plain.compute([[pair]]))[0]
    # [CLS] which tower stands in paris ? [SEP]; tower, in and paris are in one text of two, the others in none
    # of them ("is", "the" and "a" are not asked for).
    in_one, in_none = math.log(3 / 2) + 1, math.log(3) + 1
    words = np.array([in_none, in_one, in_none, in_one, in_one, in_none])
    weights = np.array([1.0, *(words / words.mean()), 1.0])
    assert len(answer["best"]) == len(weights)
    assert weighted.score([pair]).values[0] == pytest.approx(float(weights @ answer["best"]), abs=2e-5)
    # With every word as common as the next one, weights change nothing.
    flat = LateInteractionReranker(minilm, ledger, ["something else"])
    assert flat.score([pair]).values[0] == plain.score([pair]).values[0]


def test_a_score_depends_on_its_pair_alone(minilm: ModelEntry, tmp_path: Path) -> None:
    def score(name: str, pairs: list[QueryDocument]) -> list[float]:
        with closing(Ledger(tmp_path / name)) as ledger:
            values: list[float] = LateInteractionReranker(minilm, ledger, None).score(pairs).values.tolist()
        return values

    together = score("together", PAIRS)
    assert score("backwards", PAIRS[::-1]) == together[::-1]
    assert [score(f"alone{i}", [pair])[0] for i, pair in enumerate(PAIRS)] == together


def test_a_killed_run_computes_no_document_again(
    minilm: ModelEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Ledger(tmp_path / "whole")) as ledger:
        whole = LateInteractionReranker(minilm, ledger, None).score(PAIRS).values.tolist()
    with closing(Ledger(tmp_path / "killed")) as ledger:
        first = LateInteractionReranker(minilm, ledger, None)
        compute = first.compute
        done: list[str] = []

        def die_at_the_second(batches: list[list[QueryDocument]]) -> Iterator[list[Any]]:
            for batch, answers in zip(batches, compute(batches), strict=True):
                if done:
                    raise KeyboardInterrupt
                done.extend(pair.document for pair in batch)
                yield answers

        monkeypatch.setattr(first, "compute", die_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            first.score(PAIRS)
    with closing(Ledger(tmp_path / "killed")) as ledger:
        second = LateInteractionReranker(minilm, ledger, None)
        again: list[str] = []
        encode = second._encoder.encode_batches

        def note(batches: list[list[str]], task: str) -> Any:
            again.extend(text for batch in batches for text in batch if task == "document")
            return encode(batches, task)

        monkeypatch.setattr(second._encoder, "encode_batches", note)
        assert second.score(PAIRS).values.tolist() == whole
    assert len(set(done)) == 1
    assert again
    assert not set(done) & set(again)


def test_no_weights_are_loaded_when_every_pair_is_known(minilm: ModelEntry, ledger: Ledger) -> None:
    values = LateInteractionReranker(minilm, ledger, None).score(PAIRS).values.tolist()
    second = LateInteractionReranker(minilm, ledger, None)
    assert second.score(PAIRS).values.tolist() == values
    assert second._encoder._states is not None and second._encoder._states._network is None


def test_texts_beyond_the_limit_are_counted(minilm: ModelEntry, ledger: Ledger) -> None:
    long = " ".join(["word"] * 300)
    reranker = LateInteractionReranker(minilm, ledger, None)
    found = reranker.score(
        [QueryDocument("word", long), QueryDocument("word", "word " * 254), QueryDocument("word", "word " * 255)]
    )
    assert found.truncated == 2  # [CLS] + 254 words + [SEP] are the 256 tokens of minilm-l6's entry


@pytest.fixture(scope="module")
def colbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random checkpoint in the form of colbert-ir/colbertv2.0: bert.*, linear.weight, artifact.metadata."""
    from safetensors.torch import save_file
    from transformers import AutoTokenizer, BertConfig, BertModel

    directory: Path = tmp_path_factory.mktemp("colbert")
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(locate(load_model_entry("minilm-l6")))
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(directory)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48
    )
    config.architectures = ["HF_ColBERT"]
    config.save_pretrained(directory)
    config.initializer_range = 0.5  # states that differ from token to token
    weights = {f"bert.{name}": value.contiguous() for name, value in BertModel(config).state_dict().items()}
    weights["linear.weight"] = torch.randn(8, 24)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "artifact.metadata").write_text(
        json.dumps(
            {
                "query_token_id": "[unused0]",
                "doc_token_id": "[unused1]",
                "query_maxlen": 32,
                "doc_maxlen": 16,
                "attend_to_mask_tokens": False,
                "mask_punctuation": True,
            }
        )
    )
    return directory


def test_a_colbert_checkpoint_scores_as_colbert_defines(colbert: Path, ledger: Ledger) -> None:
    """Marker after [CLS], queries filled to 32 with [MASK] that is scored but not attended to, no punctuation in
    documents, linear projection, L2 norm, MaxSim: ColBERT section 3.2-3.3, computed here from the weights."""
    from safetensors.torch import load_file
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer = AutoTokenizer.from_pretrained(colbert)
    weights = load_file(colbert / "model.safetensors")
    model = BertModel(BertConfig.from_pretrained(colbert)).eval()
    model.load_state_dict({name.removeprefix("bert."): value for name, value in weights.items() if "bert." in name})
    token = tokenizer.convert_tokens_to_ids

    def encode(text: str, marker: str, length: int, expand: bool) -> np.ndarray:
        words = tokenizer(text, add_special_tokens=False)["input_ids"][: length - 3]
        ids = [token("[CLS]"), token(marker), *words, token("[SEP]")]
        attended = [1] * len(ids) + [0] * ((length - len(ids)) if expand else 0)
        ids += [token("[MASK]")] * (len(attended) - len(ids))
        with torch.inference_mode():
            states = model(torch.tensor([ids]), attention_mask=torch.tensor([attended])).last_hidden_state[0]
        projected = torch.nn.functional.normalize(states @ weights["linear.weight"].T, dim=1).numpy()
        skipped = {token(mark) for mark in string.punctuation}
        kept: np.ndarray = projected if expand else projected[[i not in skipped for i in ids]]
        return kept

    entry = ModelEntry(source=f"path:{colbert}", backend="sentence_transformers", rerank_method="late_interaction")
    found = LateInteractionReranker(entry, ledger, None).score(PAIRS)
    expected = [
        max_sim(encode(pair.query, "[unused0]", 32, True), encode(pair.document, "[unused1]", 16, False))
        for pair in PAIRS
    ]
    np.testing.assert_allclose(found.values, expected, atol=2e-5)
    assert found.truncated == 1  # the Eiffel Tower has 19 tokens with its marker, doc_maxlen is 16
    weighted = LateInteractionReranker(entry, ledger, [pair.document for pair in PAIRS])
    tokens = next(weighted.compute([PAIRS[:1]]))[0]["tokens"]
    assert len(tokens) == 32
    assert tokens[:2] == [-1, -1]  # [CLS] and the marker are no words
    assert tokens[-20:] == [-1] * 20


def test_another_max_length_is_another_score(minilm: ModelEntry, ledger: Ledger) -> None:
    pairs = [QueryDocument("towers in Paris", "A gradient is a vector. The Eiffel Tower stands in Paris.")]
    short = replace(minilm, max_length=6)
    whole, cut = (LateInteractionReranker(entry, ledger, None).score(pairs) for entry in (minilm, short))
    assert (whole.truncated, cut.truncated) == (0, 1)
    assert cut.values[0] < whole.values[0]


def test_which_directories_are_late_interaction_checkpoints(colbert: Path, minilm: ModelEntry, tmp_path: Path) -> None:
    assert is_late_interaction_checkpoint(colbert)
    assert not is_late_interaction_checkpoint(locate(minilm))
    (tmp_path / "config.json").write_text('{"architectures": ["ModernBertModel"]}')
    (tmp_path / "config_sentence_transformers.json").write_text('{"model_type": "ColBERT"}')  # as PyLate saves
    assert is_late_interaction_checkpoint(tmp_path)


def test_weights_that_would_be_unpickled_are_refused(tmp_path: Path, ledger: Ledger) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    entry = ModelEntry(source=f"path:{tmp_path}", backend="sentence_transformers", rerank_method="late_interaction")
    with pytest.raises(ValueError, match="safetensors"):
        LateInteractionReranker(entry, ledger, None)
