import pytest

from stages.lib.english.alike_names import swapped_names

PAIR = "We compared MRI and PET for staging."


@pytest.mark.parametrize(
    ("statement", "text", "changed"),
    [
        ("Pain went away with MRI alone.", PAIR, ["Pain went away with PET alone."]),
        ("Pain went away with MRI and PET.", PAIR, []),  # both are in it
        ("Pain went away with MRI alone.", PAIR + " Pain went away with PET alone, too.", []),  # true of both
        ("Pain went away with CT alone.", PAIR, []),  # CT is of no pair
        ("It was magnetic resonance (MRI) that helped.", PAIR, []),  # beside its expansion
        ("`save` writes the file.", "Call `save` or `load` first.", ["`load` writes the file."]),
        ("`save` writes the file.", "Call `save` or `load()` first.", []),  # another shape
        ("Rain falls in Kent often.", "United States and Kent differ.", []),  # half of a name
        ("An Anglo-Tyne boat sank.", "The Tyne and Wear flow.", []),  # part of another word
    ],
)
def test_names_of_one_kind_change_places(statement: str, text: str, changed: list[str]) -> None:
    assert [found for found, _, _ in swapped_names(statement, text)] == changed
