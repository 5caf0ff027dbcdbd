"""Questions that cost no model: a sentence, a span cut out of it, a question word put in front.

Noisy clozes (Lewis, Denoyer and Riedel, "Unsupervised Question Answering by Cloze Translation", ACL 2019): a stretch of
the sentence without the span that would be the answer, some words dropped, sometimes shuffled. Beside the few
questions that a language model wrote they teach what every retriever has to know, which text tells of these words.
"""

import random
import re

_WORD = re.compile(r"[^\W_][\w'./-]*")
_OPENINGS = ("What", "What is", "What does", "Which", "How", "How many", "When", "Where", "Who", "Why", "In what")
FEWEST, MOST = 6, 60  # words of a sentence that is asked about
STRETCH = (6, 14)  # words of it that are looked at
ANSWER = (1, 3)  # words cut out as the answer
DROPPED, SHUFFLED = 0.2, 0.3  # share of words left out, of questions whose words are shuffled


def pseudo_question(sentence: str, seed: str) -> str | None:
    """A question on a sentence, the same for the same seed; None where the sentence is too short or too long."""
    words = _WORD.findall(sentence)
    if not FEWEST <= len(words) <= MOST:
        return None
    draw = random.Random(seed)
    length = min(len(words), draw.randint(*STRETCH))
    start = draw.randint(0, len(words) - length)
    words = words[start : start + length]
    cut = draw.randint(*ANSWER)
    place = draw.randint(0, len(words) - cut)
    words = words[:place] + words[place + cut :]
    words = [word for word in words if draw.random() >= DROPPED] or words
    if draw.random() < SHUFFLED:
        draw.shuffle(words)
    return f"{draw.choice(_OPENINGS)} {' '.join(words)}?"
