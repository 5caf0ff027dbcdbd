"""What a finetuning is measured by: held-out losses and answers, and what it forgot of its pretraining text."""
