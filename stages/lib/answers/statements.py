"""What a text or a reply states, by wording: a value, or that something is not told."""

import re

# Letters of scripts that write no blanks between words: what stands beside one is a word of its own
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uff66-\uff9f"


def holds(text: str, value: str) -> bool:
    """Whether a text holds a value as a word of its own, whatever its case; in scripts without blanks, anywhere."""
    before = "" if re.match(rf"[{_UNSPACED}]", value) else rf"(?<![^\W{_UNSPACED}])(?<!\.)"
    after = "" if re.search(rf"[{_UNSPACED}]$", value) else rf"(?![^\W{_UNSPACED}]|\.\d)"
    return bool(re.search(f"{before}{re.escape(value)}{after}", text, re.IGNORECASE))


_VERBS = (
    r"(?:say|tell|answer|contain|define|explain|mention|discuss|provide|describe|detail|state|specify|give|address|"
    r"compare|differentiate|infer|reason|include|indicate|clarify|analy[sz]e|pose|hold|name|report|cover)"
)
_NOT = r"(?:not|n['’]t|never)"
# What authors of QASA wrote, the phrases of our own templates, and what chat models say.
_NOT_TOLD = re.compile(
    r"\bun-?an?s\w*able\b|\bnot (?:be )?(?:answer|possible to (?:answer|infer|know|tell)|clear)\w*|"
    r"\b(?:no|less) (?:information|mention|clue|evidential|details?)\b|\bno evidence available\b|"
    r"\b(?:text|paper|authors?|they|passage|context|document|paragraphs?|it|questions?)\b[^.?!]{0,60}?"
    rf"\b(?:do|does|did|is|are|was|were|has|have|had|could|)(?: ?{_NOT})(?: \w+)? (?:been |be )?"
    rf"(?:{_VERBS}(?:ed|d|n|s)?|have the answer|explicitly {_VERBS})\b|"
    r"\b(?:can ?not|can['’]t|could not|couldn['’]t)(?: \w+)?(?: be)? "
    r"(?:answer|f[io]u?nd|explain|told|tell|infer|differen)\w*|"
    r"\b(?:not|never) (?:been )?(?:discussed|mentioned|stated|described|defined|specified|provided)\b|"
    r"\bnot (?:available|sufficient) (?:in|from)\b",
    re.IGNORECASE,
)


def says_not_told(reply: str) -> bool:
    """Whether a reply says that what is asked cannot be told from the text.

    By wording alone, so it sees a "not mentioned" about a side matter as well; on QASA's 113 answers to unanswerable
    questions see tests/lib/chats/test_qasa.py.
    """
    return bool(_NOT_TOLD.search(reply))
