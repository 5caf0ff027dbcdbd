"""Tuning: chat templates and masks, LoRA, rewards, answer comparison, GGUF export, chat."""

import logging

# On a CPU it advises to install `kernels`, which would fetch code from the hub; its own products serve.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
