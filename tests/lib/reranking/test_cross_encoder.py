from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.lib.cache.ledger import Ledger
from stages.lib.reranking.cross_encoder import CrossEncoderReranker
from stages.lib.reranking.pair_scores import QueryDocument
from stages.lib.weights.models import ModelEntry, load_model_entry, locate

PAIRS = [
    QueryDocument("Which tower stands in Paris?", "The Eiffel Tower is a wrought-iron lattice tower in Paris, France."),
    QueryDocument("What is a gradient?", "The vector of partial derivatives."),
    QueryDocument("What is a gradient?", "A " + "very " * 600 + "long text."),
    QueryDocument("tower", "tower"),
]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(tmp_path / "ledger.sqlite")) as opened:
        yield opened


def make_directory(directory: Path, labels: int) -> ModelEntry:
    """The form of cross-encoder/ms-marco-MiniLM-L6-v2, tiny and random, with MiniLM's real tokenizer."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(locate(load_model_entry("minilm-l6")))
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(directory)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        num_labels=labels,
        initializer_range=0.5,  # scores that differ from pair to pair
    )
    BertForSequenceClassification(config).save_pretrained(directory)
    return ModelEntry(source=f"path:{directory}", backend="sentence_transformers", batch_size=2)


def test_scores_are_those_of_a_plain_forward_pass(tmp_path: Path, ledger: Ledger) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    entry = make_directory(tmp_path / "model", labels=1)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    expected = []
    for pair in PAIRS:
        tokens = tokenizer(*pair, truncation="longest_first", max_length=512, return_tensors="pt")
        with torch.inference_mode():
            expected.append(torch.sigmoid(model(**tokens).logits[0, 0]).item())
    found = CrossEncoderReranker(entry, ledger).score(PAIRS)
    np.testing.assert_allclose(found.values, expected, atol=2e-5)
    assert np.ptp(found.values) > 0.01
    assert found.truncated == 1


def test_max_length_of_the_entry_and_what_is_stored(tmp_path: Path, ledger: Ledger) -> None:
    entry = make_directory(tmp_path / "model", labels=1)
    short = ModelEntry(source=entry.source, backend="sentence_transformers", max_length=8)
    whole, cut = CrossEncoderReranker(entry, ledger), CrossEncoderReranker(short, ledger)
    assert cut.score(PAIRS).truncated == 3
    assert cut.score(PAIRS).values[0] != whole.score(PAIRS).values[0]
    again = CrossEncoderReranker(entry, ledger)
    assert again.score(PAIRS[::-1]).values.tolist() == whole.score(PAIRS).values.tolist()[::-1]
    assert "_model" not in vars(again)  # every pair was known: nothing was loaded


def test_a_pair_that_just_fits_is_not_cut(tmp_path: Path, ledger: Ledger) -> None:
    entry = make_directory(tmp_path / "model", labels=1)
    short = ModelEntry(source=entry.source, backend="sentence_transformers", max_length=5)
    pairs = [QueryDocument("tower", "tower"), QueryDocument("tower", "tower tower")]  # 5 and 6 tokens, special ones too
    assert CrossEncoderReranker(short, ledger).score(pairs).truncated == 1
    assert CrossEncoderReranker(short, ledger).score(pairs[:1]).truncated == 0


def test_retrained_weights_on_the_same_path_are_other_scores(tmp_path: Path, ledger: Ledger) -> None:
    from safetensors.torch import load_file, save_file

    entry = make_directory(tmp_path / "model", labels=1)
    before = CrossEncoderReranker(entry, ledger).score(PAIRS)
    file = tmp_path / "model" / "model.safetensors"
    save_file({name: value * 0.5 for name, value in load_file(file).items()}, file, metadata={"format": "pt"})
    assert CrossEncoderReranker(entry, ledger).score(PAIRS).values.tolist() != before.values.tolist()


def test_a_classifier_with_several_labels_is_refused(tmp_path: Path, ledger: Ledger) -> None:
    entry = make_directory(tmp_path / "model", labels=3)
    with pytest.raises(ValueError, match="3 labels"):
        CrossEncoderReranker(entry, ledger).score(PAIRS)


def test_weights_that_would_be_unpickled_are_refused(tmp_path: Path, ledger: Ledger) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(ValueError, match="safetensors"):
        CrossEncoderReranker(ModelEntry(source=f"path:{tmp_path}", backend="sentence_transformers"), ledger)
