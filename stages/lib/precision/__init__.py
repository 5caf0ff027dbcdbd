"""How fast this machine multiplies, and which dtype that makes the best."""
