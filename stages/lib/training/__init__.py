"""The GPT's training loop: parameters, data order, optimizers, processes, trackers."""
