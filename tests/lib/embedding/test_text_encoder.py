import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from transformers import (
    AutoModel,
    AutoTokenizer,
    BloomConfig,
    BloomModel,
    DistilBertConfig,
    GPT2Config,
    GPTNeoConfig,
    GPTNeoModel,
    Qwen3Config,
    Qwen3Model,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from stages.lib.core.records import read_json_object
from stages.lib.embedding.encoders import open_encoder
from stages.lib.embedding.text_encoder import TextEncoder
from stages.lib.embedding.token_states import padded_length
from stages.lib.weights.models import ModelEntry, load_model_entry, locate, resolved_dtype

LINE = "the gradient of a loss, über Größe 漢字 🙂 def f(x): return x**2 tokenizer batch 3.14 [CLS] learning-rate"
WORDS = LINE.split()


def texts_of(lengths: list[int], seed: int = 0) -> list[str]:
    source = random.Random(seed)
    return [" ".join(source.choices(WORDS, k=length)) for length in lengths]


def vectors_of(encoder: TextEncoder, texts: list[str]) -> np.ndarray:
    token_ids = encoder.tokenize(texts)
    vectors = np.full((len(texts), encoder.dimension), np.nan, dtype=np.float32)
    plan = encoder.plan(token_ids)
    for batch, found in zip(plan, encoder.encode([[token_ids[i] for i in batch] for batch in plan]), strict=True):
        vectors[batch] = found
    return vectors


def encoder_of(entry: ModelEntry, directory: Path) -> TextEncoder:
    encoder = open_encoder(entry, directory)
    assert isinstance(encoder, TextEncoder)
    return encoder


def padding(encoder: TextEncoder) -> TextEncoder:
    """The encoder with batches of 4, padded as on a card."""
    encoder.pads, encoder.batch_size = True, 4
    return encoder


def minilm() -> TextEncoder:
    entry = load_model_entry("minilm-l6")
    return encoder_of(entry, locate(entry))


def test_equals_sentence_transformers() -> None:
    from sentence_transformers import SentenceTransformer

    texts = [*texts_of([1, 3, 9, 20, 21, 60, 150, 400]), "", "  spaces\tand\nlines ", "UPPER Case é"]
    encoder = minilm()
    ours = vectors_of(encoder, texts)
    theirs = SentenceTransformer(str(encoder.directory), device="cpu").encode(texts, normalize_embeddings=True)
    assert encoder.max_length == 256
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert (ours * theirs).sum(axis=1).min() >= 0.99999


@pytest.mark.parametrize("pads", [False, True])
def test_a_vector_does_not_depend_on_what_else_is_embedded(pads: bool) -> None:
    encoder = padding(minilm()) if pads else minilm()
    texts = texts_of([2, 5, 5, 8, 11, 30, 31, 32, 33, 70], seed=1)
    together = vectors_of(encoder, texts)
    alone = np.concatenate([vectors_of(encoder, [text]) for text in texts])
    others = vectors_of(encoder, texts_of([4, 31, 69], seed=2) + texts[::-1])[3:][::-1]
    assert together.tobytes() == alone.tobytes() == others.tobytes()


def test_a_vector_does_not_depend_on_the_number_of_cores() -> None:
    encoder = minilm()
    texts = texts_of([2, 5, 5, 8, 40, 90, 150] * 3, seed=8)
    cores = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(vectors_of(encoder, texts).tobytes())
            assert torch.get_num_threads() == threads  # as it was before
    finally:
        torch.set_num_threads(cores)
    assert found[0] == found[1] == found[2]


def test_batches_hold_texts_of_one_shape_the_longest_first() -> None:
    encoder = padding(minilm())
    token_ids = [[7] * length for length in [3, 250, 16, 17, 5, 9, 256, 1, 2]]
    # Padded to 16: 0, 2, 4, 5, 7, 8; to 32: 3; to 256: 1, 6.
    assert encoder.plan(token_ids) == [[1, 6], [3], [0, 2, 4, 5], [7, 8]]
    assert encoder.plan([]) == []


def test_on_a_cpu_a_long_text_is_computed_alone_at_its_own_length_and_short_ones_by_fours() -> None:
    encoder = minilm()
    token_ids = [[7] * length for length in [3, 250, 3, 97, 17, 8, 96, 250, 5, 1]]
    assert encoder.plan(token_ids) == [[1], [7], [3], [6], [4], [0, 2, 5, 8], [9]]
    assert [encoder.padded_length(ids) for ids in token_ids] == [8, 250, 8, 97, 24, 8, 96, 250, 8, 8]


def test_padding_changes_a_vector_in_its_last_digits_alone() -> None:
    texts = texts_of([1, 3, 9, 20, 21, 60, 150], seed=9)
    np.testing.assert_allclose(vectors_of(minilm(), texts), vectors_of(padding(minilm()), texts), atol=1e-6)


def test_padding_costs_little() -> None:
    for tokens in range(1, 9000):
        assert tokens <= padded_length(tokens) <= max(tokens + 15, tokens * (1 + 1 / 16))


def qwen_tokenizer(directory: Path) -> None:
    """A byte-level tokenizer that ends a text with <|endoftext|>, as Qwen3-Embedding's does."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: i for i, symbol in enumerate([*alphabet, "<|endoftext|>"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", 256)]
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}'
    )


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Qwen3-Embedding in small: its architecture with random weights."""
    directory = tmp_path_factory.mktemp("qwen3")
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=257,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=512,
    )
    Qwen3Model(config).save_pretrained(directory)
    qwen_tokenizer(directory)
    return directory


