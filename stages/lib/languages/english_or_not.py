"""Whether a text is English, by its function words: enough to keep rules for English off other languages.

No language is named. Of the words of a text those count that mark English, and those that mark one of some other
languages written in Latin letters. The tables are short; a language that is missing is mostly told by having no English
words at all. Code and lists of names hold neither: they go with the English around them.
"""

from collections.abc import Sequence
from typing import Literal

from stages.lib.languages.words import words

Guess = Literal["english", "other", "unknown"]

LATIN_SHARE = 0.5  # of the letters, below which a text is in another script
FOREIGN_SHARE = 0.1  # of the words that are function words of another language, at the least
MOST_CHARS = 20_000  # of a text that are looked at

_ENGLISH = frozenset(
    """
    the of and is are was were be been does do did doing has have had can could should would will may might must not
    to in for with that this these those which what when where who whom whose why how by on from it its as at or if
    than then there they their an we you your
    """.split()
)
# A dozen or two of the most frequent words each, question words among them, without those that English has too
_OTHERS = (
    frozenset(
        """
    der das den dem des ein eine einer einem einen eines und ist sind wird werden wurde nicht mit für von vom zu zum zur
    im auf aus bei nach wie wer wem wen welche welcher welches welchen wieviel viele warum wieso wo wann wofür wodurch
    woher kann können soll muss hat haben oder auch als sich durch über unter
    het een wat
    niet met voor van naar wat wie waar wanneer waarom hoe welk wordt worden zijn heeft kan moet deze dit uit
    le la les l d un une est sont et à au aux du dans pour par sur avec que qui quoi quel quelle quels quelles comment
    pourquoi où quand combien ne pas cette ce ces être fait il elle se ont peut
    el los las del una es son y en con por para que qué cuál cuáles quién cómo cuándo dónde cuánto cuántos cuántas su se
    lo como más puede hay
    o os uma dos das no na nos nas é são em com por qual quais quem onde porque quanto quantos não ao pelo pela
    di il lo gli uno della dello dei delle nel nella che chi cosa quale quali perché quanto quanti sono è con non dal
    dalla può viene
    och är inte en ett som på till av hur vad vilken vilket vilka varför när och det att för
    og er ikke et som på til af hvad hvordan hvilken hvilket hvilke hvorfor hvor når hva hvem
    ja on ei mikä mitä miten miksi missä milloin kuka kuinka ovat
    i w z na się nie jest są do co jak jaki jaka jakie który która które dlaczego gdzie kiedy ile czy przez dla
    je jsou co jak jaký jaká jaké který která které proč kde kdy kolik ve pro
    hogyan miért mikor hol ki az egy és nem milyen mennyi melyik
    ve bir bu için ile ne nedir nasıl neden nerede hangi kaç mi mı mu mü değil olarak
    și este sunt nu care cum unde când câte din cu pentru ce cât
    yang dan di ke dari untuk dengan adalah ini itu tidak apa siapa bagaimana mengapa kapan berapa mana pada
    là của và có không cho trong được những các một gì nào ai đâu bao nhiêu
    els amb què qui com quan on quin quina quins quines
    """.split()
    )
    - _ENGLISH
    - frozenset("abcdefghijklmnopqrstuvwxyz")  # variables of code
)


def guess(text: str) -> Guess:
    """Whether the text is English.

    "other": most letters are of another script, or words of other languages outnumber the English ones; "unknown":
    too little tells, as in code, or nothing decides.
    """
    return guess_by_words(words(text[:MOST_CHARS]))


def guess_by_words(found: Sequence[str]) -> Guess:
    """The same of a text's words (words.words)."""
    letters = [letter for word in found for letter in word if letter.isalpha()]
    if sum(letter < "\u0250" or "\u1e00" <= letter <= "\u1eff" for letter in letters) < LATIN_SHARE * len(letters):
        return "other"
    english = sum(word in _ENGLISH for word in found)
    other = sum(word in _OTHERS for word in found)
    if english > other:
        return "english"
    # Names in code are short words of some language: what is foreign has every tenth word from the table.
    return "other" if other > english and other >= FOREIGN_SHARE * len(found) else "unknown"


def is_english_function_word(word: str) -> bool:
    """Whether a lower-case word is one of those that mark English."""
    return word in _ENGLISH
