"""What a GGUF file says of itself that a conversation needs: its template, its context, its markup."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.lib.conversations.chat_format import TODAY
from stages.lib.conversations.markup import Markup
from stages.lib.replies.thinking import HARMONY

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


def read_facts(reader: Any, file: Path) -> GgufFacts:
    """From what `gguf.GGUFReader` read of the file.

    Raises:
        ValueError: it holds no tokens.
    """

    def value(key: str, default: Any) -> Any:
        field = reader.get_field(key)
        return default if field is None else field.contents()

    tokens, types = reader.get_field("tokenizer.ggml.tokens"), reader.get_field("tokenizer.ggml.token_type")
    if tokens is None:
        raise ValueError(f"{file}: holds no tokens: it is no language model")
    sentencepiece = value("tokenizer.ggml.model", "") == "llama"
    template = str(value("tokenizer.chat_template", ""))
    harmony = HARMONY[0] in template  # of its control tokens llama.cpp makes some that it reads wherever they stand
    ids: dict[str, int] = {}
    in_text = []
    kinds = types.contents() if types else [NORMAL] * len(tokens.data)
    ends = {text.encode() for text in TAKEN_FOR_ENDS}
    for number, (kind, place) in enumerate(zip(kinds, tokens.data, strict=True)):
        held = tokens.parts[place].tobytes()
        if kind not in (UNKNOWN, CONTROL, USER_DEFINED) and held not in ends:
            continue
        text = held.decode(errors="replace")
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