def qwen_entry(directory: Path, **changes: Any) -> ModelEntry:
    settings: dict[str, Any] = {"max_length": 200, "pooling": "last_token"}
    return ModelEntry(source=f"path:{directory}", backend="sentence_transformers", **(settings | changes))


def last_token_pool(last_hidden_states: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """As written in the model card of Qwen3-Embedding."""
    left_padding = attention_mask[:, -1].sum() == attention_mask.shape[0]
    if left_padding:
        return last_hidden_states[:, -1]
    sequence_lengths = attention_mask.sum(dim=1) - 1
    batch_size = last_hidden_states.shape[0]
    return last_hidden_states[torch.arange(batch_size, device=last_hidden_states.device), sequence_lengths]


def test_equals_the_model_card_of_qwen3_embedding(qwen: Path) -> None:
    texts = texts_of([1, 2, 7, 12, 30, 90], seed=3)
    tokenizer = AutoTokenizer.from_pretrained(qwen, padding_side="left")
    model = AutoModel.from_pretrained(qwen)
    batch = tokenizer(texts, padding=True, truncation=True, max_length=200, return_tensors="pt")
    with torch.inference_mode():
        outputs = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    pooled = last_token_pool(outputs.last_hidden_state, batch["attention_mask"])
    expected = torch.nn.functional.normalize(pooled, p=2, dim=1).numpy()

    encoder = encoder_of(qwen_entry(qwen), qwen)
    np.testing.assert_allclose(vectors_of(encoder, texts), expected, atol=1e-5)
    padded = padding(encoder_of(qwen_entry(qwen), qwen))
    np.testing.assert_allclose(vectors_of(padded, texts), expected, atol=1e-5)
    ids = encoder.tokenize(texts)
    assert [len(tokens) for tokens in ids] == batch["attention_mask"].sum(dim=1).tolist()
    assert {tokens[-1] for tokens in ids} == {256} and len(ids[-1]) == 200  # the end mark survives the cut


@pytest.mark.parametrize("pads", [False, True])
def test_a_causal_models_vector_does_not_depend_on_what_else_is_embedded(qwen: Path, pads: bool) -> None:
    encoder = encoder_of(qwen_entry(qwen), qwen)
    encoder = padding(encoder) if pads else encoder
    texts = texts_of([1, 2, 3, 7, 12, 30], seed=4)
    alone = np.concatenate([vectors_of(encoder, [text]) for text in texts])
    assert vectors_of(encoder, texts[::-1])[::-1].tobytes() == alone.tobytes()


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_models_that_count_positions_from_their_padding_token(tmp_path: Path, pooling: str) -> None:
    """The RoBERTa family (E5, BGE-M3): positions start at padding token + 1, which we must leave to the model."""
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=257, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=130, pad_token_id=1, type_vocab_size=1,
    )  # fmt: skip
    XLMRobertaModel(config).save_pretrained(tmp_path)
    qwen_tokenizer(tmp_path)
    (tmp_path / "modules.json").write_text(
        '[{"type": "x.Transformer", "path": ""}, {"type": "x.Pooling", "path": "p"}]'
    )
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "config.json").write_text(f'{{"pooling_mode": "{pooling}"}}')
    entry = qwen_entry(tmp_path, pooling="model", max_length=120)
    texts = texts_of([1, 4, 9, 80], seed=5)
    model = AutoModel.from_pretrained(tmp_path)
    for encoder in (encoder_of(entry, tmp_path), padding(encoder_of(entry, tmp_path))):
        for vector, ids in zip(vectors_of(encoder, texts), encoder.tokenize(texts), strict=True):
            with torch.inference_mode():
                states = model(input_ids=torch.tensor([ids])).last_hidden_state[0]  # (T, H), no padding at all
            pooled = states.mean(dim=0) if pooling == "mean" else states[0]
            np.testing.assert_allclose(vector, torch.nn.functional.normalize(pooled, dim=0).numpy(), atol=1e-5)


