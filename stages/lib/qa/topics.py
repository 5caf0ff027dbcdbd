"""What a document is about, by the name of its source."""

import re
from pathlib import PurePosixPath

from stages.lib.english.words import normalised


def topic_name(source: str) -> tuple[str, str]:
    """(library, name) of what a document is about; either may be empty.

    `peft==0.21.2:peft.tuners.lora.config.LoraConfig` -> ("peft", "LoraConfig"), a method keeps its
    class, `ORG/REPO/blob/main/docs/source/en/PAGE.md` -> ("REPO", "PAGE"), `DIR/some_page.txt` -> ("", "some page").
    """
    place = re.sub(r"^[a-z]+://[^/]+/", "", source)
    if re.fullmatch(r"[\w.\-]+==[^:]+:[\w.]+", place):
        package, _, inside = place.partition("==")
        parts = inside.partition(":")[2].split(".")
        if len(parts) < 2:  # the README, or the package itself
            return package, ""
        return package, ".".join(parts[-2:] if parts[-2][:1].isupper() else parts[-1:])
    path = PurePosixPath(place)
    library = path.parts[1] if "blob" in path.parts[2:3] else ""
    page = path.parent.name if path.stem.lower() in ("index", "readme", "overview") else path.stem
    return library, re.sub(r"[_\-]+", " ", page).strip()


def topic_phrase(source: str) -> str:
    """How a question names its topic: `peft's LoraConfig`, `the transformers page "quicktour"`; may be empty."""
    library, name = topic_name(source)
    if not library or not name:
        return library or (f'the page "{name}"' if name else "")
    if "==" not in source:
        return f'the {library} page "{name}"'
    return f"{library}'{'' if library.endswith('s') else 's'} {name}"


def name_topic(question: str, source: str) -> str:
    """The question with its topic named: "... in TOPIC?" where the question does not name it."""
    library, name = topic_name(source)
    held = f" {normalised(question)} "
    if not question.endswith("?") or f" {normalised(name or library)} " in held:
        return question
    return f"{question[:-1].rstrip()} in {topic_phrase(source)}?"
