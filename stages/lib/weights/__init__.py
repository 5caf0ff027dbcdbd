"""Models by name: where their weights come from, and a Hugging Face directory of each."""
