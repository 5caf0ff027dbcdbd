"""Rules on English text: facts, verbs, words, questions."""
