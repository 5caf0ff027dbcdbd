"""What was dropped, as text for a message, and what a person can change about it."""

from collections.abc import Mapping

_ADVICE = {
    "too_long": "raise max_document_chars",
    "duplicate_document": "the same text came before",
    "duplicate": "the same example came before",
    "empty": "nothing but white space",
    "no_text": "set the source's text_key to the key that holds the text",
    "short_docstring": "lower the source's min_chars",
    "short_paragraph": "lower the source's min_chars",
    "unknown_file_type": "give it a suffix that is read, .txt for plain text",
    "invalid_utf8": "save it as UTF-8",
    "broken_json": "a .json file is one value, a .jsonl file one value a line",
}


def dropped_text(dropped: Mapping[str, int]) -> str:
    """ "3 too_long (raise max_document_chars), 1 empty (...)", the most frequent reason first; "nothing" for none."""
    reasons = sorted((-count, reason) for reason, count in dropped.items() if count)
    advice = {reason: f" ({text})" for reason, text in _ADVICE.items()}
    return ", ".join(f"{-count:,} {reason}{advice.get(reason, '')}" for count, reason in reasons) or "nothing"
