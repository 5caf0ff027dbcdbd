"""A conversation and a list of documents as HTML; all that comes from documents, people and models is escaped.

What can be clicked carries `data-act` and what it is about; app/page.js tells the server, which looks it up in the
person's own library.
"""

from collections.abc import Sequence
from typing import Any

from app.conversations import DOWN, UP, Conversation
from app.escaping import escaped
from app.library import described
from app.models import ModelChoice
from app.people import Said
from stages.lib.core.records import Record
from stages.lib.passages.paged_document import PagedDocument
from stages.lib.retrieval.systems import Choice

DO_NOT_TELL = "The documents do not tell."
EMPTY = (
    '<div class="empty">Drop PDFs, .txt or .md files on the left, then ask. Every numbered quote is a verbatim piece '
    "of a page: click it to see it there.</div>"
)
SMALL_MODEL = "In the words of a small model, which may be wrong:"
THUMB = (  # Feather's icon, MIT; page.css turns it for "down"
    '<svg viewBox="0 0 24 24" width="16" height="16" fill="none" stroke="currentColor" stroke-width="2">'
    '<path d="M14 9V5a3 3 0 0 0-3-3l-4 9v11h11.28a2 2 0 0 0 2-1.7l1.38-9a2 2 0 0 0-2-2.3z'
    'M7 22H4a2 2 0 0 1-2-2v-7a2 2 0 0 1 2-2h3"/></svg>'
)
NO_WORDS = "The model wrote nothing."
STILL_THINKING = "It was cut off while it was still thinking: chat.max_new_tokens allows more."
CUT_OFF = "cut off: chat.max_new_tokens allows more"


def talk_html(turns: Sequence[Record], live: Record | None = None, progress: str = "") -> str:
    """All turns; `live`: the one that is being answered, with what is going on."""
    parts = [turn_html(turn, number) for number, turn in enumerate(turns)]
    if live is not None:
        parts.append(turn_html(live, len(turns), progress))
    return f'<div class="talk">{"".join(parts) or EMPTY}</div>'


def turn_html(turn: Record, number: int, progress: str | None = None) -> str:
    """One question and what came back; `progress`: what is going on, None: it is done."""
    live = progress is not None
    searched = ""
    if turn["searched"] and turn["searched"] != turn["question"]:
        searched = f'<div class="note">searched for: {escaped(turn["searched"])}</div>'
    quotes, words = _quotes(turn, number, live), _words(turn, live)
    body = words + quotes if turn["leads"] == "model" and turn["answer"] else quotes + words
    end = [f'<div class="error" role="alert">{escaped(turn["error"])}</div>' if turn["error"] else ""]
    if live:
        end.append(f'<div class="progress" role="status"><span class="pulse"></span>{escaped(progress)}</div>')
    else:
        end.append('<div class="note">stopped</div>' if turn.get("stopped") else "")
        end.append(_thumbs(turn, number))
    asked = f'<div class="asked">{escaped(turn["question"])}</div>'
    return f'<div class="turn" data-turn="{number}">{asked}{searched}{body}{"".join(end)}</div>'


def documents_html(documents: Sequence[PagedDocument], left_out: Sequence[str]) -> str:
    """Each document with a box that says whether it is searched, what is to be known of its pages, and Remove."""
    rows = []
    for document in documents:
        searched = "" if document.sha256 in left_out else "checked"
        rows.append(
            f'<li><label><input type="checkbox" data-act="filter" data-sha="{document.sha256}" {searched}> '
            f'<span class="name">{escaped(document.name)}</span></label>'
            f'<button data-act="show" data-sha="{document.sha256}">open</button>'
            f'<button data-act="remove" data-sha="{document.sha256}" '
            f'aria-label="remove {escaped(document.name)}">✕</button>'
            f'<div class="note">{escaped(described(document))}</div></li>'
        )
    return f'<ul class="documents">{"".join(rows) or "<li class=note>No documents yet.</li>"}</ul>'


