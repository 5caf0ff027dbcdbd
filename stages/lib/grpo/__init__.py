"""Reasoning by group-relative policy optimisation: prompts, rewards, rollouts, the trainer."""
