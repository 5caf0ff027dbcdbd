"""The strings that are tokens of their own because they mark something (`<|im_end|>`, `</s>`, `<think>`).

In a template such a string is the token; in what people and models say it is text, or anyone could end a turn or forge
one. So contents are quoted before the template is rendered: each such string becomes a private-use character. When the
text is tokenized, the characters are the strings again, read by a copy of the tokenizer that knows its markup under
other names.

Markup is what is special, what was added on top of the vocabulary, and what the chat template names. Not markup are
tokens that the base vocabulary holds for ordinary text, such as Gemma's `<table>` or runs of blanks.
"""

import json
import re
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

QUOTES = range(0x100000, 0x10FFFE)  # private-use plane 16: what stands for a quoted string until it is tokenized
ALIASES = range(0xF0000, 0xFFFFE)  # private-use plane 15: what begins and ends the alias of a token


@dataclass(frozen=True)
class Aliased:
    """A copy of a tokenizer that knows its markup under other names."""

    tokenizer: Any  # of the tokenizers library
    names: dict[str, str]  # markup -> its alias
    ids: dict[int, int]  # the copy's id of a token -> the tokenizer's own, where they differ


@dataclass(frozen=True)
class Markup:
    """The markup of a tokenizer."""

    ids: dict[str, int]
    pattern: re.Pattern[str] | None  # None: there is none
    content: str  # the tokenizer as JSON; empty where it has no such form
    copies: dict[str, Aliased] = field(default_factory=dict)  # by the character that their aliases begin with

    def quote(self, text: str, quotes: dict[str, str], taken: str) -> str:
        """The text with a private-use character for each markup; which one stands for which is added to `quotes`.

        `taken`: text whose characters must not be used.
        """
        if self.pattern is None:
            return text

        def stand_in(match: re.Match[str]) -> str:
            found = next((mark for mark, markup in quotes.items() if markup == match[0]), "")
            if not found:
                found = next(mark for code in QUOTES if (mark := chr(code)) not in taken and mark not in quotes)
                quotes[found] = match[0]
            return found

        return self.pattern.sub(stand_in, text)

    def aliased(self, text: str) -> Aliased:
        """A copy of the tokenizer whose aliases do not occur in the text.

        Raises:
            ValueError: the tokenizer has no tokenizer.json.
        """
        if not self.content:
            raise ValueError("special tokens inside a message can be told apart with a fast tokenizer alone")
        edge = next(mark for code in ALIASES if (mark := chr(code)) not in text)
        if edge not in self.copies:
            self.copies[edge] = _copy(self.content, self.ids, edge)
        return self.copies[edge]


_KNOWN: "weakref.WeakKeyDictionary[Any, tuple[tuple[int, str], Markup]]" = weakref.WeakKeyDictionary()


def markup_of(tokenizer: Any) -> Markup:
    """The markup of a tokenizer of transformers, found once for each."""
    state = (len(tokenizer), template_text(tokenizer))
    known = _KNOWN.get(tokenizer)
    if known is None or known[0] != state:
        known = _KNOWN[tokenizer] = (state, _find(tokenizer))
    return known[1]


def template_text(tokenizer: Any) -> str:
    """The chat template, the one named `default` where there are several; empty: none."""
    template = tokenizer.chat_template or ""
    return str(template.get("default", "")) if isinstance(template, dict) else str(template)


def _find(tokenizer: Any) -> Markup:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    vocabulary = backend.get_vocab(with_added_tokens=False) if backend else {}
    template = template_text(tokenizer)
    ids = {
        str(token): int(number)
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.special or (str(token).strip() and (str(token) not in vocabulary or str(token) in template))
    }
    longest_first = sorted(ids, key=lambda token: (-len(token), token))
    pattern = re.compile("|".join(map(re.escape, longest_first))) if ids else None
    return Markup(ids, pattern, backend.to_str() if backend else "")


def _copy(content: str, ids: Mapping[str, int], edge: str) -> Aliased:
    import tokenizers

    names = {token: f"{edge}{number}{edge}" for token, number in ids.items()}
    parts = json.loads(content)
    for token in parts["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model = parts["model"]
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(token, token): number for token, number in vocabulary.items()}
    elif vocabulary:  # Unigram: (piece, score)
        model["vocab"] = [[names.get(piece, piece), *score] for piece, *score in vocabulary]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    parts["truncation"] = parts["padding"] = None
    parts["post_processor"] = _without_template(parts["post_processor"])
    copy = tokenizers.Tokenizer.from_str(json.dumps(parts))
    back: dict[int, int] = {}
    for token, number in ids.items():
        theirs = copy.token_to_id(names[token])
        assert theirs is not None, f"the copy has no {token!r}"
        if theirs != number:
            back[theirs] = number
    return Aliased(copy, names, back)


def _without_template(step: dict[str, Any] | None) -> dict[str, Any] | None:
    """The post-processor without what adds special tokens: it names them; what trims offsets stays."""
    if step is None or step["type"] == "ByteLevel":
        return step
    if step["type"] == "Sequence":
        return {**step, "processors": [one for one in step["processors"] if one["type"] == "ByteLevel"]}
    return None
