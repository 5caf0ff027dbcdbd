from pathlib import Path
from typing import get_args

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from stages.lib.gguf.directories import convert_directory
from stages.lib.gguf.layouts import make_layout
from stages.lib.gguf.quantization import FileType
from stages.lib.gguf.tensors import read_tensors
from stages.lib.gguf.vocabulary import read_vocabulary
from stages.lib.gguf.writing import write_gguf
from tests.lib.gguf.tiny_families import tiny_family
from tests.lib.lora.tiny_chat import tiny_tokenizer, write_tiny_base


def test_a_directory_in_shards_is_converted_as_a_whole_one(tmp_path: Path) -> None:
    base = write_tiny_base(tmp_path / "base")
    whole = convert_directory(base, tmp_path / "whole.gguf", "Q8_0")
    AutoModelForCausalLM.from_pretrained(base).save_pretrained(tmp_path / "shards", max_shard_size="60KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    tiny_tokenizer().save_pretrained(tmp_path / "shards")
    shards = convert_directory(tmp_path / "shards", tmp_path / "shards.gguf", "Q8_0")
    assert whole.bytes == pytest.approx(shards.bytes, abs=64)  # the name
    files = [{t.name: t for t in gguf.GGUFReader(tmp_path / f"{name}.gguf").tensors} for name in ("whole", "shards")]
    assert all((files[0][name].data == files[1][name].data).all() for name in files[0])
    keys = gguf.GGUFReader(tmp_path / "whole.gguf").fields
    assert keys["general.file_type"].contents() == gguf.LlamaFileType.MOSTLY_Q8_0
    assert keys["tokenizer.chat_template"].contents().startswith("{% for message")
    assert keys["llama.rope.freq_base"].contents() == 10000.0
    assert "output.weight" not in files[0]  # tied


def test_no_safetensors_and_damaged_ones(tmp_path: Path) -> None:
    base = write_tiny_base(tmp_path / "base")
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match="safetensors are damaged"):
        convert_directory(base, tmp_path / "a.gguf", "F16")
    weights.unlink()
    with pytest.raises(ValueError, match=r"no model\.safetensors and no model\.safetensors\.index\.json"):
        convert_directory(base, tmp_path / "a.gguf", "F16")
    assert not (tmp_path / "a.gguf").exists()


@pytest.mark.parametrize(("value", "words"), [(float("nan"), "NaN or infinity"), (1e5, "beyond float16")])
def test_weights_that_cannot_be_written_leave_no_file(tmp_path: Path, value: float, words: str) -> None:
    model = tiny_family("llama")
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state["model.layers.1.mlp.up_proj.weight"][3, 4] = value
    layout = make_layout(model.config, {name: tuple(tensor.shape) for name, tensor in state.items()})
    with pytest.raises(ValueError, match=rf"up_proj\.weight .*{words}"):
        write_gguf(
            tmp_path / "a.gguf",
            layout=layout,
            vocabulary=read_vocabulary(tiny_tokenizer(), 259),
            tensor=state.__getitem__,
            file_type="F16",
            name="a",
        )
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_model_is_told(tmp_path: Path) -> None:
    convert_directory(write_tiny_base(tmp_path / "base"), tmp_path / "a.gguf", "F16")
    model = tiny_family("qwen3")
    layout = make_layout(model.config, {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()})
    with pytest.raises(ValueError, match="other tensors than the model has"):
        next(read_tensors(tmp_path / "a.gguf", layout))


@pytest.mark.parametrize("file_type", get_args(FileType))
def test_weights_come_back_as_the_gguf_package_reads_them(tmp_path: Path, file_type: FileType) -> None:
    convert_directory(write_tiny_base(tmp_path / "base"), tmp_path / "a.gguf", file_type)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    layout = make_layout(model.config, {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()})
    theirs = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "a.gguf").tensors}
    for placed, (source, found) in zip(layout.tensors, read_tensors(tmp_path / "a.gguf", layout), strict=True):
        tensor = theirs[placed.name]
        rows = torch.from_numpy(np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type)))
        assert source == placed.source and torch.equal(found, placed.from_gguf(rows))
