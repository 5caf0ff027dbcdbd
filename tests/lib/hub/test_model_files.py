"""Which files of a repository are fetched; the listings are written after well-known repositories, not copied."""

import pytest

from stages.lib.hub.model_files import model_files, tokenizer_files
from stages.lib.hub.repository import HubFile

SMALL, LARGE = 10_000, 5_000_000_000
SHARDS = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
CHAT = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "README.md"}
INDEX = "model.safetensors.index.json"


def listing(*paths: str) -> list[HubFile]:
    large = (".safetensors", ".bin", ".pth", ".pt", ".h5", ".msgpack", ".ot", ".onnx", ".gguf", ".tflite")
    return [HubFile(path, LARGE if path.endswith(large) else SMALL, "0" * 64, "0" * 40) for path in paths]


REPOSITORIES = {
    "mistralai/Mistral-7B-Instruct-v0.3": (
        {*CHAT, INDEX, *SHARDS, "special_tokens_map.json", "tokenizer.model", "tokenizer.model.v3", "params.json"},
        {"consolidated.safetensors", ".gitattributes"},
    ),
    "mistralai/Pixtral-like, with an index of the maker's": (
        {*CHAT, "model.safetensors"},
        {"consolidated-00001-of-00002.safetensors", "consolidated.safetensors.index.json"},
    ),
    "meta-llama/Llama-3.1-8B-Instruct": (
        {*CHAT, INDEX, *SHARDS, "LICENSE", "special_tokens_map.json"},
        {"original/consolidated.00.pth", "original/params.json", "original/tokenizer.model", ".gitattributes"},
    ),
    "openai/gpt-oss-20b": (
        {*CHAT, INDEX, *SHARDS, "chat_template.jinja", "LICENSE", "special_tokens_map.json"},
        {
            "original/model.safetensors",
            "original/config.json",
            "original/dtypes.json",
            "metal/model.bin",
            "USAGE_POLICY",
        },
    ),
    "HuggingFaceH4/zephyr-7b-beta": (
        {
            *CHAT,
            INDEX,
            *SHARDS,
            "added_tokens.json",
            "all_results.json",
            "tokenizer.model",
            "pytorch_model.bin.index.json",
        },
        {
            "pytorch_model-00001-of-00008.bin",
            "training_args.bin",
            "runs/Oct25/events.out.tfevents.1698",
            "thumbnail.png",
        },
    ),
    "sentence-transformers/all-MiniLM-L6-v2": (
        {
            *CHAT,
            "model.safetensors",
            "modules.json",
            "1_Pooling/config.json",
            "vocab.txt",
            "sentence_bert_config.json",
            "config_sentence_transformers.json",
        },
        {
            "onnx/model.onnx",
            "onnx/model_qint8_avx512.onnx",
            "openvino/openvino_model.bin",
            "openvino/openvino_model.xml",
            "pytorch_model.bin",
            "rust_model.ot",
            "tf_model.h5",
            "train_script.py",
        },
    ),
    "google/embeddinggemma-300m": (
        {*CHAT, "model.safetensors", "2_Dense/model.safetensors", "2_Dense/config.json", "3_Dense/model.safetensors"},
        {"onnx/model.onnx"},
    ),
    "openai-community/gpt2": (
        {*CHAT, "model.safetensors", "vocab.json", "merges.txt"},
        {
            "64.tflite",
            "64-8bits.tflite",
            "flax_model.msgpack",
            "onnx/decoder_model.onnx",
            "onnx/config.json",
            "pytorch_model.bin",
            "rust_model.ot",
            "tf_model.h5",
        },
    ),
    "a training's repository with its checkpoints": (
        {*CHAT, "adapter_config.json", "adapter_model.safetensors"},
        {"checkpoint-500/adapter_model.safetensors", "checkpoint-500/optimizer.pt", "model.fp16.safetensors"},
    ),
    "weights under another name": ({*CHAT, "weights.safetensors"}, {"consolidated.safetensors"}),
    "the maker's weights alone": ({*CHAT, "consolidated.safetensors"}, {"consolidated.00.pth"}),
}


@pytest.mark.parametrize("name", REPOSITORIES)
def test_one_set_of_weights_and_the_small_files_are_fetched(name: str) -> None:
    wanted, others = REPOSITORIES[name]
    found = [file.path for file in model_files(listing(*sorted(wanted | others)))]
    assert len(found) == len(set(found)) and set(found) == wanted


@pytest.mark.parametrize("name", REPOSITORIES)
def test_a_tokenizer_needs_no_weights(name: str) -> None:
    wanted, others = REPOSITORIES[name]
    found = {file.path for file in tokenizer_files(listing(*wanted, *others))}
    assert found == {path for path in wanted if not path.endswith(".safetensors")}


def test_of_gguf_files_the_named_one() -> None:
    quantized = [f"Qwen3-4B-{name}.gguf" for name in ("Q4_K_M", "Q8_0", "F16")]
    files = listing("README.md", "config.json", *quantized)
    found = model_files(files, gguf=True, named={quantized[1]: "0" * 64})
    assert {file.path for file in found} == {"README.md", "config.json", quantized[1]}
    with pytest.raises(ValueError, match=r"sha256: holds 3 GGUF files; name the one to take with its hash: .*Q4_K_M"):
        model_files(files, gguf=True)
    with pytest.raises(ValueError, match=r"sha256: has no file \['other.gguf'\]; its GGUF files are"):
        model_files(files, gguf=True, named={"other.gguf": "0" * 64})
    assert len(model_files(files[:3], gguf=True)) == 3


def test_without_safetensors_there_is_nothing_to_fetch() -> None:
    with pytest.raises(
        ValueError, match=r"holds no \*.safetensors \(but large files of \['.bin'\]\): pickles are never"
    ):
        model_files(listing("config.json", "pytorch_model.bin"))
