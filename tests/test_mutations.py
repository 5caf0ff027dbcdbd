"""The list of mutations does not rot: each can still be made, and names tests that there are.

That the tests notice them is seen by hand: python -m tests.mutations
"""

from dataclasses import replace

import pytest

from tests.mutations.mutation import ROOT, Mutation, named_tests, read_mutations, source_of

MUTATIONS = list(read_mutations())


@pytest.mark.parametrize("file", sorted({mutation.file for mutation in MUTATIONS}))
def test_each_mutation_can_still_be_made(file: str) -> None:
    for mutation in MUTATIONS:
        if mutation.file == file:
            place, text = source_of(mutation)
            assert text != (ROOT / place).read_text(encoding="utf-8")
            assert named_tests(mutation)


def test_no_mutation_stands_twice() -> None:
    assert len({(mutation.file, mutation.old, mutation.new) for mutation in MUTATIONS}) == len(MUTATIONS)


def test_what_cannot_be_made_is_named() -> None:
    good = Mutation("a one-sided p", "bootstrap.py", "LEVEL = 0.95", "LEVEL = 0.5", ("test_bootstrap",))
    assert source_of(good)[0].name == "bootstrap.py"
    with pytest.raises(ValueError, match=r"bootstrap\.py: a one-sided p: its old text stands 0 times in 1 files"):
        source_of(replace(good, old="LEVEL = 0.96"))
    with pytest.raises(ValueError, match="would be no Python"):
        source_of(replace(good, new="LEVEL = ("))
    with pytest.raises(ValueError, match="there is no test_bootstrap::test_nothing below tests"):
        named_tests(replace(good, tests=("test_bootstrap::test_nothing",)))
