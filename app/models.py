"""Which model answers: the released GGUF, any model of params.yaml, a file or directory, or a server."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from stages.lib.answering.chat_settings import ChatSettings
from stages.lib.answering.lead import chosen_lead
from stages.lib.chat.events import Stream
from stages.lib.chat.opening import open_entry
from stages.lib.core.params import read_names, read_param
from stages.lib.evaluation.systems import find_gguf
from stages.lib.weights.models import ModelEntry, load_model_entry

RELEASE = Path("models/gguf")
NOTE = "models/gguf holds no released model yet; `dvc repro gguf` makes one. Until then its base answers."
RELEASED, NONE = "released", "none"
AT_ONCE = 4  # people answered at once; more wait


@dataclass(frozen=True)
class ModelChoice:
    """A model that can answer here."""

    name: str  # released, none, or a name under models:
    label: str  # for people
    note: str = ""  # what they should know of it


def choices(release: Path = RELEASE) -> list[ModelChoice]:
    """The models to choose from, the default first."""
    base = str(read_param("gguf.base"))
    found = [ModelChoice(base, f"the base ({base})", NOTE)]
    if file := released(release):
        own = ModelChoice(RELEASED, f"the released model ({file.name})")
        found = [own, ModelChoice(base, f"its base ({base})")]
    for name in read_names("models"):
        if name != base and load_model_entry(name).backend in ("transformers", "llama_cpp", "openai"):
            found.append(ModelChoice(name, name))
    return [*found, ModelChoice(NONE, "no model: quotes alone")]


def released(release: Path = RELEASE) -> Path | None:
    """The GGUF that stage gguf released; None: there is none yet."""
    try:
        return find_gguf(release)
    except ValueError:
        return None


def open_choice(name: str, settings: ChatSettings, release: Path = RELEASE) -> Stream | None:
    """The model of that name, ready to answer; None for `none`.

    A GGUF file runs in llama.cpp whatever its entry says: there the reply comes as it is written and several people are
    answered at once.

    Raises:
        ValueError: there is no such model, or it cannot be loaded.
    """
    if name == NONE:
        return None
    if name == RELEASED:
        base = load_model_entry(str(read_param("gguf.base")))
        source = f"path:{find_gguf(release)}"
        entry = ModelEntry(source=source, backend="llama_cpp", thinking=base.thinking, system_role=base.system_role)
    else:
        entry = load_model_entry(name)
        if entry.backend == "transformers" and entry.source.endswith(".gguf"):
            entry = replace(entry, backend="llama_cpp")
    if entry.backend == "llama_cpp":
        layers = settings.gpu_layers or entry.gpu_layers
        entry = replace(entry, context=settings.context_tokens, concurrency=AT_ONCE, gpu_layers=layers)
    return open_entry(entry, max_new_tokens=settings.max_new_tokens, temperature=settings.temperature, seed=0)


def leading(settings: ChatSettings, model: str) -> Literal["quotes", "model"]:
    """What stands first: as params.yaml says; `auto`: what stage rag measured of the released model, else quotes."""
    if settings.lead == "auto" and model != RELEASED:
        return "quotes"
    return chosen_lead(settings).lead
