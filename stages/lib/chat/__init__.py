"""Talking to a model: replies event by event from three kinds of engine, and the terminal."""
