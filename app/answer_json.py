"""An answer as plain data: for the command line and for exports."""

from typing import Any

from app.assistant import Answer
from stages.lib.passages.passages import Quote, readable


def answer_json(answer: Answer) -> dict[str, Any]:
    """Question, whether the documents tell, the model's words, verbatim citations, and the passages looked at."""
    evidence = answer.evidence
    hits = evidence.hits if evidence else []
    return {
        "question": answer.question,
        "searched": answer.searched,
        "answerable": answer.answerable,
        "relevance": round(evidence.relevance.passage, 4) if evidence else 0.0,
        "leads": answer.lead,
        "answer": answer.text,
        "reasoning": answer.reasoning,
        "thinking": answer.thinking,
        "cut_off": answer.cut_off,
        "citations": [citation_json(quote) for quote in answer.citations] if answer.answerable else [],
        "nearest": [] if answer.answerable else [citation_json(quote) for quote in answer.citations],
        "passages": [
            {"document": hit.passage.document.name, "pages": hit.passage.pages, "text": hit.passage.text}
            for hit in hits
        ],
        "error": answer.error,
    }


def citation_json(quote: Quote) -> dict[str, Any]:
    """A citation: `page_text[start:end] == quote`, and its rectangles in points from the page's top left."""
    return {
        "document": quote.document.name,
        "sha256": quote.document.sha256,
        "page": quote.span.page,
        "start": quote.span.start,
        "end": quote.span.end,
        "quote": quote.text,
        "readable": readable(quote.text),
        "rectangles": [[round(x, 2) for x in box] for box in quote.document.rectangles(quote.span)],
    }
