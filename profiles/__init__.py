"""Named overlays of params.yaml: what fits which machine. `python -m profiles NAME` applies one."""