def test_reduced_precision_stays_near(qwen: Path) -> None:
    texts = texts_of([3, 9, 20], seed=6)
    full = vectors_of(encoder_of(qwen_entry(qwen), qwen), texts)
    encoder = encoder_of(qwen_entry(qwen, dtype="bfloat16"), qwen)
    reduced = vectors_of(encoder, texts)
    assert reduced.dtype == np.float32 and not np.array_equal(full, reduced)
    assert (full * reduced).sum(axis=1).min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(reduced, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("capabilities", "allowed", "dtype"),
    [
        ({"amx_bf16": True}, "", "bfloat16"),
        ({"amx_bf16": True}, "AVX512_CORE_AMX", "bfloat16"),
        ({"amx_bf16": True}, "AVX2", "float32"),
        ({}, "", "float32"),
    ],
)
def test_auto_is_what_the_processor_multiplies_fastest(
    monkeypatch: pytest.MonkeyPatch, qwen: Path, capabilities: dict[str, bool], allowed: str, dtype: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", allowed)
    if not torch.cuda.is_available():
        assert resolved_dtype("auto") == dtype
    if not torch.cuda.is_available():
        assert encoder_of(qwen_entry(qwen, dtype="auto"), qwen).dtype == dtype


def test_lengths_that_the_models_files_name(qwen: Path, tmp_path: Path) -> None:
    assert encoder_of(qwen_entry(qwen, max_length=0), qwen).max_length == 512
    for file in qwen.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 100}')
    assert encoder_of(qwen_entry(tmp_path, max_length=0), tmp_path).max_length == 100
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 50}')
    assert encoder_of(qwen_entry(tmp_path, max_length=0), tmp_path).max_length == 50


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("model.safetensors", r"no \*\.safetensors here; weights in other formats are never loaded"),
        ("tokenizer.json", r"tokenizer\.json: no such file"),
        ("config.json", r"config\.json: no such file"),
    ],
)
def test_incomplete_model_directories(qwen: Path, tmp_path: Path, missing: str, message: str) -> None:
    for file in qwen.iterdir():
        if file.name != missing:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ValueError, match=message):
        encoder_of(qwen_entry(tmp_path), tmp_path)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu(qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = texts_of([1, 9, 40], seed=7)
    on_cuda = vectors_of(encoder_of(qwen_entry(qwen), qwen), texts)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    np.testing.assert_allclose(on_cuda, vectors_of(encoder_of(qwen_entry(qwen), qwen), texts), atol=1e-4)


def test_padding_moves_no_position(tmp_path: Path) -> None:
    """Positions that are learned, unlike rope's, show it."""
    torch.manual_seed(0)
    config = GPTNeoConfig(
        vocab_size=257,
        hidden_size=32,
        num_layers=2,
        num_heads=2,
        attention_types=[[["global"], 2]],
        max_position_embeddings=128,
        bos_token_id=256,
        eos_token_id=256,
    )
    GPTNeoModel(config).save_pretrained(tmp_path)
    qwen_tokenizer(tmp_path)
    encoder = padding(encoder_of(qwen_entry(tmp_path, max_length=100), tmp_path))
    texts = ["a", "loss", "batch of texts"]
    model = GPTNeoModel.from_pretrained(tmp_path).eval()
    for text, ids, vector in zip(texts, encoder.tokenize(texts), vectors_of(encoder, texts), strict=True):
        with torch.no_grad():
            state = model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
        np.testing.assert_allclose(vector, torch.nn.functional.normalize(state, dim=0), atol=1e-5, err_msg=text)


@pytest.mark.parametrize(
    "config",
    [
        GPT2Config(vocab_size=257, n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=256, eos_token_id=256),
        DistilBertConfig(vocab_size=257, max_position_embeddings=64, dim=32, hidden_dim=48, n_layers=2, n_heads=2),
    ],
    ids=["gpt2", "distilbert"],
)
def test_families_with_other_names_for_their_sizes(tmp_path: Path, config: Any) -> None:
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    qwen_tokenizer(tmp_path)
    assert "hidden_size" not in read_json_object(tmp_path / "config.json")
    encoder = encoder_of(qwen_entry(tmp_path, max_length=0), tmp_path)
    assert (encoder.dimension, encoder.max_length) == (32, 64)
    (vector,) = vectors_of(encoder, ["loss"])
    with torch.no_grad():
        ids = torch.tensor(encoder.tokenize(["loss"]))
        state = AutoModel.from_pretrained(tmp_path).eval()(input_ids=ids).last_hidden_state[0, -1]
    np.testing.assert_allclose(vector, torch.nn.functional.normalize(state, dim=0), atol=1e-5)


def test_a_size_that_no_config_tells_is_named(tmp_path: Path) -> None:
    BloomModel(BloomConfig(vocab_size=257, hidden_size=32, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    qwen_tokenizer(tmp_path)
    assert encoder_of(qwen_entry(tmp_path, max_length=20), tmp_path).dimension == 32
    with pytest.raises(ValueError, match=r"config\.json: .*'bloom' tells no max_position_embeddings.*set max_length"):
        encoder_of(qwen_entry(tmp_path, max_length=0), tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "of_tomorrow"}')
    with pytest.raises(ValueError, match=r"config\.json: has no hidden_size.*of_tomorrow"):
        encoder_of(qwen_entry(tmp_path), tmp_path)
