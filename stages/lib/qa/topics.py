"""What a document is about, by the name of its source."""

import re
from pathlib import PurePosixPath

from stages.lib.english.words import normalised

# A source that is a record's place: in a file, or in a split of a data set.
_RECORD = re.compile(r"\.(?:jsonl|ndjson|json|csv|tsv|parquet)(?::\d+|\[[^\[\]]*\])?$|:[\w.-]+\[\d+\]$", re.IGNORECASE)
_GENERIC = frozenset(
    """article articles book chapter chunk content contents corpus data dataset default doc docs document documents
    download downloads dump eval example examples export file files final image input item items main new note notes
    output page pages paper papers part pdf print record records sample samples scan scans section sheet source split
    temp test text texts tmp train training txt unknown unnamed untitled val valid validation version
    datei dateien dokument dokumente kapitel seite seiten teil unbenannt documento pagina fichier""".split()
)
_PREPOSITIONS = frozenset("in into within on onto with for from as to under through over by of at about".split())
MOST_NAME_WORDS = 3  # of a heading that is a page's name
_NUMBER = re.compile(r"v?\d+(?:v\d+)?|(?=.*\d)[0-9a-f]{8,}")  # also of hexadecimal digits: a hash


def _tells_nothing(name: str) -> bool:
    """Whether a file's name is made of numbers and words that any file could have."""
    words = [word for word in re.split(r"[\s()\[\].,#]+", name.casefold()) if word]
    if len(words) == 5 and re.fullmatch(r"[0-9a-f]{32}", "".join(words)):  # a UUID
        return True
    return all(
        word in _GENERIC
        or _NUMBER.fullmatch(word)
        or re.fullmatch(r"[a-z]\d{2,}|(?:[a-z]\d+){2,}", word)
        or re.sub(r"\d+$", "", word) in _GENERIC
        for word in words
    )


def topic_name(source: str) -> tuple[str, str]:
    """(library, name) of what a document is about; either may be empty.

    Of a record in a file of many (`corpus.jsonl:12`, `pages.json[3]`, a data set's), and of a file whose name tells
    nothing (`page_1`, `document (2)`, `train`, a number, a hash), both are.

    `peft==0.21.2:peft.tuners.lora.config.LoraConfig` -> ("peft", "LoraConfig"), a method keeps its
    class, `ORG/REPO/blob/main/docs/source/en/PAGE.md` -> ("REPO", "PAGE"), `DIR/some_page.txt` -> ("", "some page").
    """
    if _RECORD.search(source):
        return "", ""
    place = re.sub(r"^[a-z]+://[^/]+/", "", re.sub(r"[?#].*", "", source) if "://" in source else source)
    if re.fullmatch(r"[\w.\-]+==[^:]+:[\w.]+", place):
        package, _, inside = place.partition("==")
        parts = inside.partition(":")[2].split(".")
        if len(parts) < 2:  # the README, or the package itself
            return package, ""
        return package, ".".join(parts[-2:] if parts[-2][:1].isupper() else parts[-1:])
    path = PurePosixPath(place.replace("\\", "/"))
    library = path.parts[1] if "blob" in path.parts[2:3] else ""
    page = path.parent.name if path.stem.lower() in ("index", "readme", "overview") else path.stem
    name = re.sub(r"[_\-]+", " ", page).strip()
    return library, "" if not library and _tells_nothing(name) else name


def topic_phrase(source: str) -> str:
    """How a question names its topic: `peft's LoraConfig`, `the transformers page "quicktour"`; may be empty."""
    library, name = topic_name(source)
    if not library or not name:
        kind = "document" if source.lower().endswith(".pdf") else "page"
        return library or (f'the {kind} "{name}"' if name else "")
    if "==" not in source:
        return f'the {library} page "{name}"'
    return f"{library}'{'' if library.endswith('s') else 's'} {name}"


def name_topic(question: str, source: str) -> str:
    """The question with its topic named: "... in TOPIC?" where the question does not name it."""
    library, name = topic_name(source)
    held = f" {normalised(question)} "
    if not (library or name) or not question.endswith("?") or f" {normalised(name or library)} " in held:
        return question
    return _placed(question, topic_phrase(source))


def name_library(question: str, source: str) -> str:
    """The question with its library named: "... in LIBRARY?" where there is one and the question does not name it."""
    library, _ = topic_name(source)
    if not library or not question.endswith("?") or f" {normalised(library)} " in f" {normalised(question)} ":
        return question
    return _placed(question, library)


def page_subject(source: str, heading: str) -> str:
    """What "this model" is on a page whose first heading is its own name: "LED" of `.../led.md`; "" for other pages."""
    first = heading.partition(" > ")[0].strip()
    same = re.sub(r"[\W_]", "", first).casefold() == re.sub(r"[\W_]", "", topic_name(source)[1]).casefold()
    return first if same and re.search(r"\w[A-Z]|\d", first) and len(first.split()) <= MOST_NAME_WORDS else ""


def _placed(question: str, place: str) -> str:
    """The question with a place named at its end; before it where it ends with a preposition."""
    asked = question[:-1].rstrip()
    if asked.rpartition(" ")[2] in _PREPOSITIONS:
        return f"In {place}, {asked[:1].lower()}{asked[1:]}?"
    return f"{asked} in {place}?"
