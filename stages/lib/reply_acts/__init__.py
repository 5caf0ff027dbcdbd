"""What a reply does, read from its words: it says that the text does not tell, it corrects its question."""
