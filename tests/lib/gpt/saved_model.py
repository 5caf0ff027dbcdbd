"""A checkpoint of weights alone, as a training publishes it."""

from pathlib import Path

from stages.lib.gpt.checkpoints import TokenizerFacts, write_model
from stages.lib.gpt.model import GPT


def save_model(directory: Path, model: GPT, tokenizer: TokenizerFacts, template: str = "") -> None:
    """Writes it into a directory, made where it is absent; `template`: as of a finetuned one."""
    directory.mkdir(parents=True, exist_ok=True)
    write_model(directory, model.state_dict(), model.config, tokenizer, template)
