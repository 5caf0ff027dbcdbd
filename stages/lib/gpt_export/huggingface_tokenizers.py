"""Our tokenizers as files that transformers' AutoTokenizer and GGUF converters load, with the same ids.

One difference: a text that spells out a special token, such as `<|endoftext|>`, is read as that token there, as
is usual, and as plain text by ours.
"""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from stages.lib.gpt_export.chat_template import chat_template
from stages.lib.tokens.instruction_template import example_ids
from stages.lib.tokens.tokenizers import Tokenizer, hugging_face_tokenizer

EOT, SEP, PAD, BOS = "<|endoftext|>", "<|sep|>", "<|pad|>", "<|bos|>"
_PROBE = ("Describe `numpy.mean`.\n\nIn 2 words:  Größe, 漢字", "The average.")


def save_tokenizer(tokenizer: Tokenizer, directory: Path, context: int, template: str = "") -> None:
    """Writes tokenizer.json and tokenizer_config.json, and with a `template` of instructions chat_template.jinja.

    `context` is the longest text the model takes, in tokens.

    Raises:
        ValueError: transformers would give the special tokens, or an instruction with its answer, other ids than ours.
    """
    if tokenizer.name == "byte":
        theirs = _fast_tokenizer(byte_vocabulary(), [], [PAD, BOS, EOT, SEP])
    elif tokenizer.name == "gpt2":
        vocabulary, merges = gpt2_vocabulary()
        theirs = _fast_tokenizer(vocabulary, merges, [EOT, SEP, PAD])
    else:
        theirs = _hugging_face(tokenizer.name)
    ids = {"eos": theirs.eos_token_id, "sep": theirs.sep_token_id, "pad": theirs.pad_token_id}
    if ids != {"eos": tokenizer.eot, "sep": tokenizer.sep, "pad": tokenizer.pad}:
        raise ValueError(f"tokenizer {tokenizer.name!r}: transformers gives the special tokens other ids: {ids}")
    theirs.model_max_length = context
    if template:
        theirs.chat_template = chat_template(theirs.sep_token, theirs.eos_token)
        prompt, answer = _PROBE
        read = theirs(f"{prompt}{theirs.sep_token}{answer}{theirs.eos_token}", add_special_tokens=False)["input_ids"]
        if read != example_ids(tokenizer, prompt, answer):
            raise ValueError(
                f"tokenizer {tokenizer.name!r}: transformers reads `prompt sep answer eot` as other ids than were "
                "trained; the model answers by python -m stages.lib.gpt.generate alone"
            )
    theirs.save_pretrained(directory)


def byte_vocabulary() -> dict[str, int]:
    """GPT-2's letter for each byte (it has printable ones alone) -> the byte."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {letter: byte for byte, letter in bytes_to_unicode().items()}


def gpt2_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """GPT-2's tokens and merges in GPT-2's letters, from tiktoken's ranks."""
    import tiktoken

    letters = {byte: letter for letter, byte in byte_vocabulary().items()}

    def spell(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    encoding = tiktoken.get_encoding("gpt2")  # of tiktoken's registry, since our tokenizer has loaded it
    ranks = {encoding.decode_single_token_bytes(rank): rank for rank in range(encoding.eot_token)}
    merges = [tuple(map(spell, last_merge(token, ranks))) for token in ranks if len(token) > 1]
    return {spell(token): rank for token, rank in ranks.items()}, [(left, right) for left, right in merges]


def last_merge(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens that BPE joins into this one: what is left when all earlier merges have been made."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [ranks.get(left + right, len(ranks)) for left, right in pairwise(parts)]
        first = pairs.index(min(pairs))
        parts[first : first + 2] = [parts[first] + parts[first + 1]]
    return parts[0], parts[1]


def _fast_tokenizer(vocabulary: dict[str, int], merges: list[tuple[str, str]], specials: list[str]) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(special, special=True, normalized=False) for special in specials])
    # A text begins after the end of the one before: so EOT is what begins it, too.
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=EOT,
        eos_token=EOT,
        sep_token=SEP,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
    )


def _hugging_face(name: str) -> Any:
    theirs = hugging_face_tokenizer(name)
    for special, text in (("sep_token", SEP), ("pad_token", PAD)):
        if getattr(theirs, special) is None:
            theirs.add_special_tokens({special: text})
    return _as_ours_reads(theirs)


def _as_ours_reads(tokenizer: Any) -> Any:
    """The same tokenizer as our training uses it: nothing is put before a text, and every part of one begins alike.

    SentencePiece's tokenizers mark the beginning of a text by a blank. Where they do so at the first part alone, the
    answer behind `sep` would begin otherwise than it was trained, as a text of its own.
    """
    from tokenizers import Tokenizer as Backend
    from transformers import PreTrainedTokenizerFast

    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    # A post-processor puts `<s>` and the like around a text: our models have not seen it there.
    parts["truncation"] = parts["padding"] = parts["post_processor"] = None
    splitter = parts["pre_tokenizer"] or {}
    for step in splitter.get("pretokenizers", [splitter]):
        if step.get("type") == "Metaspace" and step["prepend_scheme"] == "first":
            step["prepend_scheme"] = "always"
    # Of the plain class, since others (Llama's) build their parts by themselves when they are loaded.
    specials = {**tokenizer.special_tokens_map, "bos_token": tokenizer.eos_token}
    return PreTrainedTokenizerFast(
        tokenizer_object=Backend.from_str(json.dumps(parts)), clean_up_tokenization_spaces=False, **specials
    )
