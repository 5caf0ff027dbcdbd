"""Text of documents, file names and models on the page: shown as text, whatever it holds."""

import html


def escaped(text: object) -> str:
    """For HTML text and quoted attributes; also safe inside the templates of gr.HTML (`{{...}}`, `${...}`)."""
    safe = html.escape(str(text), quote=True)
    for character in "{}$`":
        safe = safe.replace(character, f"&#{ord(character)};")
    return safe
