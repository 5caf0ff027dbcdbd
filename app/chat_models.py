"""The models that a person can choose: the released GGUF, the names under models: that chat, and quotes alone."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stages.lib.chat.events import Stream
from stages.lib.core.params import PARAMS_FILE, read_param, read_yaml
from stages.lib.weights.models import ModelEntry, model_entry

RELEASED = Path("models/gguf")  # what stage gguf writes
QUOTES_ONLY = "quotes only"
AT_ONCE = 4  # people whom llama.cpp answers at once, each with a slot of its own
CHATS = ("llama_cpp", "transformers", "openai")  # backends


@dataclass(frozen=True)
class ChatModel:
    """What a person can choose, and what is said about it."""

    name: str
    model: ModelEntry | None  # None: no model, the quotes stand alone
    note: str


def chat_models(context_tokens: int, project: Path = Path()) -> list[ChatModel]:
    """The default first; `context_tokens`: of a conversation, where llama.cpp runs the model.

    Without a released GGUF the default is the base that stage gguf would start from.
    """

    def by_llama_cpp(entry: ModelEntry) -> ModelEntry:
        if not entry.source.endswith(".gguf"):
            return entry
        return replace(entry, backend="llama_cpp", concurrency=AT_ONCE, context=context_tokens)

    def released(file: Path) -> ModelEntry:
        return by_llama_cpp(ModelEntry(source=f"path:{file}", backend="llama_cpp"))

    found = [
        ChatModel(file.stem, released(file), "the model that `dvc repro gguf` released")
        for file in sorted((project / RELEASED).glob("*.gguf"))
    ]
    params = project / PARAMS_FILE
    models = read_yaml(params).get("models", {})
    base = str(read_param("gguf.base", params) or "")
    if not found and base:
        note = f"there is no released model yet (`dvc repro gguf` makes it): this is its untuned base {base}"
        entry = by_llama_cpp(model_entry(base, models, str(params)))
        found.append(ChatModel(f"{base} (untuned base)", entry, note))
    for name in models:
        entry = by_llama_cpp(model_entry(name, models, str(params)))
        if entry.backend in CHATS and entry.rerank_method == "cross_encoder":
            where = "a server" if entry.backend == "openai" else "its weights load when it is first asked"
            found.append(ChatModel(name, entry, f"models.{name}: {where}"))
    return [*found, ChatModel(QUOTES_ONLY, None, "no model writes; the quotes answer")]


class OpenModels:
    """The models that were asked so far; each is opened once, for all people."""

    def __init__(self, models: Sequence[ChatModel], opening: Callable[[ModelEntry], Stream]) -> None:
        self.models = {model.name: model for model in models}
        self._opening = opening
        self._streams: dict[str, Stream] = {}
        self._changing = threading.Lock()

    def is_open(self, name: str) -> bool:
        """Whether asking it needs no loading."""
        return name in self._streams or self.models[name].model is None

    def stream(self, name: str) -> Stream | None:
        """The model of that name, loaded; None: quotes only.

        Raises:
            ValueError: no such choice, or weights that are absent or damaged.
        """
        if name not in self.models:
            raise ValueError(f"there is no model {name!r} to choose")
        model = self.models[name].model
        if model is None:
            return None
        with self._changing:
            if name not in self._streams:
                self._streams[name] = self._opening(model)
            return self._streams[name]

    def close(self) -> None:
        """Closes all."""
        with self._changing:
            for stream in self._streams.values():
                stream.close()
            self._streams.clear()
