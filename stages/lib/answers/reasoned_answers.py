"""How a reasoned answer is written: `reasoning ##### answer`."""

SEPARATOR = "#####"


def joined(reasoning: str, answer: str) -> str:
    """`reasoning ##### answer`."""
    return f"{reasoning} {SEPARATOR} {answer}"


def separated(text: str) -> tuple[str, str] | None:
    """Reasoning and answer of a text with exactly one separator and two halves; None otherwise."""
    halves = [half.strip() for half in text.split(SEPARATOR)]
    return (halves[0], halves[1]) if len(halves) == 2 and all(halves) else None


def written_parts(reply: str) -> tuple[str, str]:
    """Reasoning and answer of what a model wrote so far; "" and all of it where nothing parts them."""
    before, separator, after = reply.partition(SEPARATOR)
    return (before.strip(), after.strip()) if separator else ("", reply.strip())


def halves_fault(reasoning: str, answer: str) -> str | None:
    """Why two halves cannot be written: `no_reasoning`, `no_answer`, `separator_inside`; None if they can."""
    if not reasoning.strip():
        return "no_reasoning"
    if not answer.strip():
        return "no_answer"
    # A mark at the seam ("...#" + " #####") cannot come about: a blank stands on both sides.
    return "separator_inside" if SEPARATOR in reasoning or SEPARATOR in answer else None
