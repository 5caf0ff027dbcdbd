"""English verbs by rule: enough to find the main verb of a sentence of documentation and to ask with it."""

import re

AUXILIARIES = frozenset(
    ["is", "are", "was", "were", "can", "cannot", "could", "must", "may", "might", "will", "should", "has", "have"]
)
# What a main verb may be, in the base form
_VERBS = """
    accept achieve act add allow appear apply attach avoid become begin belong build call cast change check clip come
    compute concatenate consist contain control convert copy correspond create decide decode default define delete
    depend describe determine differ disable dispatch do download enable encode end ensure estimate exist expand
    expect extend fall filter find fit flatten follow freeze fuse gather generate get give grow handle happen hold
    ignore implement improve include increase infer inherit initialize inject insert instantiate interleave introduce
    iterate keep launch lead let live load log map match mean merge move multiply need occur offload outperform
    overwrite pad parse pass perform prepare prevent produce provide prune push put quantize raise reach read receive
    record reduce refer register remain remove rename repeat replace represent require reset reshard resolve resume
    retie return rotate run sample save scale scatter select send set shard share show shuffle skip sort specify split
    start stay stop store stream support take tell tie tokenize train transform unload update upload use verify warn
    work wrap write
"""
# A sentence that says what something is without a verb: `A class that ...`, `Context manager to ...`
DEFINITION = re.compile(r"(?!The\b|\w+(ing|s)\b)((A|An) )?([\w\-]+ |`\w+` ){1,4}(that|which|to|for|under)\b")
BASES = frozenset(_VERBS.split())


def third_person(base: str) -> str:
    """apply -> applies, push -> pushes, set -> sets."""
    if re.search(r"[^aeou]y$", base):
        return base[:-1] + "ies"
    return base + ("es" if re.search(r"(s|sh|ch|x|o)$", base) else "s")


THIRD_PERSONS = {third_person(base): base for base in sorted(BASES)} | {"has": "have"}


def base_form(word: str) -> str:
    """The base of a third person; by its ending where the verb is not known; "" for words that can be none."""
    if word in THIRD_PERSONS:
        return THIRD_PERSONS[word]
    if not re.fullmatch(r"[a-z]{3,}s", word) or re.search(r"(ss|us|is|ous|ings)$", word):
        return ""
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-2] if re.search(r"(ss|sh|ch|x)es$", word) else word[:-1]


def is_adverb(word: str) -> bool:
    """Whether a word is an adverb in -ly ("recursively"), and no verb that ends so ("apply")."""
    return word.endswith("ly") and word.lower() not in BASES


def is_action(word: str, following: str = "") -> bool:
    """Whether a sentence's first word is a verb, its subject left out: `Wraps a ...`, `Compute the ...`.

    An unknown verb is one if what follows it looks like its object.
    """
    word = word.lower()
    if word in BASES or word in THIRD_PERSONS:
        return True
    return bool(re.match(r"(an?|the|all|`.*)$", following)) and bool(base_form(word))
