"""A transformers tokenizer as llama.cpp's vocabulary: `gpt2` (byte-level BPE) or `llama` (SentencePiece BPE).

llama.cpp splits text before BPE by rules that it knows by name. The name is taken from the tokenizer's own splitting
pattern, and an unknown pattern is refused: a wrong name gives other tokens without any error. The release gate
compares the tokens themselves.
"""

import json
from dataclasses import dataclass
from typing import Any

import gguf

from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.encoding import beginning
from stages.lib.conversations.markup import template_text
from stages.lib.conversations.rendering import render
from stages.lib.gguf.chat_templates import exported_template
from stages.lib.gguf.pre_tokenizers import pre_tokenizer_name, steps

# llama.cpp refuses a BPE vocabulary without merges. No byte is spelled with these letters, so this one never happens.
NO_MERGE = "\u4e00 \u4e01"
SPACE = "\u2581"  # SentencePiece's blank


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What a GGUF file says of its tokens; lists have one item for each row of the embedding."""

    model: str  # gpt2 or llama
    pre: str
    tokens: list[str]
    types: list[int]  # gguf.TokenType
    scores: list[float]  # llama alone: the better of two merges has the higher
    merges: list[str]  # gpt2 alone
    ids: dict[str, int]  # bos, eos, eot, padding, unknown, separator
    add_bos: bool
    add_eos: bool
    add_space_prefix: bool
    chat_template: str  # empty: none
    end_of_turn: int | None  # the token after a reply, by the chat template


def read_vocabulary(tokenizer: Any, rows: int, fmt: ChatFormat = ChatFormat()) -> Vocabulary:  # noqa: B008  # frozen
    """The vocabulary of a fast tokenizer for a model whose embedding has `rows` rows; `fmt`: of the model's entry.

    Raises:
        ValueError: llama.cpp cannot cut text as this tokenizer does, or the embedding lacks rows.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(f"{type(tokenizer).__name__}: no tokenizer.json, from which llama.cpp's vocabulary is made")
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    known = tokenizer.get_vocab()
    if max(known.values()) >= rows:
        raise ValueError(f"the tokenizer has {max(known.values()) + 1} tokens, the model's embedding {rows} rows")
    if content["model"]["type"] != "BPE":
        raise ValueError(f"tokenizer model {content['model']['type']!r}: llama.cpp's vocabularies here are BPE alone")
    first = beginning(tokenizer)
    if first not in ([], [tokenizer.bos_token_id]):
        raise ValueError(
            f"the tokenizer puts {tokenizer.convert_ids_to_tokens(first)} before every text, llama.cpp can put "
            f"its bos_token ({tokenizer.bos_token!r}) or nothing"
        )
    sentencepiece = bool(content["model"].get("byte_fallback")) and "<0x00>" in content["model"]["vocab"]
    pre = "default" if sentencepiece else pre_tokenizer_name(content)
    added = {int(entry["id"]): entry for entry in content["added_tokens"]}
    by_id = {i: token for token, i in known.items()}
    tokens = [by_id.get(i, f"[PAD{i}]") for i in range(rows)]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in content["model"]["merges"]]
    template = exported_template(tokenizer, fmt)
    end = end_of_turn(tokenizer, fmt)
    return Vocabulary(
        model="llama" if sentencepiece else "gpt2",
        pre=pre,
        tokens=tokens,
        types=[
            int(_type(tokens[i], added.get(i), i == tokenizer.unk_token_id, sentencepiece))
            if i in by_id
            else int(gguf.TokenType.UNUSED)
            for i in range(rows)
        ],
        scores=_scores(tokens, merges) if sentencepiece else [],
        merges=[] if sentencepiece else merges or [NO_MERGE],
        ids=_special_ids(tokenizer, end),
        add_bos=bool(first),
        # A prompt of a chat goes on with the reply: nothing ends it.
        add_eos=not template and _adds_end(tokenizer),
        add_space_prefix=sentencepiece and _prefixes(content),
        chat_template=template,
        end_of_turn=end,
    )


def end_of_turn(tokenizer: Any, fmt: ChatFormat = ChatFormat()) -> int | None:  # noqa: B008  # frozen
    """The special token that follows a reply in the chat template; None: there is no template, or no such token."""
    if not template_text(tokenizer):
        return None
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "qqq"}]
    text = render(tokenizer, messages, fmt, generation_prompt=False).text
    after = tokenizer(text.rpartition("qqq")[2], add_special_tokens=False)["input_ids"]
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    return next((token for token in after if token in special), None)


def _type(token: str, added: dict[str, Any] | None, unknown: bool, sentencepiece: bool) -> gguf.TokenType:
    if sentencepiece and unknown:
        return gguf.TokenType.UNKNOWN
    if added:
        # Not printed in a reply: what is special, and what looks like it though the tokenizer does not say so.
        control = added["special"] or (token.startswith("<|") and token.endswith("|>"))
        return gguf.TokenType.CONTROL if control else gguf.TokenType.USER_DEFINED
    if sentencepiece and len(token) == 6 and token.startswith("<0x"):
        return gguf.TokenType.BYTE
    return gguf.TokenType.NORMAL


def _scores(tokens: list[str], merges: list[str]) -> list[float]:
    """SentencePiece joins the pair whose result scores highest; tokenizer.json has the order of the merges."""
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault(merge.replace(" ", "", 1), rank)
    return [-float(ranks.get(token, len(merges))) for token in tokens]


def _special_ids(tokenizer: Any, end: int | None) -> dict[str, int]:
    ids = {
        "bos": tokenizer.bos_token_id,
        "eos": tokenizer.eos_token_id,
        "eot": end if end != tokenizer.eos_token_id else None,
        "padding": tokenizer.pad_token_id,
        "unknown": tokenizer.unk_token_id,
        "seperator": getattr(tokenizer, "sep_token_id", None),  # the key's own spelling
    }
    return {name: int(i) for name, i in ids.items() if i is not None}


def _adds_end(tokenizer: Any) -> bool:
    end = tokenizer.eos_token_id
    return end is not None and bool(tokenizer("a")["input_ids"][-1] == end)


def _prefixes(content: dict[str, Any]) -> bool:
    """Whether a blank is put before a text."""
    for step in steps(content["normalizer"], "normalizers"):
        if step["type"] == "Prepend" and step["prepend"] == SPACE:
            return True
    metaspace = [step for step in steps(content["pre_tokenizer"], "pretokenizers") if step["type"] == "Metaspace"]
    return any(step.get("prepend_scheme", "always") != "never" for step in metaspace)
