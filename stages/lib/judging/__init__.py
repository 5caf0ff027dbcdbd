"""Judging questions by ratings or likelihoods, and judging the judge."""
