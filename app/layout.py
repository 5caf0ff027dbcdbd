"""What stands on the page: documents on the left, the conversation in the middle, the cited page on the right."""

from collections.abc import Sequence
from pathlib import Path

import gradio as gr

HERE = Path(__file__).parent
SCRIPT = (HERE / "page.js").read_text(encoding="utf-8")
STYLE = (HERE / "page.css").read_text(encoding="utf-8")
STORAGE_KEY, STORAGE_SECRET = "llmill-person", "llmill"  # the browser gets both: what is secret is the token itself
DROP = (
    '<label class="drop" data-limit="{limit}"><input type="file" multiple accept=".pdf,.txt,.md,.markdown">'
    "Drop PDF, .txt or .md files here, or click</label>"
)
NO_PAGE = '<div class="empty">Click a quote to see its page.</div>'

DOWNLOAD = """(text) => { if (!text) return; const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], {type: 'application/jsonl'}));
  link.download = 'rated_answers.jsonl'; link.click(); URL.revokeObjectURL(link.href); }"""
# The question stands there before the server has it; the server's own drawing takes its place.
SHOW_AT_ONCE = """(...given) => { const talk = document.querySelector('#talk .talk'), text = given[4];
  if (talk && text && text.trim()) { talk.querySelector('.empty')?.remove();
    const turn = document.createElement('div'), asked = document.createElement('div');
    turn.className = 'turn sent'; asked.className = 'asked'; asked.textContent = text; turn.append(asked);
    const note = document.createElement('div'); note.className = 'progress'; note.textContent = 'sent';
    turn.append(note);
    talk.append(turn); turn.scrollIntoView({block: 'nearest'}); }
  return given; }"""


class Layout:
    """The components; made inside `with gr.Blocks()`."""

    def __init__(self, header: str, models: Sequence[tuple[str, str]], max_file_mb: int) -> None:
        """`header`: HTML; `max_file_mb`: of an upload; `models`: (label, name) to choose from, the default first."""
        self.token = gr.BrowserState(None, storage_key=STORAGE_KEY, secret=STORAGE_SECRET)
        self.conversation = gr.State("")  # the id of the one that is shown
        self.left_out = gr.State([])  # sha256 of the documents that are not searched
        self.replacing = gr.State(False)  # the next question takes the place of the last one
        self.header = gr.HTML(header, js_on_load=None, elem_id="header")
        with gr.Row():
            with gr.Column(scale=2, min_width=240, elem_id="left"):
                self._left(max_file_mb)
            with gr.Column(scale=4, min_width=320):
                self._middle(models)
            with gr.Column(scale=4, min_width=320):
                self.page = gr.HTML(NO_PAGE, js_on_load=SCRIPT, elem_id="page")

    def _left(self, max_file_mb: int) -> None:
        self.files = gr.HTML(DROP.format(limit=max_file_mb), js_on_load=SCRIPT, elem_id="files")
        with gr.Group(visible=False) as self.locked:
            self.password = gr.Textbox(label="Password of the PDF", type="password", elem_id="password")
            self.unlock = gr.Button("Open it", elem_id="unlock")
        self.said = gr.HTML("", js_on_load=None, elem_id="said")
        self.documents = gr.HTML("", js_on_load=SCRIPT, elem_id="documents")
        self.new = gr.Button("New conversation", size="sm", elem_id="new")
        self.conversations = gr.HTML("", js_on_load=SCRIPT, elem_id="conversations")
        self.export = gr.Button("Export rated answers (JSONL)", size="sm", elem_id="export")
        self.exported = gr.Textbox(visible="hidden")

    def _middle(self, models: Sequence[tuple[str, str]]) -> None:
        self.talk = gr.HTML("", js_on_load=SCRIPT, elem_id="talk")
        with gr.Row():
            self.question = gr.Textbox(
                show_label=False, placeholder="Ask about your documents", container=False, scale=6, elem_id="question"
            )
            self.ask = gr.Button("Ask", variant="primary", scale=1, min_width=60, elem_id="ask")
            self.stop = gr.Button("Stop", scale=1, min_width=60, interactive=False, elem_id="stop")
        with gr.Row():
            self.retry = gr.Button("Retry", size="sm", min_width=60, elem_id="retry")
            self.edit = gr.Button("Edit last", size="sm", min_width=60, elem_id="edit")
            self.model = gr.Dropdown(
                list(models),
                value=models[0][1],
                show_label=False,
                container=False,
                filterable=False,
                scale=2,
                min_width=200,
                elem_id="model",
            )
