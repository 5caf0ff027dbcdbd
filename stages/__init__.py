"""The steps of the graph, one standalone script each: `python -m stages.<name>`."""
