"""How queries and documents are written for an embedding model: its entry's templates, or its own prompts."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from stages.lib.core.params import fill
from stages.lib.embedding.model_files import own_prompts
from stages.lib.weights.models import ModelEntry

NO_TITLE = "none"  # what EmbeddingGemma was trained to read where a document has no title
INSTRUCTED = re.compile(r"(?s)(.*?Instruct: )(.+?)(\nQuery: ?)")  # of E5-instruct, Qwen3-Embedding, GTE-Qwen2


class Written(NamedTuple):
    """A text as it is embedded."""

    text: str  # all of it
    prompt: str  # its beginning, which is not of the user
    task: Literal["query", "document"]


@dataclass(frozen=True)
class Templates:
    """How a model's queries and documents are written."""

    query: str  # with {query}, and {instruction} if it has a place for one
    plain_query: str  # for a query without an instruction
    document: str  # with {text}, and {title} if it has a place for one

    @property
    def titled(self) -> bool:
        """Whether a document's title is written."""
        return "{title}" in self.document

    def write_query(self, query: str, instruction: str) -> Written:
        """A query, with an instruction or without (""). Where there is no place for one: "instruction: query"."""
        template = self.query if instruction else self.plain_query
        if instruction and "{instruction}" not in template:
            query = f"{instruction}: {query}"
        return _written(template, "query", "query", query=query, instruction=instruction)

    def write_document(self, text: str, title: str) -> Written:
        """A document; `title` is used where the template has a place for it."""
        return _written(self.document, "text", "document", text=text, title=title or NO_TITLE)


def read_templates(entry: ModelEntry, directory: Path) -> Templates:
    """The entry's templates; where it has none, the prompts that the model's directory names.

    - A template without {instruction} is applied to every query; an instruction stands before the query within it.
    - With {instruction}, it is for queries with one; a query without an instruction is left alone.
    - A model's own prompt stands before every query. "Instruct: ...\\nQuery:" has a place for an instruction, and
      without one keeps the model's own.

    Raises:
        ValueError: the directory's prompts are no texts by name.
    """
    own_query, own_document = own_prompts(directory)
    query = entry.query_template
    if not query:
        instructed = INSTRUCTED.fullmatch(own_query)
        query = (f"{instructed[1]}{{instruction}}{instructed[3]}" if instructed else own_query) + "{query}"
        plain = own_query + "{query}"
    else:
        plain = "{query}" if "{instruction}" in query else query
    return Templates(query, plain, entry.document_template or own_document + "{text}")


def _written(template: str, name: str, task: Literal["query", "document"], **values: str) -> Written:
    values = {key: value for key, value in values.items() if f"{{{key}}}" in template}
    prompt = template[: template.index(f"{{{name}}}")]
    others = {key: value for key, value in values.items() if key != name and f"{{{key}}}" in prompt}
    return Written(fill(template, **values), fill(prompt, **others), task)
