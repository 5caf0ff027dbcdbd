"""Documents -> shards: tokenized in parallel, written in the documents' order."""

from pathlib import Path

from stages.lib.gpt.shards import DTYPE, Split, Starts, Tokens, documents_name, shard_name
from stages.lib.models import file_sha256
from stages.lib.records import Record, write_array


def write_shard(directory: Path, split: Split, number: int, tokens: Tokens, starts: Starts) -> Record:
    """Writes one shard and its document starts, each whole or not at all; returns the manifest's record of it."""
    file = shard_name(split, number)
    assert tokens.dtype == DTYPE, tokens.dtype
    write_array(directory / documents_name(file), starts)
    write_array(directory / file, tokens)
    return {
        "file": file,
        "tokens": len(tokens),
        "sha256": file_sha256(directory / file),
        "documents": len(starts),
        "documents_sha256": file_sha256(directory / documents_name(file)),
    }
