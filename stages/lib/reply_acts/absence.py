"""Where a sentence says that something is not told, known or there, and what stands around it.

A *core* is a negation with what it negates ("does not ... say", "no information", "cannot be determined", "nicht
... erwähnt") or one word of absence ("unclear", "lacks"). Only what stands around a core in its clause tells a
refusal ("the text does not report it") from an answer ("the optimizer does not report it", "if no value is given"):
its features are what refusal_reader.py learns from, so a long sentence is read as well as a short one.
"""

from collections.abc import Iterator

from stages.lib.reply_acts.reply_frames import BEGIN, END, NUMBER, OTHER, Token, frame

Features = dict[str, int]

_TARGETS = {"TELL", "INFO", "KNOW", "ENOUGH", "Q", "WEAK", "GO"}
_CLAUSE_ENDS = {"BUT", "IF", ";", "SO", BEGIN, END}
_WINDOW_ENDS = _CLAUSE_ENDS | {":", "or"}
_ABOUT_TELLING = {"SRC", "TELL", "INFO", "KNOW", "Q"}  # without one of these a WEAK word is about something else
_BEFORE_SOURCE = {"IN", "DO", "IS", "EXPL", "FROM", "ANY", "HERE"}  # between "not" and "in the text"
_SUBJECTS = {"SRC", "SPK", "IT", "THEY", "INFO", "KNOW", "Q", "HERE", "TELL", OTHER, NUMBER, "OF"}
_WEIGHTLESS = {OTHER, NUMBER, ",", "and", "IN", "OF"}  # that such a token is somewhere in the clause tells nothing
# English negations stand before what they negate; those of other languages after it, too
_ONLY_FORWARD = set("not no never neither nor without fail fails failed hardly nope unable impossible cannot".split())
_PRONOUNS = set("nothing nowhere none nichts nirgends rien nada nulla niente niets nergens ничего нигде".split())
_NO = frozenset("no none kein keine keinen aucun aucune ningún ninguna".split())  # "no date in the text"
_FORWARD, _BACKWARD = 6, 8  # tokens looked at
_SIDE = 6  # tokens of the clause on either side that count: what stands far away is about something else


def cores(sentence: str) -> list[Features]:
    """The features of each core of a sentence; none: the sentence says of nothing that it is not told."""
    tokens = frame(sentence)
    return [_features(tokens, start, end, form) for start, end, form in _places(tokens)]


def _places(tokens: list[Token]) -> Iterator[tuple[int, int, str]]:
    """Yields (place of the negation or absence, place of what it negates, how they stand)."""
    kinds = [token.kind for token in tokens]
    for i, token in enumerate(tokens):
        if token.kind == "ABS" or (token.kind == "WEAK" and not _ABOUT_TELLING.isdisjoint(kinds)):
            yield i, i, token.kind
        if token.kind == "MORE" and kinds[i + 1] in ("INFO", "SRC"):
            yield i, i + 1, "more"  # "I would need more context"
        if token.kind != "NEG":
            continue
        if token.word in _PRONOUNS:
            yield i, i, "pronoun"
        if kinds[i + 1] == END and "TELL" in kinds[:i]:
            yield i, i, "ellipsis"  # "... is given, the rate is not"
        if kinds[i - 1] in ("BUT", ",") and "TELL" in kinds[:i]:
            yield i, i, "but_not"  # "names the set but not its size", "only gives the sum, not the parts"
        yield from _forward(tokens, i)
        if token.word not in _ONLY_FORWARD:
            yield from _backward(kinds, i)
        elif token.word == "no" and kinds[i - 1] == "TELL":
            yield i, i - 1, "gives_no"


def _forward(tokens: list[Token], i: int) -> Iterator[tuple[int, int, str]]:
    kinds = [token.kind for token in tokens]
    between = _BEFORE_SOURCE | {OTHER} if tokens[i].word in _NO else _BEFORE_SOURCE
    for j in range(i + 1, min(i + 1 + _FORWARD, len(kinds))):
        if kinds[j] in _WINDOW_ENDS or kinds[i + 1] == ",":  # "No, information is ..."
            return
        source = kinds[j] == "SRC" and between.issuperset(kinds[i + 1 : j])
        if kinds[j] in _TARGETS or source:
            yield i, j, "forward"
        if kinds[j] in ("TELL", "KNOW") or source:
            return


def _backward(kinds: list[str], i: int) -> Iterator[tuple[int, int, str]]:
    for j in range(i - 1, max(i - 1 - _BACKWARD, 0), -1):
        if kinds[j] in _WINDOW_ENDS:
            return
        if kinds[j] in ("TELL", "KNOW", "INFO"):
            yield i, j, "backward"
            return


def _features(tokens: list[Token], negation: int, target: int, form: str) -> Features:
    kinds = [token.kind for token in tokens]
    first, last = min(negation, target), max(negation, target)
    before = next(i for i in range(first - 1, -1, -1) if kinds[i] in _CLAUSE_ENDS)
    after = next((i for i in range(last + 1, len(kinds)) if kinds[i] in _CLAUSE_ENDS), len(kinds) - 1)
    left, between, right = kinds[before + 1 : first][-_SIDE:], kinds[first + 1 : last], kinds[last + 1 : after][:_SIDE]
    what, word = kinds[target], tokens[target].word[:5]
    voice = f"{form}{' passive' * ('IS' in left[-3:] + between)}{' can' * ('CAN' in left[-3:] + between)}"
    subjects = [kind for kind in left if kind in _SUBJECTS] or [BEGIN]
    length = "short" if len(kinds) < 6 else "middle"
    found = [
        f"target {what} {voice}",
        f"word {word}",
        f"negation {tokens[negation].word}",
        f"opens {kinds[before]}",
        f"closes {kinds[after]}",
        f"length {length}",
        f"length {length} {what} {subjects[-1]}",
        f"place {first <= 2} {what}",
        f"between {' '.join(between[:4])}",
        f"between {' '.join(between[:3])} {what}",
        f"next {right[0] if right else END}",
        f"next {' '.join(right[:2])}",
        f"next {' '.join(right[:2])} {what}",
        f"last {left[-1] if left else BEGIN} {what}",
        f"last {' '.join(left[-2:])}",
        f"last {' '.join(left[-3:])} {what}",
    ]
    for name, subject in (("near", subjects[-1]), ("first", subjects[0])):
        found += [f"{name} {subject}", f"{name} {subject} {what} {voice}", f"{name} {subject} word {word}"]
    for name, side in (("left", set(left)), ("right", set(right))):
        found += [f"{name} {kind}" for kind in side - _WEIGHTLESS]
        found += [f"{name} {kind} {what} {voice}" for kind in side & {"SRC", "FROM", "IN", "SPK", "Q", "INFO"}]
    near = kinds[max(0, first - 2 * _SIDE) : last + 2 * _SIDE]
    for kind in ("SRC", "Q", "SORRY", "HEDGE", "AGREE", NUMBER):
        if kind in near:
            found += [f"has {kind}", f"has {kind} {what}"]
    if "SRC" not in near:
        found.append(f"no source {what} {voice}")
    return dict.fromkeys(found, 1)
