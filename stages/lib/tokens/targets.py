"""Targets of the next-token loss, without torch: data are made with them, too."""

IGNORED = -100  # a target that counts for nothing in the loss
