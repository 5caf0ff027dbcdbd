"""A stage over several processes and machines: what starts them, who each one is, and what they tell each other."""
