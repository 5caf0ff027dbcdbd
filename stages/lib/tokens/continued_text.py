"""What tokens say behind other text: their blanks, too."""

from collections.abc import Sequence

from stages.lib.tokens.tokenizers import Tokenizer, valid_unicode

_ANCHOR = "a"  # a letter that every vocabulary has


def continued(text: str, tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """A text with what tokens say that continue it; of an empty one they are the beginning."""
    return valid_unicode(text) + continuation(tokenizer, ids) if text else tokenizer.decode(ids)


def continuation(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """What tokens say behind a text.

    Decoders of SentencePiece's kind drop a blank before the first token of what they are given, since their encoders
    have put one there. So the tokens are decoded behind a letter, which is cut off again. Behind the text's own last
    tokens it would go wrong: a run of byte tokens that ends in broken UTF-8 is broken as a whole, so a continuation
    could change letters that stand before it.
    """
    anchor = tokenizer.encode(_ANCHOR).tolist()
    before, whole = tokenizer.decode(anchor), tokenizer.decode([*anchor, *ids])
    if not before or not whole.startswith(before):  # no letter of this vocabulary, or one that joins what follows
        return tokenizer.decode(ids)
    return whole[len(before) :]
