"""Whether a reply says that the text does not tell what is asked: its sentences, with the question and the reference.

What counts, decided once for all stages:

- the first sentence that says anything decides; what a refusal adds from elsewhere ("but in general ...") changes
  nothing, unless it is the reference's answer.
- a later sentence decides where it speaks of the question, or of what the question asks rather than the sentences
  before it do: "The default is 8. The text does not say why." refuses "Why is it 8?", and answers "What is it?".
- a no to a yes-or-no question is an answer: "Is it available in float16?" - "It is not available."
"""

import re

from stages.lib.answers.likeness import token_f1
from stages.lib.reply_acts.refusal_reader import reader
from stages.lib.reply_acts.reply_frames import frame, plain, reply_sentences

REFUSES = 0.5  # probability of a sentence from which it refuses
SAME_ANSWER = 0.5  # token F1 with the reference from which the rest of a reply is the answer
LONGEST = 5  # sentences of a reply whose refusal may come after the first; a longer one tells something
_CLAUSES = re.compile(r"[,;]?\s+(?=(?:but|however|although|though|while|aber|mais|pero)\b)|;\s+|[，；]", re.IGNORECASE)
_YES_OR_NO = re.compile(
    r"^\W*(?:is|are|was|were|does|do|did|can|could|has|have|had|will|would|should|may|must|ist|sind|kann|hat|wird|"
    r"est-ce|peut|puede|es|está)\b|吗[？?]?$",
    re.IGNORECASE,
)
_INTERROGATIVES = frozenset("why how when where who which many much long old warum wie wann wo wer pourquoi".split())
_MEANS_NOTHING = frozenset("what that this with from have does were into than they them your text paper".split())


def says_not_told(reply: str, question: str = "", reference: str = "") -> bool:
    """Whether a reply says that what is asked cannot be told from the text.

    Args:
        reply: any text, in any case; empty ones say nothing.
        question: what it replies to; "" if unknown.
        reference: the right answer, where there is one.
    """
    sentences = [_sentence_case(sentence) for sentence in reply_sentences(reply)]
    refusing = [reader().probability(sentence) > REFUSES for sentence in sentences]
    if question and _YES_OR_NO.search(question):
        refusing = [value and not _answers_no(s, question) for value, s in zip(refusing, sentences, strict=True)]
    if not any(refusing):
        return False
    place = refusing.index(True)
    if place and len(sentences) > LONGEST:
        return False
    before = [sentence for sentence in sentences[:place] if not _is_polite(sentence)]
    if before and not any(
        _speaks_of_question(sentence, question, before)
        for sentence, refuses in zip(sentences, refusing, strict=True)
        if refuses
    ):
        return False
    return not (reference and _gives(sentences, refusing, question, reference))


def _sentence_case(sentence: str) -> str:
    return sentence.lower() if sentence.isupper() else sentence


def _is_polite(sentence: str) -> bool:
    """Whether a sentence says nothing of the matter: "Good question!", "Sorry.", "No." """
    kinds = [token.kind for token in frame(sentence)[1:-1]]
    return len(kinds) <= 3 and ({"SORRY", "Q"} & set(kinds) != set() or set(kinds) <= {"AGREE", "NEG"})


def _answers_no(sentence: str, question: str) -> bool:
    """Whether a sentence denies what a yes-or-no question asks: its verb of telling is the question's own."""
    tokens, asked = frame(sentence), set(plain(question).split())
    if any(token.kind in ("SRC", "SPK", "Q", "KNOW") for token in tokens):
        return False
    verbs = {token.word[:5] for token in tokens if token.kind in ("TELL", "GO")}
    return bool(verbs) and verbs <= {word[:5] for word in asked}


def _speaks_of_question(sentence: str, question: str, before: list[str]) -> bool:
    """Whether a sentence is about the question, or about what it asks more than those before it are."""
    if any(token.kind == "Q" for token in frame(sentence)):
        return True
    asked = _content(question)
    if asked & _content(sentence) & _INTERROGATIVES:  # "The text does not say why."
        return True
    own = len(asked & _content(sentence))
    return own > 0 and own > max(len(asked & _content(other)) for other in before)


def _content(text: str) -> set[str]:
    words = re.findall(r"[^\W_]+(?:_\w+)*", plain(text))
    return {w for w in words if w in _INTERROGATIVES or (len(w) > 3 and w not in _MEANS_NOTHING) or w.isdigit()}


def _gives(sentences: list[str], refusing: list[bool], question: str, reference: str) -> bool:
    """Whether what a reply says beside its refusal is the reference's answer."""
    rest: list[str] = []
    for sentence, refuses in zip(sentences, refusing, strict=True):
        clauses = _CLAUSES.split(sentence) if refuses else [sentence]
        rest += [clause for clause in clauses if not refuses or reader().probability(clause) <= REFUSES]
    told = " ".join(rest)
    if not told or says_not_told(reference):
        return False
    known = {token.word for token in frame(question)}
    facts = {token.word for token in frame(reference) if token.kind == "#"} - known
    said = {token.word for token in frame(told)}
    return (token_f1(told, reference) or 0) >= SAME_ANSWER or (bool(facts) and facts <= said)
