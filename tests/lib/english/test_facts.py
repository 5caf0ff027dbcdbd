import re

import pytest

from stages.lib.english.facts import pick_facts, readable, sentences, specificity

DOCSTRING = """Wraps a data loader so that each process gets its own batches.

This class is not meant to be used alone. See the guide above for more on the subject of loaders.

Args:
    split_batches (`bool`, *optional*, defaults to `False`):
        Whether one batch is split over the processes, or each process gets a full batch.
    seed (`int`, defaults to 42): Seed of the sampler that all of the processes share.
        The seed is ignored when the sampler was made by the user.
    model (`nn.Module`): The model.
    **kwargs: Additional keyword arguments that are passed on to the base class.

Returns:
    `DataLoader`: The data loader with batches for one process only.

Example:

```python
>>> loader = Loader(split_batches=True)
Loader gives batches of 16 to each of the 4 processes.
```

The [`Accelerator`] raises an error for batches that `8` processes cannot share, e.g. odd ones.
"""


def facts_of(text: str) -> list[str]:
    return [fact.text for fact in pick_facts(text, limit=99)]


def test_prose_and_parameters_are_found_and_nothing_else() -> None:
    assert set(facts_of(DOCSTRING)) == {
        "Wraps a data loader so that each process gets its own batches.",
        "split_batches (`bool`, optional, defaults to `False`): "
        "Whether one batch is split over the processes, or each process gets a full batch.",
        "seed (`int`, defaults to 42): Seed of the sampler that all of the processes share.",
        "The seed is ignored when the sampler was made by the user.",
        "The `Accelerator` raises an error for batches that `8` processes cannot share, e.g. odd ones.",
    }


def test_a_fact_knows_its_place_and_its_parameter() -> None:
    facts = pick_facts(DOCSTRING, limit=99)
    for fact in facts:
        assert readable(DOCSTRING[fact.start : fact.end]) == fact.text
    by_parameter = {fact.text.split()[0]: (fact.parameter, fact.entry, fact.leads) for fact in facts}
    assert by_parameter["Wraps"] == ("", False, True)
    assert by_parameter["split_batches"] == ("split_batches", True, False)
    seed = [fact for fact in facts if fact.parameter == "seed"]
    assert sorted(fact.entry for fact in seed) == [False, True]


def test_the_most_specific_come_first_and_ties_in_reading_order() -> None:
    facts = pick_facts(DOCSTRING, limit=99)
    assert facts[0].text.startswith("The `Accelerator` raises")
    assert pick_facts(DOCSTRING, limit=2) == facts[:2]
    same = "The red machine weighs a lot of tons in winter. The old machine weighs a lot of tons in summer."
    assert facts_of(same) == [same[:47], same[48:]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "```python\nThe code block is not a source of facts about the library.\n```",
        "def f(x): return x == 1 and the function is not a fact at all here, is it.",
        "| The table | is not prose and no fact is taken from any of its rows. |",
        "# The heading is not prose and no fact is taken from any heading.",
        "This is what the function above returns when it is called by the user.",
        "returns the batches that were not given to the other processes before.",  # its beginning is missing
        "The batches that were not given to the other processes are returned when",  # its end is missing
        "Is it really true that the question is not taken for a fact by anybody?",
        "The Software is licensed under the Apache License and comes without any warranty.",
    ],
)
def test_no_fact(text: str) -> None:
    assert facts_of(text) == []


def test_a_chunk_that_begins_inside_code() -> None:
    fact = "The loader must be closed before exit by its user."
    text = f"loader = Loader()\nThe batches are printed by a line of the code.\n```\n\n{fact}"
    assert facts_of(text) == [fact]


def test_sentences_end_where_they_end() -> None:
    text = "Use it e.g. for tests. Version 1.2 of `a.b` is old! (So it is.) Is it? The end"
    assert [text[start:end] for start, end in sentences(text)] == [
        "Use it e.g. for tests.",
        "Version 1.2 of `a.b` is old!",
        "(So it is.)",
        "Is it?",
        "The end",
    ]


def test_sentences_cover_everything_but_white_space() -> None:
    spans = sentences(DOCSTRING)
    covered = "".join(DOCSTRING[start:end] for start, end in spans)
    assert re.sub(r"\s", "", covered) == re.sub(r"\s", "", DOCSTRING)


def test_readable_reduces_markup() -> None:
    assert (
        readable("See [`Trainer`] or\n [the *guide*](https://x.y/z) and [`~a.B`].")
        == "See `Trainer` or the guide and `a.B`."
    )


def test_names_and_numbers_make_a_fact_specific() -> None:
    plain = specificity("The method gives back what was put in by the user.")
    named = specificity("The method `forward` gives back 3 tensors of FP16 only if `x_y` is set.")
    assert named > plain + 2
