"""Which numbers of a sentence are changed, and to what."""

import re

import pytest

from stages.lib.english.quantities import changed_numbers, plain_numbers

NAMES = [str(number) for number in range(40)]


def changes(statement: str) -> set[tuple[str, str]]:
    """(true, false) over many names, so that every value that can be drawn comes up."""
    found = set()
    for name in NAMES:
        for change in changed_numbers(statement, name):
            assert change.statement != statement and change.true != change.false
            found.add((change.true, change.false))
    return found


@pytest.mark.parametrize(
    "statement",
    [
        "Version v0.12.1 and release 0.11 are gone.",
        "Use Python 3 or CUDA 12.1 on Windows 10.",
        "The address 0x1F and the colour #204060 stay.",
        "It was read on 2019-05-03 at 12:30.",
        "It was read on 3 May 2019, or on May 4, 2020.",
        "The 21st and the 3rd runs failed.",
        "It takes 5-10 days, or 5 to 10 days, or 5–10 days.",
        "Between 45 and 60 users came.",
        "There are 10^5 cells, 2e5 beads and 3 x 10^6 wells.",
        "The age was 45.2 ± 3.1 years.",
        "The age was 45.2 years (SD 3.1).",
        "It was significant (p < 0.05) and not at P = 0.03.",
        "The odds ratio was 2.3 (95% CI 1.1 to 4.5).",
        "Of 324 patients, 317 (98%) recovered.",
        "52 of the 154 physicians were trained, and 12 out of 20 nurses.",
        "There were 150 men and 174 women among 324 patients.",
        "Before there were 60, then 15 left and 45 stayed.",
        "60% were men and 40% were women.",
        "Each of 4 groups had 25 members, 100 in all.",
        "Table 3 shows type 2 diabetes at stage 4 [12].",
        "The 2019 survey had an 8% margin.",
        "It is at -5 degrees and costs $45.",
        "It is 3 times faster, or 2.5 times as fast.",
        "We enrolled 12 345 patients.",
        "A dose of 1.234,5 was given.",
        "It is 45 mi (72 km) long, or 45 square miles (116 km2).",
        "The cell is a 45-year-old one with CD4, IL-6 and 5mg of B12.",
        "三百五十人参加了，共有４５次。",
        "`x = 45 + 1` and `r 45 b` are code.",
        "1. The first of all; 2. the second of all.",
        "The flag is 0 or 1 there.",
        "The code 007 stays, error 404 too.",
        "Nothing is counted here.",
        "It fell from 45% to 20%.",
        "It sends 45 per second.",
        "It was done in 1988, 1989, 1992 and 1994.",
    ],
)
def test_what_is_left_alone(statement: str) -> None:
    assert changes(statement) == set()


@pytest.mark.parametrize(
    ("statement", "true", "form"),
    [
        ("The study asked 1,234 women.", "1,234", r"[1-2],\d{3}"),
        ("It holds 1,234,567 rows.", "1,234,567", r"[1-2],\d{3},\d{3}"),
        ("It holds 12\u00a0345 rows.", "12\u00a0345", r"\d\d\u00a0\d{3}"),
        ("It was done in 2019.", "2019", r"20[12]\d"),
        ("It was built in 1756 and is still there.", "1756", r"17[456]\d"),
        ("The rate was 98%.", "98", r"[5-9]\d"),
        ("The rate was 98 percent.", "98", r"[5-9]\d"),
        ("The rate was 7 per cent.", "7", r"[5689]"),
        ("The score was 0.85 there.", "0.85", r"0\.\d5"),
        ("The dose was 12.50 grams.", "12.50", r"\d\d\.\d0"),
        ("Patients aged 65 years came.", "65", r"[3-9]5"),
        ("The sample had 100 users.", "100", r"[23]00"),
        ("The cache keeps 256 tokens.", "256", r"128|512"),
        ("It has 7 centres.", "7", r"[5689]"),
        ("It has 48 centres.", "48", r"\d[1-46-9]"),
    ],
)
def test_a_new_value_keeps_the_form(statement: str, true: str, form: str) -> None:
    found = changes(statement)
    assert found
    for old, new in found:
        assert old == true
        assert re.fullmatch(form, new), (old, new)


def test_both_directions_are_drawn() -> None:
    values = [int(new) for _, new in changes("It has 48 centres.")]
    assert min(values) < 48 < max(values)
    ups = sum(
        int(change.false) > 48 for name in range(300) for change in changed_numbers("It has 48 centres.", str(name))
    )
    assert 100 < ups < 200


def test_a_part_does_not_grow_beyond_its_whole() -> None:
    for old, new in changes("Of the 154 physicians, 131 were trained in the region."):
        assert (int(new) > 131) if old == "154" else (int(new) < 154)
    for old, new in changes("From the first visit on, 35% of men and 62% of women agreed."):
        assert int(new) < 62 if old == "35" else int(new) > 35


def test_a_share_of_one_count_stays_possible() -> None:
    for old, new in changes("In the group of 20 doctors, 35% agreed and nobody else."):
        if old == "35":
            assert int(new) % 5 == 0
        else:
            assert any(round(100 * part / int(new)) == 35 for part in range(int(new)))


def test_no_percentage_exceeds_a_hundred_and_no_year_is_to_come() -> None:
    assert all(int(new) <= 100 for _, new in changes("The rate was 98%."))
    assert all(int(new) > 100 for _, new in changes("The growth was 150% then."))
    assert all(int(new) <= 2025 for _, new in changes("It was done in 2024."))
    assert all(int(new) <= 100 for _, new in changes("Patients aged 85 years came."))


def test_large_numbers_take_no_time_and_keep_their_last_digits_mixed() -> None:
    found = changes("It has 22,338,618 digits.")
    assert len({new[-1] for _, new in found}) > 4


def test_kinds_are_told() -> None:
    kinds = {number.text: number.kind for number in plain_numbers("In 2019, the 1,234 men had 4.5 beds or 98%.")}
    assert kinds == {"2019": "year", "1,234": "count", "4.5": "decimal", "98": "percent"}
