"""Unanswerable questions by pairing: questions that a text does not answer, and the refusals that answer them.

A question is paired with a text of another document on the same side. That the text does not hold the answer is
checked by rule: of the words that the answer adds to the question (of a long answer, its twelve rarest), none may
stand in it, but for those that stand in every fifth text anyway. Among the texts that pass, one is taken that is close
to the question, so that a refusal has to be read off the text and not off a change of subject.
"""

import math
from collections import Counter
from collections.abc import Sequence

from stages.lib.chats.qa_items import QAItem
from stages.lib.chats.refusals import refusal
from stages.lib.english.words import content_words, normalised
from stages.lib.reading.documents import Drop
from stages.lib.statistics.drawing import drawn, fraction_of

COMMON = 0.2  # share of the texts from which a word says nothing about one of them
FEW = 3  # texts that may hold any word, however few texts there are
TELLING = 12  # words of a long answer that must be absent
LOOKED_AT = 300  # texts that are compared with a question, from a place drawn by hash
CLOSEST = 6  # of the closest texts, one is drawn


class Texts:
    """The texts of one side, for pairing questions with texts that do not answer them."""

    def __init__(self, items: Sequence[QAItem], groups: dict[str, str]) -> None:
        """Keeps each distinct context with the group of its source."""
        found = {item.context: groups[item.source] for item in items if item.context}
        self.texts = drawn("texts", found)
        self.groups = [found[text] for text in self.texts]
        self.wordings = [f" {normalised(text)} " for text in self.texts]
        self.words = [content_words(text) for text in self.texts]
        self.frequency = Counter(word for words in self.words for word in words)

    def without_answer(self, item: QAItem, group: str) -> str | None:
        """A text of another group that holds none of the words that tell the answer; None if there is none."""
        telling = self.telling_words(item)
        asked = content_words(item.question)
        answer = f" {normalised(item.answer)} "
        first = int(fraction_of("texts", item.id) * len(self.texts))
        fits = []
        for number in range(first, first + min(len(self.texts), LOOKED_AT)):
            place = number % len(self.texts)
            words = self.words[place]
            if self.groups[place] != group and telling.isdisjoint(words) and answer not in self.wordings[place]:
                # fsum: what a sum over a set comes to must not depend on the order of its words.
                closeness = math.fsum(math.log(len(self.texts) / self.frequency[word]) for word in asked & words)
                fits.append((-closeness, self.texts[place]))
        closest = [text for _, text in sorted(fits)[:CLOSEST]]
        return drawn(f"closest {item.id}", closest)[0] if closest else None

    def telling_words(self, item: QAItem) -> set[str]:
        """The rarest words that the answer adds to the question; none that every fifth text holds."""
        added = content_words(item.answer) - content_words(item.question)
        rare = [word for word in added if self.frequency[word] <= max(FEW, COMMON * len(self.texts))]
        return set(sorted(rare, key=lambda word: (self.frequency[word], word))[:TELLING])


def pair_unanswerable(item: QAItem, texts: Texts, group: str, refusals: str) -> QAItem | Drop:
    """The item's question on a text that does not answer it.

    Drop reasons: `nothing_to_look_for` (the answer adds no telling word to the question), `no_text_without_answer`.
    """
    name = f"unanswerable:{item.id}"
    if not texts.telling_words(item):
        return Drop(name, "nothing_to_look_for", item.answer)
    text = texts.without_answer(item, group)
    if text is None:
        return Drop(name, "no_text_without_answer", item.question)
    return QAItem(
        id=name,
        kind="unanswerable",
        source=item.source,
        context=text,
        question=item.question,
        answer=refusal(item.question, item.opening, refusals, name),
        made_by="pairing",
        question_of=item.id,
    )
