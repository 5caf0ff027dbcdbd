"""The path of headings above a place."""

import pytest

from stages.lib.splitting.headings import Headings

TEXT = """---
title: "front"
sidebar: 3
---
Ahead of all.

# The [Guide](a.md)[[guide]] #

## Install `pip`

one

```sh
# comment
```

two

Title
=====

### Deep *one*

three
"""


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ("sidebar", ""),
        ("Ahead", ""),
        ("# The", "The Guide"),
        ("one", "The Guide > Install pip"),
        ("# comment", "The Guide > Install pip"),
        ("two", "The Guide > Install pip"),
        ("Title\n", "Title"),
        ("three", "Title > Deep one"),
    ],
)
def test_a_place_stands_under_the_headings_above_it(place: str, path: str) -> None:
    assert Headings(TEXT).path(TEXT.index(place)) == path


def test_a_text_without_headings_has_empty_paths() -> None:
    assert Headings("no heading #here\n").path(5) == ""
    assert Headings("#\n\ntext").path(4) == ""
