"""What the conversation and the lists show, and that whatever comes from outside is text."""

import re
from typing import Any

import pytest

from app.conversations import Conversation
from app.escaping import escaped
from app.models import ModelChoice
from app.turn_view import conversations_html, documents_html, header_html, messages_html, talk_html, turn_html
from stages.lib.passages.paged_document import PagedDocument, read_text
from stages.lib.retrieval.systems import Choice

ATTACK = '<img src=x onerror="hacked()"><script>hacked()</script>\' ${hacked()} {{hacked}} `'


def turn(**changes: Any) -> dict[str, Any]:
    quote = {"document": "a.pdf", "sha256": "0" * 64, "page": 3, "readable": "Apples ripen.", "quote": "Apples ripen."}
    return {
        "question": "When?",
        "searched": "When?",
        "answerable": True,
        "leads": "quotes",
        "answer": "In October.",
        "reasoning": "",
        "citations": [quote],
        "nearest": [],
        "error": "",
        "stopped": False,
        "rating": "",
        "model": "small",
    } | changes


def attacked(html: str) -> bool:
    return bool(re.search(r"<(img|script)|\$\{|\{\{|onerror=\"", html))


def test_text_from_outside_is_shown_as_text() -> None:
    quote = {"document": ATTACK, "sha256": "0" * 64, "page": 1, "readable": ATTACK, "quote": ATTACK}
    keys = ("question", "searched", "answer", "reasoning", "error", "model", "leads")
    html = talk_html([turn(citations=[quote], **dict.fromkeys(keys, ATTACK))], turn(question=ATTACK), ATTACK)
    assert html.count("&lt;img") >= 9
    assert not attacked(html.replace("<svg", ""))
    document = PagedDocument(ATTACK, "0" * 64, read_text(ATTACK, b"x").pages, {2: ATTACK})
    assert not attacked(documents_html([document], []))
    assert not attacked(messages_html([[("bad", ATTACK)]]))
    named = Conversation("00000001-0000000000000000", [turn(question=ATTACK)])
    assert not attacked(conversations_html([named], ""))
    assert not attacked(header_html(Choice("bm25", "", "", ATTACK), ModelChoice("x", ATTACK, ATTACK)))


def test_escaped_text_stays_readable() -> None:
    assert escaped("a < b & c") == "a &lt; b &amp; c"
    assert escaped("${x} {{y}} `") == "&#36;&#123;x&#125; &#123;&#123;y&#125;&#125; &#96;"


@pytest.mark.parametrize(("leads", "quotes_first"), [("quotes", True), ("model", False)])
def test_what_leads_stands_first(leads: str, quotes_first: bool) -> None:
    html = turn_html(turn(leads=leads), 0)
    assert (html.index("Apples ripen.") < html.index("In October.")) == quotes_first
    assert ("small model" in html) == quotes_first


def test_a_model_that_wrote_nothing_leads_nothing() -> None:
    html = turn_html(turn(leads="model", answer="", model=""), 0)
    assert "Apples ripen." in html and "words" not in html


def test_quotes_are_numbered_and_name_document_and_page() -> None:
    quotes = turn()["citations"] * 2
    html = turn_html(turn(citations=quotes), 4)
    assert re.findall(r'data-turn="4" data-quote="(\d)"', html) == ["0", "1"]
    assert html.count("a.pdf, page 3") == 2


def test_below_the_floor_the_documents_do_not_tell() -> None:
    html = turn_html(turn(answerable=False, citations=[], nearest=turn()["citations"], answer=""), 0)
    assert html.index("The documents do not tell.") < html.index("The nearest passages:") < html.index("Apples ripen.")
    assert "The documents do not tell." not in turn_html(turn(), 0)
    searching = turn_html(turn(answerable=False, citations=[], answer="", searched=""), 0, "searching")
    assert "do not tell" not in searching and "searching" in searching


def test_reasoning_is_foldable_and_open_until_the_answer_begins() -> None:
    assert "<details  data" in turn_html(turn(reasoning="As it says."), 0)
    assert "<details open data" in turn_html(turn(reasoning="As it says.", answer=""), 0, "writing")
    assert "<details  data" in turn_html(turn(reasoning="As it says."), 0, "writing")


def test_thinking_is_folded_apart_from_answer_and_reasoning() -> None:
    html = turn_html(turn(thinking="hm, <b>maybe</b>", reasoning="As it says."), 0)
    assert re.findall(r'data-fold="(\w+)"', html) == ["thought", "said"]
    assert "hm, &lt;b&gt;maybe" in html and "<details open" not in html
    assert html.index("maybe") < html.index("As it says.") < html.index("In October.")
    assert "<details open data" in turn_html(turn(thinking="hm", answer=""), 0, "thinking")


def test_a_reply_that_was_cut_off_says_so() -> None:
    still = turn_html(turn(thinking="hm", answer="", cut_off=True), 0)
    assert "cut off while it was still thinking: chat.max_new_tokens allows more" in still
    assert "The model wrote nothing." not in still
    cut = turn_html(turn(cut_off=True), 0)
    assert "In October." in cut and "cut off: chat.max_new_tokens" in cut
    assert "cut off" not in turn_html(turn(), 0) + turn_html(turn(cut_off=True), 0, "writing")
    assert "The model wrote nothing." in turn_html(turn(thinking="hm", answer=""), 0)


def test_a_rating_is_seen_and_only_a_whole_turn_has_thumbs() -> None:
    assert turn_html(turn(rating="up"), 0).count('aria-pressed="true"') == 1
    assert "data-rating" not in turn_html(turn(), 0, "writing")
    assert "stopped" in turn_html(turn(stopped=True), 0) and "stopped" not in turn_html(turn(), 0)


def test_documents_say_what_of_them_cannot_be_read() -> None:
    document = read_text("notes.md", b"Words.")
    document = PagedDocument("notes.md", "1" * 64, document.pages, {2: "damaged"})
    html = documents_html([document], ["1" * 64])
    assert "2 pages, page 2 cannot be read (damaged)" in html
    assert "checked" not in html and "checked" in documents_html([document], [])
