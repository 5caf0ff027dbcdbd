"""sentence-transformers' trainers for an embedding model and a cross-encoder, over batches in a given order.

Embedding: MultipleNegativesRankingLoss, the other positives of a batch and one hard negative a question as negatives
(Henderson et al., arXiv:1705.00652). Cross-encoder: ListNet (Cao et al., ICML 2007) over the right text and its hard
negatives. Both go on after kill -9 from the last checkpoint (adapters/resuming.py).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.lib.adapters.resuming import train_on
from stages.lib.adapters.schedule import Schedule, trainer_settings
from stages.lib.adapters.step_bar import step_bar
from stages.lib.retriever_training.examples import Example

FROZEN = "embeddings."  # in the names of weights that are not trained
RIGHT = 10.0  # label of the right text beside 0: ListNet's softmax over labels is then all but one at it


def embedding_trainer(
    base: Path, examples: Sequence[Example], *, size: int, max_length: int, schedule: Schedule, directory: Path
) -> Any:
    """A trainer on batches of `size` examples in order.

    Args:
        base: the directory of an embedding model.
        examples: `size` times the steps of them.
        size: questions a step.
        max_length: tokens of a text that are read.
        schedule: how the optimizer steps.
        directory: where the checkpoints lie.
    """
    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments

    torch.manual_seed(schedule.seed)
    model = SentenceTransformer(str(base), device=device(), local_files_only=True)
    model.max_seq_length = max_length
    _freeze_words(model)
    data = Dataset.from_dict(
        {
            "anchor": [example.question for example in examples],
            "positive": [example.positive for example in examples],
            "negative": [example.negatives[0] for example in examples],
        }
    )
    return SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(**_settings(schedule, len(examples), size, directory)),
        train_dataset=data,
        loss=MultipleNegativesRankingLoss(model),
        callbacks=[step_bar()],
    )


def cross_encoder_trainer(
    base: Path, examples: Sequence[Example], *, size: int, max_length: int, schedule: Schedule, directory: Path
) -> Any:
    """The same for a cross-encoder by joint reading; question and text of a pair have `max_length` together."""
    import torch
    from datasets import Dataset
    from sentence_transformers.cross_encoder import CrossEncoderTrainer
    from sentence_transformers.cross_encoder.losses import ListNetLoss
    from sentence_transformers.cross_encoder.training_args import CrossEncoderTrainingArguments

    from stages.lib.retriever_training import joint_reading

    torch.manual_seed(schedule.seed)
    texts = [text for example in examples for text in (example.positive, *example.negatives)]
    model = joint_reading.begin(base, texts, max_length, device())
    _freeze_words(model)
    data = Dataset.from_dict(
        {
            "query": [example.question for example in examples],
            "docs": [[example.positive, *example.negatives] for example in examples],
            "labels": [[RIGHT] + [0.0] * len(example.negatives) for example in examples],
        }
    )
    return CrossEncoderTrainer(
        model=model,
        args=CrossEncoderTrainingArguments(**_settings(schedule, len(examples), size, directory)),
        train_dataset=data,
        loss=ListNetLoss(model),
        callbacks=[step_bar()],
    )


def _freeze_words(model: Any) -> None:
    """The embeddings of words stay as they are: a short training meets few words, and would move these alone."""
    for name, weight in model.named_parameters():
        weight.requires_grad_(FROZEN not in name)


def _settings(schedule: Schedule, examples: int, size: int, directory: Path) -> dict[str, Any]:
    import torch

    use_cpu = not torch.cuda.is_available()
    return {
        **trainer_settings(schedule, examples // size, directory, use_cpu=use_cpu),
        "per_device_train_batch_size": size,
        "batch_sampler": _in_order,
        "fp16": False,
    }


def _in_order(dataset: Any, batch_size: int, drop_last: bool, **_: Any) -> Any:
    """Batches as the examples stand: who made them kept what is alike apart."""
    from sentence_transformers.base.sampler import DefaultBatchSampler
    from torch.utils.data import SequentialSampler

    return DefaultBatchSampler(SequentialSampler(dataset), batch_size=batch_size, drop_last=drop_last)


def run(trainer: Any, directory: Path) -> None:
    """Trains to the end, from the last whole checkpoint on; the last step is a checkpoint."""
    import transformers

    trainer.remove_callback(transformers.PrinterCallback)
    train_on(trainer, directory)


def device() -> str:
    """Where a model is trained and read."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
