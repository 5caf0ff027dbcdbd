"""Whether a reply corrects what its question takes for granted: it rejects the false and states the true.

Values (numbers, names, words) are followed through the reply's clauses: which one it states, which it rejects
(stated_values.py). "No, it is 16, not 8." denies, and corrects nothing. Premises that are wrong by a "not" have no
value: there the reply's sentences are compared with the question's in what they affirm and deny.
"""

import re

from stages.lib.reply_acts.reply_frames import frame, plain, reply_sentences
from stages.lib.reply_acts.stated_values import stated_values

_DENIES = re.compile(
    r"^\W*(?:no|nope|nein|non|nee|нет)\b(?! (?:information|mention|need|one|such|reason|doubt)\b)|"
    r"^\W*(?:不是|不对|不，|いいえ)|"
    r"\b(?:incorrect|mistaken|mistake|untrue|wrong|false|contrary|misconception|misunderstanding|misread|inaccurate|"
    r"erroneous|falsch|irrtum|missverständnis|faux|fausse|erreur|malentendu|incorrect[oa]|fals[oa]|malentendido|"
    r"equivocad[oa])\b|"
    r"\bnot (?:\w+ )?(?:true|so|the case|correct|right|accurate|quite|what the \w+)\b|"
    r"\bn['’]t (?:\w+ )?(?:true|so|the case|correct|right|accurate)\b|"
    r"\bother way (?:a?round)\b|\bthe (?:opposite|reverse)\b|\btakes? for granted\b|\bpremise\b|\bcontradicts?\b|"
    r"\b(?:actually|in fact|in reality|instead|rather|tatsächlich|eigentlich|en fait|en réalité)\b|"
    r"\b(?:en realidad|de hecho)\b|"
    r"\b(?:does|do|did|is|are|was|were) not\b[^.]{0,80}\bbut\b|,\s*not\b|"
    r"umgekehrt|au contraire|al contrario|al revés|事实上|实际上|其实|恰恰相反|误解|错误|実際|誤解",
    re.IGNORECASE,
)
_AGREES = re.compile(
    r"^\W*(?:yes|right|correct|indeed|exactly|because|since|as|due|that is because|this is because|the reason|ja|weil|"
    r"oui|parce|car|sí|porque|是的|因为|はい)\b",
    re.IGNORECASE,
)
_NEGATIVE = re.compile(
    r"\b(?:not|no|never|none|neither|nor|without|nicht|kein\w*|nie|pas|jamais|aucune?|nunca|ningun[oa]?|niet|geen|не)\b|"
    r"^\W*no\b|[不没無未]|ない|ません",
    re.IGNORECASE,
)
_FALSEHOOD = re.compile(
    r"\b(?:incorrect|untrue|wrong|false|mistaken|falsch|faux)\b(?= (?:that|to|dass|que))", re.IGNORECASE
)
_QUOTED = re.compile(r"[\"“„«「][^\"“”„«»「」]{12,}[\"”“»」]")
_SAME_STATEMENT = 0.5  # share of the question's words that a sentence repeats to be about its premise
BARE = 2  # words beside the question's and the value that a bare statement of the right value may have


def denies(reply: str) -> bool:
    """Whether a reply denies something: "No.", "is not 3, but 5", "the other way round"."""
    return bool(_DENIES.search(reply))


def corrects_value(question: str, reply: str, true: str, false: str) -> bool:
    """Whether a reply states the true value against the false one.

    It does if it states the true one, not the false one, and rejects: by naming the false one ("8, not 16"), by a
    word ("Actually, ...", "a misunderstanding"), or by a bare statement of what the question has wrong ("The default
    is 8."). A quotation alone rejects nothing: who quotes whatever is asked about corrects nothing.
    """
    right, wrong = stated_values(reply, (true, false))
    if right.states is None or (right.rejects is not None and right.rejects < right.states):
        return False
    if wrong.states is not None:
        return (wrong.rejects is not None or denies(reply)) and right.states < wrong.states
    if wrong.rejects is not None or denies(_QUOTED.sub(" ", reply)):
        return True
    return not _AGREES.search(reply) and _is_bare(question, _QUOTED.sub(" ", reply), true)


def corrects_polarity(question: str, reply: str, false: str) -> bool:
    """Whether a reply affirms what its question's premise denies, or denies what it affirms.

    `false`: the words of the premise that are wrong ("is not", "can"); a negation in them makes the premise negative.
    A quotation alone corrects nothing, as above.
    """
    premise = bool(_NEGATIVE.search(plain(false))) or false.strip().lower() in ("cannot", "can't")
    asked = _content(question)
    opposite = same = False
    own = _QUOTED.sub(" ", reply)
    for sentence in reply_sentences(own):
        if len(asked & _content(sentence)) < _SAME_STATEMENT * max(1, len(asked)) and not _is_echo(sentence):
            continue
        negative = _is_negative(sentence)
        opposite |= negative != premise
        same |= negative == premise
    if _AGREES.search(reply):
        return False
    return opposite or (denies(own) and not same)


def _is_negative(sentence: str) -> bool:
    """Whether a sentence denies: two negations ("it is not true that it is not ...") affirm."""
    text = re.sub(r"^\W*(?:no|nein|non|nope)\b\s*[,.;:]?", "", plain(sentence))
    return (len(_NEGATIVE.findall(text)) + len(_FALSEHOOD.findall(text))) % 2 == 1


def _is_echo(sentence: str) -> bool:
    """A verb alone, which stands for the premise: "It does.", "No, it is not." """
    return bool(
        re.fullmatch(
            r"\W*(?:no,? |actually,? |in fact,? )?(?:it|they|he|she|this|that|the \w+) "
            r"(?:does|do|did|is|are|was|were|can|will|has|have)(?:n?['’]t| ?not)?\W*",
            sentence,
            re.IGNORECASE,
        )
    )


def _content(text: str) -> set[str]:
    return {
        word.rstrip("s") for word in re.findall(r"[^\W_]+(?:_\w+)*", plain(text)) if len(word) > 3 or word.isdigit()
    }


def _is_bare(question: str, reply: str, true: str) -> bool:
    """Whether a reply's statement of the true value has hardly a word of its own: "The default is 8." """
    sentence = next(
        (one for one in reply_sentences(reply) if stated_values(one, (true, "\0"))[0].states is not None), ""
    )
    own = _content(sentence) - _content(question) - _content(true) - {"default", "value", "text", "say", "state"}
    return bool(sentence) and len(own) <= BARE and len(frame(sentence)) > 2
