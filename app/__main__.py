"""Chat with your papers.

python -m app page                            # the page, on loopback (as `make chat`)
python -m app ask FILE... "question"          # an answer with its citations, as JSON
python -m app index FILE...                   # reads ahead; what was read is found again

Files are PDF, txt or md. Exit codes: 0; 1: a file or model cannot be used (the message says which and why); 2: the
command line is wrong; 3 (ask): the documents do not tell, the nearest passages are in the JSON.
"""

import argparse
import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from app.answer_json import answer_json
from app.assistant import Assistant
from app.library import Library, described
from app.models import choices, leading, open_choice
from app.serving import PASSWORD_ENV, serve
from app.settings import Searching, home, open_searching, wording
from stages.lib.passages.paged_document import PagedDocument
from stages.lib.reading.documents import BrokenInputError

COMMAND_LINE_USER = "command-line"  # its library; a person on the page has another


def main() -> None:
    """Reads the command line and runs the command."""
    options = _parser().parse_args()
    try:
        sys.exit({"ask": _ask, "index": _index, "page": _page}[options.command](options))
    except (ValueError, OSError) as error:
        sys.exit(f"app: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m app", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    ask = commands.add_parser("ask", help="answer a question about files, as JSON")
    ask.add_argument("files", nargs="+", type=Path, metavar="FILE")
    ask.add_argument("question")
    ask.add_argument("--password", default="", help="of an encrypted PDF")
    ask.add_argument("--model", default="", help="released, a name under models:, or none; default: released, or base")
    ask.add_argument("--reasoning", action="store_true", help="ask for the reasoning first")
    page = commands.add_parser("page", help="the page for people")
    page.add_argument("--host", default="127.0.0.1", help="another one needs a password")
    page.add_argument("--port", type=int, default=7860)
    page.add_argument("--password-env", default=PASSWORD_ENV, help="environment variable that holds the password")
    index = commands.add_parser("index", help="read files ahead")
    index.add_argument("files", nargs="+", type=Path, metavar="FILE")
    index.add_argument("--password", default="", help="of an encrypted PDF")
    return parser


def _ask(options: argparse.Namespace) -> int:
    if not options.question.strip():
        raise ValueError("the question is empty")
    with open_searching() as searching, ExitStack() as stack:
        documents = [_read(file, searching, options.password) for file in options.files]
        model = options.model or choices()[0].name
        stream = open_choice(model, searching.settings)
        if stream:
            stack.callback(stream.close)
        assistant = Assistant(
            searching,
            stream,
            wording(options.reasoning or searching.settings.reasoning),
            leading(searching.settings, model),
        )
        answer = list(assistant.answer(options.question, assistant.index(documents)))[-1]
    print(json.dumps(answer_json(answer), ensure_ascii=False, indent=2))
    if answer.error:
        raise ValueError(answer.error)
    return 0 if answer.answerable else 3


def _index(options: argparse.Namespace) -> int:
    with open_searching() as searching:
        for file in options.files:
            begin = time.perf_counter()
            document = _read(file, searching, options.password, progress=True)
            Assistant(searching, None, wording(reasoning=False), "quotes").index([document])
            print(f"{document.name}: {described(document)}, ready in {time.perf_counter() - begin:.1f} s")
    return 0


def _page(options: argparse.Namespace) -> int:
    serve(options.host, options.port, options.password_env)
    return 0


def _read(file: Path, searching: Searching, password: str, progress: bool = False) -> PagedDocument:
    settings = searching.settings
    library = Library(home() / "libraries" / COMMAND_LINE_USER, settings.max_file_mb * 1_000_000, settings.max_pages)
    if not file.is_file():
        raise ValueError(f"{file}: no such file")
    if (size := file.stat().st_size) > settings.max_file_mb * 1_000_000:
        raise ValueError(
            f"{file}: too_large: {size / 1e6:.1f} MB; the limit is {settings.max_file_mb} MB (chat.max_file_mb)"
        )

    def show(page: int, pages: int) -> None:
        if progress and sys.stderr.isatty():
            print(f"\r{file.name}: page {page} of {pages}", end="\n" if page == pages else "", file=sys.stderr)

    try:
        return library.add(file.name, file.read_bytes(), password, show)
    except BrokenInputError as error:
        hint = "; give it with --password" if error.reason in ("encrypted_pdf", "wrong_password") else ""
        raise ValueError(f"{file}: {error}{hint}") from error


if __name__ == "__main__":
    main()
