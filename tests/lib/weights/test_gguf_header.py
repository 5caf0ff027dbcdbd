"""The header as the `gguf` package writes it and reads it: other code than libgguf's."""

from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from stages.lib.weights.gguf_header import read_gguf_header

KINDS = {"q": Type.Q8_0, "h": Type.F16, "f": Type.F32}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    numbers = np.random.default_rng(0)
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_context_length(256)
    writer.add_rope_freq_base(10000.5)
    writer.add_token_list(["a", "é", "<|im_end|>"])
    writer.add_token_types([1, 1, 3])
    writer.add_add_bos_token(False)
    for name, kind in KINDS.items():
        rows = numbers.standard_normal((6, 64)).astype(np.float32)
        writer.add_tensor(name, gguf.quants.quantize(rows, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "a.gguf"


def test_the_values_and_the_places_are_the_gguf_packages(file: Path) -> None:
    found, theirs = read_gguf_header(file), gguf.GGUFReader(file)
    assert found.values == {
        key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")
    }
    assert found.values["tokenizer.ggml.tokens"] == ["a", "é", "<|im_end|>"]
    whole = file.read_bytes()
    for tensor in theirs.tensors:
        place = found.tensors[tensor.name]
        assert place.type == tensor.tensor_type == KINDS[tensor.name] and place.shape == (6, 64)
        assert whole[place.offset : place.offset + place.bytes] == tensor.data.tobytes()


def test_a_file_that_is_cut_off_is_told(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    for length in (0, 3, 20, 100, len(whole) - 100, len(whole) - 1):
        (tmp_path / "cut.gguf").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut\.gguf: not a whole GGUF file"):
            read_gguf_header(tmp_path / "cut.gguf")
    (tmp_path / "cut.gguf").write_bytes(whole[:24] + b"\xff" * 64)  # a key of 2^64 bytes
    with pytest.raises(ValueError, match=r"cut\.gguf: not a whole GGUF file"):
        read_gguf_header(tmp_path / "cut.gguf")
    with pytest.raises(ValueError, match=r"none\.gguf: no such file"):
        read_gguf_header(tmp_path / "none.gguf")
