"""From a question and documents to evidence, a prompt that fits, and an answer with verbatim citations."""
