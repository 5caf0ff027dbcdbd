"""What a text says apart from its form: its words, and whether two texts differ in a fact or in wording alone."""
