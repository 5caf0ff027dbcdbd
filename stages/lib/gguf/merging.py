"""The model that is released: as it runs (an adapter on its base), and with the adapter's products in its matrices.

Whoever asks loads it anew, so that one model is held at a time: the file is compared with what the adapter computes,
which merging ends. Where there is room, the merged weights are held beside it, for the types that are tried later.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.lib.core.progress import doing
from stages.lib.weights.base import load_adapter, load_base, load_tokenizer
from stages.lib.weights.models import Dtype, ModelEntry


@dataclass(frozen=True)
class Source:
    """Where the model comes from."""

    name: str  # for errors
    load: Callable[[], tuple[Any, Any]]  # the model as it runs, in eval mode, and its tokenizer

    def running(self) -> tuple[Any, Any]:
        """Model and tokenizer; the model computes in float32, with weights of the dtype asked for.

        Raises:
            ValueError: the weights are not there, not whole, or an adapter of another base or without effect.
        """
        model, tokenizer = self.load()
        _check_adapter(model, self.name)
        return model.float().eval(), tokenizer


@dataclass(frozen=True)
class Merged:
    """A plain transformers model."""

    model: Any
    merged_modules: int  # how many an adapter changed
    untied: bool  # the output layer has its own matrix, where the base's is the embedding


def base_source(entry: ModelEntry, dtype: Dtype) -> Source:
    """The base as it is."""
    return Source(entry.source, lambda: load_base(entry, dtype))


def adapter_source(base: str, entry: ModelEntry, adapter: Path, dtype: Dtype) -> Source:
    """The de-quantized `models.<base>` with the adapter on it."""
    return Source(str(adapter), lambda: load_adapter(base, entry, adapter, dtype))


def directory_source(directory: Path, dtype: Dtype) -> Source:
    """A whole model in transformers' layout."""

    def load() -> tuple[Any, Any]:
        import torch
        from transformers import AutoModelForCausalLM

        try:
            model = AutoModelForCausalLM.from_pretrained(
                directory, dtype=dtype, use_safetensors=True, trust_remote_code=False
            )
            return model.to("cuda" if torch.cuda.is_available() else "cpu"), load_tokenizer(directory)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{directory}: transformers cannot read it: {error}") from error

    return Source(str(directory), load)


@doing("merging the adapter")
def merge(model: Any) -> Merged:
    """Adds the adapter to its base's matrices, in place; the running model is gone after that.

    Where the embedding is the output layer too (tied), an adapter on either runs on that side alone (peft#2018). The
    two get matrices of their own, or the merged one would serve on both sides.
    """
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        return Merged(model, 0, untied=False)
    base = model.get_base_model()
    was_tied = _embeddings(base)[0].weight is _embeddings(base)[1].weight
    _untie(base)
    count = sum(1 for _ in _adapted(model))
    merged = model.merge_and_unload(safe_merge=True).eval()
    embedding, head = _embeddings(merged)
    tied = embedding.weight is head.weight
    merged.config.get_text_config().tie_word_embeddings = merged.config.tie_word_embeddings = tied
    return Merged(merged, count, untied=was_tied and not tied)


class MergedWeights:
    """The merged model for one type after the other, each of which puts the file's weights into it."""

    def __init__(self, source: Source, merged: Merged, copied: bool) -> None:
        """`copied`: the merged weights are copied now, and not made anew for each type but the first."""
        self._source, self._model = source, merged.model
        self._copy = _copy_of(merged.model.state_dict()) if copied else None

    def take(self) -> tuple[Any, Mapping[str, Any]]:
        """A model whose weights may be overwritten, and the merged weights by name: until then, or from the copy."""
        model, self._model = self._model or merge(self._source.running()[0]).model, None
        if self._copy is None:
            return model, model.state_dict()
        self._model = model
        return model, self._copy

    def let_go(self) -> None:
        """The model is no longer held here: another one is to be loaded."""
        self._model = None


def _copy_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors, one that stands under two names once."""
    copies: dict[int, Any] = {}
    for tensor in state.values():
        if tensor.data_ptr() not in copies:
            copies[tensor.data_ptr()] = tensor.clone()
    return {name: copies[tensor.data_ptr()] for name, tensor in state.items()}


def _untie(base: Any) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer
    from torch.nn import Parameter

    sides = (base.get_input_embeddings(), base.get_output_embeddings())
    if not any(isinstance(side, BaseTunerLayer) for side in sides):
        return  # peft itself unties what is trained whole (modules_to_save)
    embedding, head = _embeddings(base)
    if embedding.weight is head.weight:
        head.weight = Parameter(head.weight.detach().clone(), requires_grad=False)
        base.config.get_text_config().tie_word_embeddings = base.config.tie_word_embeddings = False


def _embeddings(base: Any) -> tuple[Any, Any]:
    """The modules that hold the matrices of embedding and output layer, under what peft put around them."""
    return _innermost(base.get_input_embeddings()), _innermost(base.get_output_embeddings())


def _innermost(module: Any) -> Any:
    inner = getattr(module, "base_layer", None) or getattr(module, "original_module", None)
    return module if inner is None else _innermost(inner)


def _adapted(model: Any) -> Iterator[Any]:
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    for module in model.modules():
        if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper):
            yield module


def _check_adapter(model: Any, name: str) -> None:
    """Refuses an adapter that holds NaN or whose every product is zero."""
    import torch
    from peft import PeftModel, get_peft_model_state_dict

    if not isinstance(model, PeftModel):
        return
    for tensor in get_peft_model_state_dict(model, save_embedding_layers=False).values():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name}: the adapter holds NaN or infinity: the training diverged")
    if not any(_changes(module) for module in _adapted(model)):
        raise ValueError(f"{name}: the adapter changes nothing: all its products are zero; was it trained?")


def _changes(module: Any) -> bool:
    import torch

    names = list(module.active_adapters)
    if hasattr(module, "get_delta_weight"):
        return any(bool(module.get_delta_weight(adapter).any()) for adapter in names)
    if hasattr(module, "modules_to_save"):
        theirs = module.original_module.state_dict()
        return any(
            not torch.equal(tensor, theirs[key])
            for adapter in names
            for key, tensor in module.modules_to_save[adapter].state_dict().items()
        )
    return True
