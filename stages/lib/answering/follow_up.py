"""A follow-up question made one that can be searched for by itself.

A capable model rewrites it. For one too small to, a question that leans on what was said before ("and how many of
them?") is searched for together with the question before it; one that stands by itself is left alone.
"""

import re
from collections.abc import Sequence

from stages.lib.core.records import Message
from stages.lib.english.words import content_words

_LEANS = re.compile(
    r"\b(it|its|they|them|their|theirs|this|that|these|those|he|she|his|her|there|then|same|former|latter|other|others|"
    r"else|er|sie|es|ihn|ihm|ihr|ihre|deren|dessen|diese[rnsm]?|jene[rnsm]?|dort|dabei|dazu|davon|damit)\b",
    re.IGNORECASE,
)
_BEGINS = re.compile(
    r"^\W*(and|but|so|or|why|how so|what about|how about|und|aber|warum|wieso|was ist mit)\b", re.IGNORECASE
)
FEW = 3  # content words at which a question may be a continuation


def searched_question(question: str, history: Sequence[Message]) -> str:
    """The question, after the last one of the history where it leans on it."""
    earlier = [message["content"] for message in history if message["role"] == "user"]
    words = content_words(question)
    leans = bool(_LEANS.search(question)) or (len(words) <= FEW and bool(_BEGINS.search(question))) or len(words) <= 1
    return f"{earlier[-1]} {question}" if earlier and leans else question
