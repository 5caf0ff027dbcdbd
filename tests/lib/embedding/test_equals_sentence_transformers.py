"""Queries and documents as sentence-transformers embeds them, on small random models of every shape."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Router, Transformer
from sentence_transformers.sentence_transformer.modules import LayerNorm, Normalize, Pooling, StaticEmbedding

from stages.lib.cache.ledger import Ledger
from stages.lib.embedding.embedders import Embedder, open_embedder
from stages.lib.embedding.module_encoder import ModuleEncoder
from stages.lib.embedding.text_encoder import TextEncoder
from stages.lib.weights.models import ModelEntry
from tests.lib.embedding.tiny_models import backbone, saved

ROBERTA = {"cls": "<s>", "pad": "<pad>", "sep": "</s>"}
E5 = {"query": "query: ", "document": "passage: "}
BGE = {"query": "Represent this sentence for searching relevant passages: "}
NOMIC = {"query": "search_query: ", "document": "search_document: ", "clustering": "clustering: "}
GEMMA = {"query": "task: search result | query: ", "document": "title: none | text: "}
QWEN = {"query": "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"}
TEXTS = ["", "What?", "  the gradient of a loss ", "Größe 漢字 🙂", "UPPER Case é", "what is a loss " * 9]


def entry_of(directory: Path, **settings: Any) -> ModelEntry:
    return ModelEntry(source=f"path:{directory}", backend="sentence_transformers", **settings)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path / "cache"))


def assert_equal(directory: Path, kind: type[TextEncoder] | type[ModuleEncoder], **settings: Any) -> None:
    theirs = SentenceTransformer(str(directory), device="cpu")
    with open_embedder("tiny", entry_of(directory, **settings)) as embedder:
        assert isinstance(embedder.encoder, kind), embedder.encoder.pooling
        assert embedder.dimension == (theirs.truncate_dim or theirs.get_embedding_dimension())
        queries, documents = embedder.encode_queries(TEXTS), embedder.encode_documents(TEXTS)
    np.testing.assert_allclose(queries, theirs.encode_query(TEXTS, normalize_embeddings=True), atol=2e-6)
    np.testing.assert_allclose(documents, theirs.encode_document(TEXTS, normalize_embeddings=True), atol=2e-6)


QWEN_TOKENS = {"cls": "", "sep": "<|endoftext|>", "pad": "<|endoftext|>"}
FAMILIES: dict[str, tuple[type[Any], dict[str, Any], dict[str, Any], str, dict[str, str]]] = {
    "bge": (transformers.BertConfig, {}, {}, "cls", BGE),
    "distilbert": (
        transformers.DistilBertConfig, {}, {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 2}, "mean", {},
    ),
    "e5": (transformers.XLMRobertaConfig, ROBERTA, {"max_position_embeddings": 66}, "mean", E5),
    "mpnet": (transformers.MPNetConfig, ROBERTA, {"max_position_embeddings": 66}, "mean", {}),
    "modernbert": (
        transformers.ModernBertConfig, {},
        {"cls_token_id": 0, "sep_token_id": 2, "bos_token_id": 0, "eos_token_id": 2}, "mean", NOMIC,
    ),
    "max": (transformers.BertConfig, {}, {}, "max", {}),
    "nomic": (transformers.NomicBertConfig, {}, {"head_dim": 16}, "mean", NOMIC),
    "roberta": (transformers.RobertaConfig, ROBERTA, {"max_position_embeddings": 66}, "mean", {}),
    "qwen3": (
        transformers.Qwen3Config, QWEN_TOKENS,
        {"head_dim": 16, "num_key_value_heads": 2, "pad_token_id": 0}, "lasttoken", QWEN,
    ),
    "gemma": (
        transformers.Gemma3TextConfig, {"cls": "<bos>", "sep": "<eos>", "pad": "<pad>"},
        {"head_dim": 16, "num_key_value_heads": 2, "use_bidirectional_attention": True}, "mean", GEMMA,
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_transformer_and_pooling_are_computed_here(tmp_path: Path, family: str) -> None:
    config, tokens, settings, pooling, prompts = FAMILIES[family]
    base = backbone(tmp_path / "base", config, tokens, **settings)
    padding = {"processor_kwargs": {"padding_side": "left"}} if pooling == "lasttoken" else {}
    modules = [Transformer(str(base), **padding), Pooling(32, pooling)]
    directory = saved(tmp_path / "model", modules, prompts=prompts)
    assert_equal(directory, TextEncoder)


def old_directory(place: Path, pooling: dict[str, Any], **settings: Any) -> Path:
    """A directory as sentence-transformers 2 wrote it."""
    backbone(place, transformers.BertConfig)
    listed = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (place / "modules.json").write_text(json.dumps(listed))
    (place / "1_Pooling").mkdir()
    (place / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32} | pooling))
    (place / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 20} | settings))
    return place


@pytest.mark.parametrize("lower", [False, True])
def test_directories_of_earlier_versions(tmp_path: Path, lower: bool) -> None:
    modes = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    directory = old_directory(tmp_path, modes, do_lower_case=lower)
    assert_equal(directory, TextEncoder)
    with open_embedder("tiny", entry_of(directory)) as embedder:
        assert embedder.encoder.max_length == 20
        alike = embedder.encode_documents(["UPPER", "upper"])
        assert np.allclose(alike[0], alike[1], atol=1e-6) == lower
        assert embedder.count_truncated(["x" * 18, "x" * 19]) == 1  # [CLS] and [SEP] are two of the 20


def test_vectors_cut_short_by_the_models_authors(tmp_path: Path) -> None:
    base = backbone(tmp_path / "base", transformers.BertConfig)
    modules = [Transformer(str(base)), Pooling(32, "mean"), Normalize()]
    directory = saved(tmp_path / "model", modules, truncate_dim=12)
    file = directory / "config_sentence_transformers.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"truncate_dim": 12}))
    assert_equal(directory, TextEncoder)


def dense(place: Path) -> Path:
    """EmbeddingGemma: two dense layers after the mean."""
    config, tokens, settings, _, _ = FAMILIES["gemma"]
    torch.manual_seed(1)
    layers = [Dense(32, 48, activation_function=torch.nn.Identity()), Dense(48, 24, bias=False), Normalize()]
    base = backbone(place / "base", config, tokens, **settings)
    return saved(place / "model", [Transformer(str(base)), Pooling(32, "mean"), *layers], prompts=GEMMA)


def encoder_of_t5(place: Path) -> Path:
    sizes = {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2, "pad_token_id": 0}
    base = backbone(place / "base", transformers.T5Config, {"cls": "", "sep": "</s>", "pad": "<pad>"}, **sizes)
    return saved(place / "model", [Transformer(str(base)), Pooling(32, "mean")], prompts=E5)


def pooled_by(*modes: str, include_prompt: bool = True) -> Callable[[Path], Path]:
    def build(place: Path) -> Path:
        base = backbone(place / "base", transformers.BertConfig)
        pooling = Pooling(32, modes, include_prompt=include_prompt)
        return saved(place / "model", [Transformer(str(base)), pooling], prompts=E5)

    return build


def layer_norm(place: Path) -> Path:
    base = backbone(place / "base", transformers.BertConfig)
    norm = LayerNorm(32)
    torch.nn.init.normal_(norm.norm.bias)
    return saved(place / "model", [Transformer(str(base)), Pooling(32, "mean"), norm])


def in_a_folder(place: Path) -> Path:
    directory = old_directory(place / "model", {"pooling_mode_mean_tokens": True})
    folder = directory / "0_Transformer"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (directory / name).rename(folder / name)
    (directory / "sentence_bert_config.json").rename(folder / "sentence_bert_config.json")
    listed = json.loads((directory / "modules.json").read_text())
    listed[0]["path"] = "0_Transformer"
    (directory / "modules.json").write_text(json.dumps(listed))
    return directory


def static(place: Path) -> Path:
    import tokenizers

    backbone(place / "base", transformers.BertConfig)
    tokenizer = tokenizers.Tokenizer.from_file(str(place / "base" / "tokenizer.json"))
    torch.manual_seed(2)
    return saved(place / "model", [StaticEmbedding(tokenizer, embedding_dim=16)], prompts=E5)


def routed(place: Path) -> Path:
    """One encoder for queries, another for documents."""
    one = backbone(place / "one", transformers.BertConfig)
    other = backbone(place / "other", transformers.DistilBertConfig, dim=32, hidden_dim=48, n_layers=1, n_heads=2)
    routes = {
        "query": [Transformer(str(one)), Pooling(32, "mean")],
        "document": [Transformer(str(other)), Pooling(32, "cls")],
    }
    return saved(place / "model", [Router.for_query_document(routes["query"], routes["document"])])


FOREIGN = {
    "dense": dense,
    "t5": encoder_of_t5,
    "weightedmean": pooled_by("weightedmean"),
    "mean_sqrt_len": pooled_by("mean_sqrt_len_tokens"),
    "concatenated": pooled_by("cls", "mean"),
    "without_the_prompt": pooled_by("mean", include_prompt=False),
    "layer_norm": layer_norm,
    "folder": in_a_folder,
    "static": static,
    "router": routed,
}


@pytest.mark.parametrize("shape", FOREIGN)
def test_other_modules_run_in_sentence_transformers(tmp_path: Path, shape: str) -> None:
    assert_equal(FOREIGN[shape](tmp_path), ModuleEncoder)


def test_its_vectors_are_kept_and_depend_on_their_text_alone(tmp_path: Path) -> None:
    directory = dense(tmp_path)
    with open_embedder("tiny", entry_of(directory)) as embedder:
        first = embedder.encode_documents(TEXTS)
        assert embedder.computed == len(TEXTS)
        assert embedder.count_truncated(["x" * 100, "x"]) == 1
    with open_embedder("tiny", entry_of(directory)) as embedder:
        again = embedder.encode_documents([*TEXTS[::-1], "another"])
        assert embedder.computed == 1 and again[:-1][::-1].tobytes() == first.tobytes()
    with closing(Ledger(tmp_path / "another.sqlite")) as ledger:
        alone = Embedder("tiny", entry_of(directory), ledger).encode_documents(TEXTS[3:4])
    assert alone.tobytes() == first[3:4].tobytes()


def test_the_prompt_left_out_of_the_pooling_still_decides_the_vector(tmp_path: Path) -> None:
    """Two ways to write the same characters are two vectors where the pooling knows the prompt."""
    directory = FOREIGN["without_the_prompt"](tmp_path)
    with open_embedder("tiny", entry_of(directory, query_template="{query}")) as embedder:
        whole = embedder.encode_queries(["query: What?"])
    with open_embedder("tiny", entry_of(directory, query_template="query: {query}")) as embedder:
        split = embedder.encode_queries(["What?"])
        assert embedder.computed == 1 and not np.allclose(whole, split)


def test_weights_that_would_be_unpickled_are_refused_by_name(tmp_path: Path) -> None:
    directory = dense(tmp_path)
    (directory / "2_Dense" / "model.safetensors").rename(directory / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"2_Dense: no \*\.safetensors for module .*Dense"):
        open_embedder("tiny", entry_of(directory)).__enter__()


def test_modules_of_unknown_code_are_refused_by_name(tmp_path: Path) -> None:
    directory = dense(tmp_path)
    file = directory / "modules.json"
    file.write_text(file.read_text().replace("sentence_transformers.base.modules.dense.Dense", "custom_st.Dense"))
    complaint = pytest.raises(ValueError, match=r"model: sentence-transformers cannot load it: .*custom_st")
    with open_embedder("tiny", entry_of(directory)) as embedder, complaint:
        embedder.encode_documents(["a"])


def test_positions_that_are_counted_from_the_padding_token(tmp_path: Path) -> None:
    """XLM-RoBERTa and MPNet have 514 positions for 512 tokens: a text of 600 is cut, whatever their files name."""
    config, tokens, settings, _, _ = FAMILIES["e5"]
    base = backbone(tmp_path / "base", config, tokens | {"model_max_length": 10**30}, **settings)
    directory = saved(tmp_path / "model", [Transformer(str(base), max_seq_length=66), Pooling(32, "mean")])
    (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    for asked in (0, 66):
        with open_embedder("tiny", entry_of(directory, max_length=asked)) as embedder:
            assert embedder.encoder.max_length == 64
            assert np.isfinite(embedder.encode_documents(["x" * 600])).all()
