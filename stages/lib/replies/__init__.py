"""What a model wrote and what it says: the answer behind the thinking, JSON objects, pairs, stated scores."""
