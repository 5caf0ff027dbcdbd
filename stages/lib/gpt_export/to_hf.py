"""A checkpoint of ours -> a Hugging Face directory, which appears when its logits are the checkpoint's, or not at all.

Run: python -m stages.lib.gpt_export.to_hf models/gpt/best OUT
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch

from stages.lib.core.records import read_json, saving
from stages.lib.gpt.checkpoints import CONFIG, load_model, read_config, read_template
from stages.lib.gpt.model import GPT
from stages.lib.gpt_export.huggingface import Dtype, to_hf
from stages.lib.tokens.tokenizers import Tokenizer, load_tokenizer

# Of the logits: the root mean square of the difference, as a share of their standard deviation. Weights that are
# rounded to 8 (bfloat16) or 11 (float16) bits move them by about that much.
MOST: dict[Dtype, float] = {"float32": 1e-4, "bfloat16": 0.1, "float16": 0.02}
_TEXTS = ("Once upon a time,\n  there was “Größe”: 12 µm.\n\n\tdon't", "漢字 and 😀  two blanks ", "x")


@dataclass(frozen=True)
class Exported:
    """What was made, and how near it is to the checkpoint."""

    model_type: str  # of transformers: gpt2 or llama
    weights: int
    difference: float  # the largest of the logits, nats
    tokens: int  # over which logits were compared


def export(checkpoint: Path, target: Path, dtype: Dtype = "float32", replace: bool = False) -> Exported:
    """Writes the directory `target`, after what was written has been loaded by transformers and compared.

    Args:
        checkpoint: a directory of ours.
        target: where the Hugging Face directory goes.
        dtype: of the stored weights.
        replace: an earlier export at `target` gives way; any other directory does not.

    Raises:
        ValueError: no checkpoint, a target that is in the way, a model that no layout holds, a tokenizer that is
            another than the checkpoint's by now, logits or ids that differ, a full disk.
    """
    check_target(checkpoint, target, replace)
    model, name = load_model(checkpoint)
    tokenizer = load_tokenizer(name)
    if tokenizer.identity != read_config(checkpoint)[1].identity:
        raise ValueError(f"{checkpoint}: was trained with another tokenizer than {name!r} is now")
    with saving(target, "the export"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            made = Path(folder) / "made"
            to_hf(model, tokenizer, made, dtype, read_template(checkpoint))
            exported = compare(model, tokenizer, made, dtype)
            if target.exists():
                target.rename(Path(folder) / "before")
            made.rename(target)
    return exported


def check_target(checkpoint: Path, target: Path, replace: bool) -> None:
    """Raises `ValueError` where something is at the target that is not to be replaced."""
    if checkpoint.resolve() in (target.resolve(), *target.resolve().parents):
        raise ValueError(f"{target}: lies in the checkpoint; name another directory")
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir():
        raise ValueError(f"{target}: is a file; name a directory")
    if not any(target.iterdir()) and not target.is_symlink():
        return
    config = target / CONFIG
    content = read_json(config) if config.is_file() else None
    if target.is_symlink() or not isinstance(content, dict) or "model_type" not in content:
        raise ValueError(f"{target}: exists and is no Hugging Face model; name a directory that does not exist")
    if not replace:
        raise ValueError(f"{target}: exists; --replace puts the new one in its place")


@torch.no_grad()
def compare(model: GPT, tokenizer: Tokenizer, directory: Path, dtype: Dtype) -> Exported:
    """Loads a directory as its users do, and holds it to the model: ids of texts, logits of a window of random ids.

    Raises:
        ValueError: they differ by more than the rounding of `dtype` explains.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    known = AutoTokenizer.from_pretrained(directory, model_max_length=10**9)  # or it warns of texts beyond the context
    for text in _TEXTS:
        if known(text, add_special_tokens=False)["input_ids"] != tokenizer.encode(text).tolist():
            raise ValueError(
                f"tokenizer {tokenizer.name!r}: transformers reads {text!r} as other ids than were trained"
            )
    theirs = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    length = min(model.config.context, 128)
    ids = torch.randint(0, tokenizer.vocab_size, (2, length), generator=torch.Generator().manual_seed(0))
    ours = model(ids)  # (2, T, V)
    difference = theirs(ids).logits - ours
    share = float(difference.square().mean().sqrt() / ours.std().clamp(min=1e-6))
    if not share <= MOST[dtype]:
        raise ValueError(
            f"the exported model's logits differ from the checkpoint's by {share:.2g} of their standard deviation, "
            f"{MOST[dtype]} at most is {dtype}'s rounding; nothing was written"
        )
    return Exported(str(theirs.config.model_type), model.n_params, float(difference.abs().max()), ids.numel())


def main(arguments: Sequence[str] | None = None) -> None:
    """Exports, and says in one line what was made."""
    parser = argparse.ArgumentParser(prog="python -m stages.lib.gpt_export.to_hf", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="directory of a checkpoint, e.g. models/gpt/best")
    parser.add_argument("out", type=Path, help="the directory to make")
    parser.add_argument("--dtype", choices=get_args(Dtype), default="float32", help="of the weights; default: float32")
    parser.add_argument("--replace", action="store_true", help="put it in the place of an earlier export")
    parsed = parser.parse_args(arguments)
    try:
        made = export(parsed.checkpoint, parsed.out, parsed.dtype, parsed.replace)
        tokenizer = read_config(parsed.checkpoint)[1].name
        chat = ", chat template" if read_template(parsed.checkpoint) else ""
    except ValueError as error:
        sys.exit(f"to_hf: {error}")
    print(
        f"to_hf: {parsed.checkpoint} -> {parsed.out}: {made.model_type}, {made.weights:,} weights in {parsed.dtype}, "
        f"tokenizer {tokenizer}{chat}; its logits are the checkpoint's (largest difference {made.difference:.1e} over "
        f"{made.tokens} tokens)"
    )


if __name__ == "__main__":
    main()
