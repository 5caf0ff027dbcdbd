"""What is wrong with a question and an answer that a model wrote on a text by itself.

Seen with a real model of 0.5B on 100 texts: answers with numbers and names that the text does not hold, strings that
end in mid-phrase, and questions that could be asked of any text ("What is the name of the model?").
"""

import re

from stages.lib.english.words import content_words, is_function_word, stem
from stages.lib.languages.english_or_not import guess_by_words
from stages.lib.languages.words import words

LEAST_HELD = 0.5  # share of an answer's content words that its text, its source and its question hold

# Words that name nothing: what is left of a question without them is what it is about
_GENERAL = frozenset(
    stem(word)
    for word in """algorithm answer article author book chapter class code command concept content data dataset document
    documentation example feature field file format function guide idea information input item kind language learning
    library list machine main method model module name named number object option output package page paper parameter
    part passage person piece process product program project python question result rule script section set sentence
    setting snippet software step string system task term text thing title tool topic tutorial type used value variable
    version way word work called first given mention mentioned state stated describe described text""".split()
)
_HARD = re.compile(r"\d+(?:[.,]\d+)*|\b\w*[a-z][A-Z]\w*\b|\b\w+_\w+\b")  # numbers, code names
_PAIRS = (("(", ")"), ("[", "]"), ("{", "}"))


def pair_fault(question: str, answer: str, text: str) -> str | None:
    """Why a pair is rejected; None: it is not. `text`: what the model was told, the source included.

    Reasons: names_nothing (an English question that any text could be asked), cut_off (the answer ends in mid-phrase,
    or within a quotation or bracket), not_in_text (a number or code name of the answer is not in the text, or most of
    its words are not).
    """
    if _names_nothing(question):
        return "names_nothing"
    if _is_cut(answer):
        return "cut_off"
    return "not_in_text" if not _is_held(answer, f"{text} {question}") else None


def _names_nothing(question: str) -> bool:
    if guess_by_words(words(question)) != "english":
        return False
    return not content_words(question) - _GENERAL


def _is_cut(answer: str) -> bool:
    bare = answer.rstrip()
    if any(bare.count(opening) > bare.count(closing) for opening, closing in _PAIRS):
        return True
    if bare.count('"') % 2 or bare.count("`") % 2:
        return True
    found = words(bare)
    last = found[-1] if found else ""
    return (
        len(found) > 3
        and last in ("a", "an", "the", "of", "to", "and", "or", "with", "by", "for")
        and (is_function_word(last) and not bare.endswith((".", "!", "?")))
    )


def _is_held(answer: str, text: str) -> bool:
    hard = {word.replace(",", "") for word in _HARD.findall(answer)}
    if hard - {word.replace(",", "") for word in _HARD.findall(text)} - set(re.findall(r"\w+", text)):
        return False
    wanted = content_words(answer)
    return not wanted or len(wanted & content_words(text)) >= LEAST_HELD * len(wanted)
