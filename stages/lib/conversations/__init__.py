"""How a conversation becomes text and token ids, for training, asking, evaluating and exporting alike."""
