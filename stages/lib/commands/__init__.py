"""What a person runs by hand: python -m stages.lib.commands.NAME."""
