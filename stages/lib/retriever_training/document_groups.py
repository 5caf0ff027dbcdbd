"""Which documents belong together, and which of these groups no training sees.

Documents that share a chunk of the same words, or a pair of chunks that near_pairs found, are one group. A group is
never divided between training and held-out questions, and a text of a question's own group is never its negative: it
may answer the question too.
"""

from collections.abc import Iterable, Mapping, Sequence

from stages.lib.core.records import Record
from stages.lib.statistics.drawing import fraction_of
from stages.lib.wording.form import form_digest


def document_groups(chunks: Sequence[Record], near: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Document -> its group's name, the first of its members' ids.

    Args:
        chunks: records with id, document and text.
        near: pairs of ids of chunks.
    """
    document = {chunk["id"]: chunk["document"] for chunk in chunks}
    parents = {name: name for name in document.values()}

    def root(name: str) -> str:
        while parents[name] != name:
            parents[name] = parents[parents[name]]
            name = parents[name]
        return name

    def join(first: str, second: str) -> None:
        low, high = sorted((root(first), root(second)))
        parents[high] = low

    first_of: dict[bytes, str] = {}
    for chunk in chunks:
        join(chunk["document"], first_of.setdefault(form_digest(chunk["text"]), chunk["document"]))
    for one, other in near:
        join(document[one], document[other])
    return {name: root(name) for name in parents}


def held_out_groups(groups: Mapping[str, str], fraction: float, seed: int) -> set[str]:
    """Names of the groups that are held out: about `fraction` of them, drawn by a hash of their names."""
    return {name for name in set(groups.values()) if fraction_of(f"retriever {seed}", name) < fraction}
