"""What the stages share. Arrows point one way: stage -> room -> lib/*.py -> third party."""
