"""What a GGUF file says of itself that a conversation needs: its template, its context, its markup."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.lib.conversations.chat_format import TODAY
from stages.lib.conversations.markup import Markup
from stages.lib.replies.thinking import HARMONY
from stages.lib.weights.gguf_header import read_gguf_header

NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4  # gguf.TokenType
# Texts that llama.cpp takes for ends of turns and the like wherever a vocabulary holds them, also as ordinary tokens:
# Qwen's holds `</s>` as one.
TAKEN_FOR_ENDS = (
    *("</s>", "<EOT>", "_<EOT>", "<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>"),
    *("<|calls|>", "<|flush|>", "<end_of_turn>", "<turn|>", "<|endoftext|>", "<|end_of_text|>", "<end_of_utterance>"),
    *("<｜end▁of▁sentence｜>", "<|fim_prefix|>", "<|fim_begin|>", "<fim-prefix>", "<fim_prefix>", "<PRE>", "▁<PRE>"),
    *("<|fim_suffix|>", "<|fim_hole|>", "<fim-suffix>", "<fim_suffix>", "<SUF>", "▁<SUF>", "<|fim_middle|>", "<MID>"),
    *("<|fim_end|>", "<fim-middle>", "<fim_middle>", "▁<MID>", "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>"),
    *("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>", "<|file_sep|>"),
)
# Names of the splitting rules whose tokenizers bring a text into this form before them.
NFC = ("qwen2", "qwen35", "command-r")
_DATE_OF_TODAY = re.compile(r"""strftime_now\(\s*(?P<quote>["'])(?P<form>[^"']*)(?P=quote)\s*\)""")


@dataclass(frozen=True)
class GgufFacts:
    """Of one file."""

    template: str  # the chat template; empty: none
    context: int  # tokens that the model was made for; 0: it does not say
    markup: Markup
    in_text: re.Pattern[str] | None  # the markup that llama.cpp reads as such wherever it stands; None: there is none
    unicode_form: str  # NFC, or "": texts stay as they are
    space_prefix: bool  # whether a blank is put before a text

    @property
    def dated_template(self) -> str:
        """The template with the one fixed date where it asks for today's."""
        return _DATE_OF_TODAY.sub(lambda call: f'"{TODAY.strftime(call["form"])}"', self.template)


def read_facts(file: Path) -> GgufFacts:
    """From the header of a file.

    Raises:
        ValueError: it is no whole GGUF file, or holds no tokens.
    """
    values = read_gguf_header(file).values

    def value(key: str, default: Any) -> Any:
        return values.get(key, default)

    tokens = value("tokenizer.ggml.tokens", None)
    if tokens is None:
        raise ValueError(f"{file}: holds no tokens: it is no language model")
    sentencepiece = value("tokenizer.ggml.model", "") == "llama"
    template = str(value("tokenizer.chat_template", ""))
    harmony = HARMONY[0] in template  # of its control tokens llama.cpp makes some that it reads wherever they stand
    ids: dict[str, int] = {}
    in_text = []
    kinds = value("tokenizer.ggml.token_type", [NORMAL] * len(tokens))
    ends = set(TAKEN_FOR_ENDS)
    for number, (kind, text) in enumerate(zip(kinds, tokens, strict=True)):
        if kind not in (UNKNOWN, CONTROL, USER_DEFINED) and text not in ends:
            continue
        # A SentencePiece vocabulary keeps ordinary text like that, too: runs of blanks, Gemma's <table>.
        if text.strip() and (kind != USER_DEFINED or not sentencepiece or text in template):
            ids[text] = number
            in_text += [text] if kind == USER_DEFINED or harmony else []
    architecture = value("general.architecture", "")
    return GgufFacts(
        template=template,
        context=int(value(f"{architecture}.context_length", 0)),
        markup=Markup(ids, _any_of(list(ids)), ""),
        in_text=_any_of(in_text),
        unicode_form="NFC" if value("tokenizer.ggml.pre", "") in NFC else "",
        space_prefix=sentencepiece and bool(value("tokenizer.ggml.add_space_prefix", True)),
    )


def _any_of(texts: list[str]) -> re.Pattern[str] | None:
    longest_first = sorted(texts, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, longest_first))) if texts else None
