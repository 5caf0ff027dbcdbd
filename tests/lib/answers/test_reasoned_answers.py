"""Reasoning and answer apart, in whole replies and in those that are still being written."""

import pytest

from stages.lib.answers.reasoned_answers import written_parts


@pytest.mark.parametrize(
    ("reply", "parts"),
    [
        ("The text tells. ##### Barley.", ("The text tells.", "Barley.")),
        ("The text tells. #####", ("The text tells.", "")),
        ("The text te", ("", "The text te")),
        ("##### Barley. ##### More", ("", "Barley. ##### More")),
        ("", ("", "")),
    ],
)
def test_written_parts(reply: str, parts: tuple[str, str]) -> None:
    assert written_parts(reply) == parts
