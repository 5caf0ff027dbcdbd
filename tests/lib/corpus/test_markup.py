"""Markdown files without what is no text."""

import pytest

from stages.lib.corpus.markup import as_shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("---\ntitle: X\n---\nbody\n", "# X\n\nbody\n"),
        ('---\ntitle: "It\'s X"\ntags:\n  - a\n- b\n# no\n---\n\nbody\n', "# It's X\n\nbody\n"),
        ("---\ntitle: X\n---\n## Second\n\nbody\n", "# X\n\n## Second\n\nbody\n"),
        ("---\ntitle: X\n---\n# Own\n\nbody\n", "# Own\n\nbody\n"),
        ("---\ntitle: X\n---\nOwn\n===\n\nbody\n", "Own\n===\n\nbody\n"),
        ("---\ntitle: X\n---\n```\n# code\n```\n", "# X\n\n```\n# code\n```\n"),
        ("---\nsidebar: 3\n---\nbody\n", "body\n"),
        ("---\n\nText: a rule above.\n\n---\nbody\n", "---\n\nText: a rule above.\n\n---\nbody\n"),
        ("---\nNote: it is\nprose over lines\n---\nbody\n", "---\nNote: it is\nprose over lines\n---\nbody\n"),
        ("---\ntitle: never closed\n\nbody\n", "---\ntitle: never closed\n\nbody\n"),
        ("a\n---\ntitle: x\n---\n", "a\n---\ntitle: x\n---\n"),
    ],
)
def test_front_matter_goes_but_for_its_title(text: str, shown: str) -> None:
    assert as_shown(text, ".md") == shown


def test_mdx_is_left_with_its_text_and_code() -> None:
    text = """import {
  A,
} from "x"
export const meta = {
  a: 1,
}

<Tabs
  groupId="os"
  values={[{a: 1}]}
>
Hello <b>you</b>. Use <Kbd>x</Kbd> and import this.
import "x";
</Tabs>

{/* a
comment */}

    ```jsx
import A from "b"
<Tabs>
    ```
a < B and c > d
"""
    shown = """Hello <b>you</b>. Use <Kbd>x</Kbd> and import this.

    ```jsx
import A from "b"
<Tabs>
    ```
a < B and c > d
"""
    assert as_shown(text, ".mdx") == shown
    assert as_shown(text, ".md") == text


def test_time_is_linear_in_odd_tags() -> None:
    for unit in ("<A a a", "<A\n", "{/* ", "---\n", "import {\n", "<A a={", "<>"):
        assert as_shown(unit * 20_000, ".mdx") is not None
