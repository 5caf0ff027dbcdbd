"""Drawing by hash: what comes out hangs on names alone, not on their order or number."""

import hashlib
from collections.abc import Iterable


def fraction_of(purpose: str, name: str) -> float:
    """A number in 0..1 that follows from the name alone, another one for each purpose."""
    digest = hashlib.sha256(f"{purpose}\0{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def drawn(purpose: str, names: Iterable[str]) -> list[str]:
    """The names in an order drawn by hash, whatever order they come in."""
    return sorted(names, key=lambda name: (fraction_of(purpose, name), name))
