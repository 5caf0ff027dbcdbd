"""The GPT in Hugging Face layouts, and weights from there."""
