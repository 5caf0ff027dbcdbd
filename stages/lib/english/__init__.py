"""Rules on English text: facts, openings, verbs, words, what a sentence states."""
