from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.lib.cache.ledger import Ledger
from stages.lib.cache.place import cache_dir
from stages.lib.embedding import embedders
from stages.lib.embedding.embedders import LEDGER_FILE, Embedder, open_embedder
from stages.lib.embedding.text_encoder import TextEncoder
from stages.lib.weights.models import ModelEntry, load_model_entry, locate

TEXTS = ["A tokenizer cuts text.", "Gradients flow back.", "A tokenizer cuts text.", "Cats sleep. " * 40]


def opened(name: str) -> AbstractContextManager[Embedder]:
    return open_embedder(name, load_model_entry(name))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path / "cache"))


def test_vectors_are_normalised_in_order_and_computed_once() -> None:
    with opened("minilm-l6") as embedder:
        first = embedder.encode_documents(TEXTS)
        assert embedder.computed == 3 and embedder.dimension == 384  # the text that is there twice is computed once
        assert first.shape == (4, 384) and first.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-6)
        assert np.array_equal(first[0], first[2]) and not np.array_equal(first[0], first[1])
    with opened("minilm-l6") as embedder:
        again = embedder.encode_documents(TEXTS[::-1])
        assert embedder.computed == 0 and again[::-1].tobytes() == first.tobytes()
        assert embedder.encode_documents([]).shape == (0, 384)


def test_blocks_put_together_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    titles = ["one", "two", "", "four"]
    entry = replace(load_model_entry("minilm-l6"), document_template="{title}: {text}")
    with open_embedder("minilm-l6", entry) as embedder:
        whole = embedder.encode_documents(TEXTS, titles=titles)
        monkeypatch.setattr(embedders, "READ_AT_ONCE", 3)
        monkeypatch.setattr(embedders, "TOKENIZE_AT_ONCE", 3)
        blocks = list(embedder.document_blocks(TEXTS, titles=titles))
        assert [len(block) for block in blocks] == [3, 1] and np.concatenate(blocks).tobytes() == whole.tobytes()
        assert embedder.computed == 4 and not list(embedder.document_blocks([]))
        assert embedder.encode_documents([f"{word} new" for word in "abcde"]).shape == (5, 384)
        assert embedder.count_truncated(["cat " * 600, "", "cat", "cat " * 600]) == 2
        with pytest.raises(ValueError, match="3 titles for 4 texts"):
            embedder.encode_documents(TEXTS, titles=titles[:3])


def test_weights_load_only_when_a_vector_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened("minilm-l6") as embedder:
        embedder.encode_documents(TEXTS)

    def no_weights(_: TextEncoder) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(TextEncoder, "_load", no_weights)
    with opened("minilm-l6") as embedder:
        embedder.encode_queries(TEXTS)
        with pytest.raises(AssertionError, match="loaded"):
            embedder.encode_queries(["a new one"])


def test_an_edited_text_costs_that_text_and_gives_what_a_run_from_scratch_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{word} " * count for count, word in enumerate(["loss", "batch", "token", "layer", "adapter"] * 3, 1)]
    with opened("minilm-l6") as embedder:
        embedder.encode_documents(texts)
        texts[7] = "something else"
        edited = embedder.encode_documents(texts)
        assert embedder.computed == 16
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path / "another"))
    with opened("minilm-l6") as embedder:
        assert embedder.encode_documents(texts).tobytes() == edited.tobytes()


def test_what_decides_a_vector_is_in_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = load_model_entry("minilm-l6")
    changed: dict[str, Any] = {"max_length": 8, "pooling": "last_token", "dtype": "bfloat16"}
    ledger = Ledger(cache_dir() / LEDGER_FILE)
    seen = [Embedder("a", entry, ledger).encode_documents(TEXTS)]
    for key, value in changed.items():
        other = replace(entry, **{key: value})
        embedder = Embedder("a", other, ledger)
        seen.append(embedder.encode_documents(TEXTS))
        assert embedder.computed == 3, key
    monkeypatch.setattr("tokenizers.__version__", "0.0")
    embedder = Embedder("a", entry, ledger)
    embedder.encode_documents(TEXTS)
    assert embedder.computed == 3
    ledger.close()
    assert not np.allclose(seen[0], seen[1]) and not np.allclose(seen[0], seen[2])


def test_an_instruction_stands_before_the_query_of_a_model_without_a_template() -> None:
    entry = load_model_entry("minilm-l6")
    ledger = Ledger(cache_dir() / LEDGER_FILE)
    plain = Embedder("plain", entry, ledger)
    alone, instructed = plain.encode_queries(["What?"]), plain.encode_queries(["What?"], "Find it")
    assert np.array_equal(plain.encode_documents(["Find it: What?"]), instructed)
    assert np.array_equal(plain.encode_documents(["What?"]), alone) and not np.allclose(alone, instructed)
    ledger.close()


def test_counts_texts_longer_than_the_model_takes() -> None:
    with opened("minilm-l6") as embedder:
        assert embedder.count_truncated(["cat " * 254, "cat " * 255, "cat " * 600, ""]) == 2  # two special tokens
        embedder.encode_documents(["cat " * 255])
        assert embedder.count_truncated(["cat " * 255]) == 1
        assert embedder.count_truncated_queries(["cat " * 250, "cat " * 254], "Find it") == 1


def test_a_vector_that_is_not_finite_names_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = TextEncoder._forward

    def broken(self: TextEncoder, token_ids: list[list[int]]) -> np.ndarray:
        vectors = forward(self, token_ids)
        vectors[[len(tokens) > 100 for tokens in token_ids], 5] = np.nan
        return vectors

    monkeypatch.setattr(TextEncoder, "_forward", broken)
    with opened("minilm-l6") as embedder:
        with pytest.raises(ValueError, match=r"minilm-l6: the vector of text 'chunk-d' is not finite"):
            embedder.encode_documents(TEXTS, ids=["chunk-a", "chunk-b", "chunk-c", "chunk-d"])
        with pytest.raises(ValueError, match=r"the vector of text 3 \('Cats sleep"):
            embedder.encode_documents(TEXTS)
    monkeypatch.undo()


def test_models_that_do_not_embed() -> None:
    with pytest.raises(ValueError, match=r"models\.smollm2-135m: backend 'transformers' does not embed"):
        opened("smollm2-135m").__enter__()


def test_weights_at_a_path_are_told_apart_by_their_bytes(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    with opened("minilm-l6") as embedder:
        pinned = locate(embedder.entry)
    place = tmp_path / "model"
    (place / "1_Pooling").mkdir(parents=True)
    for name in ["config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json", "model.safetensors"]:
        (place / name).write_bytes((pinned / name).read_bytes())
    entry = ModelEntry(source=f"path:{place}", backend="sentence_transformers", max_length=256)
    ledger = Ledger(cache_dir() / LEDGER_FILE)
    before = Embedder("own", entry, ledger).encode_documents(TEXTS)
    weights = load_file(place / "model.safetensors")
    weights["embeddings.word_embeddings.weight"] *= 1.5
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    after = Embedder("own", entry, ledger).encode_documents(TEXTS)
    ledger.close()
    assert not np.allclose(before, after)
