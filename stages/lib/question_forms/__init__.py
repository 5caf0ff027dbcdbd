"""What is a question, in any language, and which questions lean on a text that is not seen."""