def messages_html(imports: Sequence[Said]) -> str:
    """What imports said, each file on a line of its own."""
    lines = [f'<div class="{kind}" role="status">{escaped(text)}</div>' for said in imports for kind, text in said]
    return f'<div class="messages">{"".join(lines)}</div>'


def conversations_html(conversations: Sequence[Conversation], chosen: str) -> str:
    """What can be gone on with, latest first."""
    rows = []
    for one in conversations:
        here = 'aria-current="true"' if one.id == chosen else ""
        rows.append(
            f'<li><button class="title" data-act="open" data-conversation="{one.id}" {here}>{escaped(one.title)}'
            f'</button><button data-act="forget" data-conversation="{one.id}" aria-label="forget {escaped(one.title)}">'
            "✕</button></li>"
        )
    return f'<ul class="conversations">{"".join(rows)}</ul>'


def header_html(choice: Choice, model: ModelChoice) -> str:
    """How is searched and why, and who writes."""
    system = escaped(choice.system.replace("_", " "))
    note = f". {escaped(model.note)}" if model.note else ""
    searches = f"Searches by <b>{system}</b>: {escaped(choice.why)}."
    return f"<div>{searches}<br>Answers by <b>{escaped(model.label)}</b>{note}</div>"


def _quotes(turn: Record, number: int, live: bool) -> str:
    found: list[dict[str, Any]] = turn["citations"] or turn["nearest"]
    if turn["answerable"]:
        return f'<ol class="quotes">{_items(found, number)}</ol>' if found else ""
    if live and not found:
        return ""
    nearest = f'<div class="note">The nearest passages:</div><ol class="quotes far">{_items(found, number)}</ol>'
    return f'<div class="unanswered">{DO_NOT_TELL}</div>{nearest if found else ""}'


def _items(quotes: Sequence[dict[str, Any]], turn: int) -> str:
    return "".join(
        f'<li><button class="quote" data-act="cite" data-turn="{turn}" data-quote="{place}">'
        f'<span class="number">{place + 1}</span> “{escaped(quote["readable"])}”'
        f'<span class="where">{escaped(quote["document"])}, page {int(quote["page"])}</span></button></li>'
        for place, quote in enumerate(quotes)
    )


def _words(turn: Record, live: bool) -> str:
    # Turns that were kept before these two keys were known have neither.
    thinking, reasoning, answer = turn.get("thinking", ""), turn["reasoning"], turn["answer"]
    cut = bool(turn.get("cut_off")) and not live
    if not thinking and not reasoning and not answer:
        return ""
    marked = "" if turn["leads"] == "model" else f'<div class="note">{SMALL_MODEL}</div>'
    thought = _folded("Thinking", "thought", thinking, live and not reasoning and not answer)
    reasoned = _folded("Reasoning", "said", reasoning, live and not answer)
    nothing = "" if live else STILL_THINKING if cut and thinking and not reasoning else NO_WORDS
    said = f'<div class="said">{escaped(answer or nothing)}</div>'
    end = f'<div class="note">{CUT_OFF}</div>' if cut and (answer or reasoning) else ""
    return f'<div class="words" data-leads="{escaped(turn["leads"])}">{marked}{thought}{reasoned}{said}{end}</div>'


def _folded(title: str, kind: str, text: str, unfold: bool) -> str:
    if not text.strip():
        return ""
    opened = "open" if unfold else ""
    return (
        f'<details {opened} data-fold="{kind}"><summary>{title}</summary>'
        f'<div class="{kind}">{escaped(text.strip())}</div></details>'
    )


def _thumbs(turn: Record, number: int) -> str:
    buttons = ""
    for rating in (UP, DOWN):
        pressed = "true" if turn.get("rating") == rating else "false"
        buttons += (
            f'<button data-act="rate" data-turn="{number}" data-rating="{rating}" aria-pressed="{pressed}" '
            f'aria-label="thumbs {rating}" title="thumbs {rating}">{THUMB}</button>'
        )
    by = f'<span class="note">{escaped(turn["model"])}</span>' if turn.get("model") else ""
    return f'<div class="thumbs">{buttons}{by}</div>'
