"""What is wrong with a question beside its answer, its fact or its prompt, and which questions ask the same."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from stages.lib.english.facts import Fact
from stages.lib.english.words import content_words, normalised
from stages.lib.languages.words import is_unspaced
from stages.lib.qa.openings import Opening

LEAK_COVERAGE = 0.85  # a question that holds this share of the answer's content words gives the answer away

# Answers that a question may hold: it asks which of them is right
_CHOICES = frozenset(
    "true false none yes no ja nein sí oui non sim não sì да нет "
    "是 否 不是 对 不对 はい いいえ 예 아니요 نعم لا हाँ नहीं".split()
)
# Words that the end of a question may add to the fact that it asks about
_ADDED = content_words("do done give given make made happen work mean need have use get set")


def finish_fault(opening: Opening, rest: str, fact: Fact, topic: str) -> str | None:
    """Why `rest` does not finish the opening to a question about the fact; None if it seems to.

    Reasons: unfinished (nothing was added to an opening that is not whole), off_fact (a content word
    was added that neither fact nor topic holds; to a whole opening, any that it and the topic do
    not hold), gives_answer_away (the question says all that the fact says; an entry of a parameter
    list says its parameter's name).
    """
    if not rest.strip(" ?") and not opening.whole:
        return "unfinished"
    held = content_words(f"{opening.text} {topic}")
    stated = content_words(fact.text)
    if content_words(rest) - held - (set() if opening.whole else stated | _ADDED):
        return "off_fact"
    asked = content_words(f"{opening.text} {rest}")
    if opening.asks_for_name:
        return "gives_answer_away" if fact.parameter in re.findall(r"[\w.]+", rest) else None
    return "gives_answer_away" if _share(stated - content_words(topic), asked) >= LEAK_COVERAGE else None


def answer_fault(question: str, answer: str) -> str | None:
    """Reason gives_answer_away: the question holds the answer word by word, or all of a longer one."""
    held = f" {normalised(question)} "
    wording = normalised(answer)
    if wording in _CHOICES:
        return None
    if wording and f" {wording} " in held:
        return "gives_answer_away"
    # Without blanks the same letters may be cut into other words in another sentence.
    if len(wording) > 1 and is_unspaced(wording) and wording.replace(" ", "") in held.replace(" ", ""):
        return "gives_answer_away"
    words = content_words(answer)
    return "gives_answer_away" if len(words) >= 6 and _share(words, content_words(question)) >= LEAK_COVERAGE else None


def repeats(question: str, answer: str, prompt: str) -> bool:
    """Whether the question, or a long answer, is a piece of the prompt's own words (its template or its shots)."""
    own = f" {normalised(prompt)} "
    asked, said = normalised(question), normalised(answer)
    return f" {asked} " in own or (len(said.split()) >= 4 and f" {said} " in own)


def mark_duplicates(questions: Sequence[str], threshold: float) -> list[int | None]:
    """For each question the first earlier one that asks the same; None for those that ask something new.

    The same: equal words, or a Jaccard similarity of the content words at or above `threshold` (0..1].
    Marks always point to a question that is no duplicate itself.

    Candidates come from a prefix filter (Chaudhuri, Ganti and Kaushik 2006), so that not each pair is compared: with
    each question's words sorted from rare to common, two at or above the threshold share one among the first
    n - ceil(t n) + 1 of each.
    """
    words = [content_words(question) for question in questions]
    frequency = Counter(word for one in words for word in one)
    marks: list[int | None] = []
    wordings: dict[str, int] = {}  # of questions that are no duplicates
    index: dict[str, list[int]] = defaultdict(list)  # word -> those of them that have it among their rarest
    for i, question in enumerate(questions):
        wording = normalised(question)
        ordered = sorted(words[i], key=lambda word: (frequency[word], word))
        # A margin against rounding in the product: one word more only costs time.
        rarest = ordered[: min(len(ordered), int((1 - threshold) * len(ordered)) + 2)]
        candidates = sorted({j for word in rarest for j in index.get(word, ())})
        similar = next((j for j in candidates if _jaccard(words[i], words[j]) >= threshold), None)
        mark = min((j for j in (similar, wordings.get(wording)) if j is not None), default=None)
        marks.append(mark)
        if mark is None:
            wordings[wording] = i
            for word in rarest:
                index[word].append(i)
    return marks


def _jaccard(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b) if a or b else 0.0


def _share(part: set[str], whole: set[str]) -> float:
    return len(part & whole) / len(part) if part else 0.0
