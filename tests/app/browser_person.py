"""What a person at a browser of their own does on the page."""

import json
from typing import Any

from tests.app.conftest import RunningPage

WITHIN = 30_000  # milliseconds at most, on a machine that others use


class Person:
    """Someone at a browser of their own."""

    def __init__(self, browser: Any, page: RunningPage) -> None:
        self.context, self._page = browser.new_context(viewport={"width": 1400, "height": 900}), page
        self.context.set_default_timeout(WITHIN)
        self.outside: list[str] = []  # requests to other hosts
        self.open()

    def open(self) -> None:
        self.tab = self.context.new_page()
        self.tab.on("request", lambda request: self._note(request.url))
        self.tab.goto(self._page.url)
        self.tab.wait_for_selector("#documents .documents")

    def _note(self, url: str) -> None:
        if not url.startswith((self._page.url, "data:", "blob:")):
            self.outside.append(url)

    def upload(self, *files: tuple[str, bytes], says: str | None = None) -> None:
        """Uploads files and waits until each is done; `says`: a part of what is then said."""
        given = [{"name": name, "mimeType": "application/pdf", "buffer": content} for name, content in files]
        self.tab.set_input_files("#files input[type=file]", given)
        for name, _ in files:
            self.tab.wait_for_selector(f"#said .messages :is(.good, .bad):has-text({json.dumps(name)})")
        if says is not None:
            assert says in self.said()

    def said(self) -> str:
        return str(self.tab.inner_text("#said"))

    def ask(self, question: str, wait: bool = True) -> None:
        self.tab.evaluate(
            """() => { window.began = false; new MutationObserver(() => {
              window.began ||= Boolean(document.querySelector('#talk .progress')); })
              .observe(document.querySelector('#talk'), {childList: true, subtree: true}); }"""
        )
        self.tab.fill("#question textarea", question)
        self.tab.press("#question textarea", "Enter")
        if wait:
            self.answered()

    def answered(self) -> None:
        """Waits until the answer that was asked for is whole."""
        self.tab.wait_for_function("() => window.began && !document.querySelector('#talk .progress')")
        self.tab.wait_for_selector("#ask:not([disabled])")

    def talk(self) -> str:
        return str(self.tab.inner_text("#talk"))

    def last(self) -> Any:
        return self.tab.locator("#talk .turn").last

    def close(self) -> None:
        assert self.outside == []
        self.context.close()
