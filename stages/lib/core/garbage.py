"""Fewer whole collections of garbage in a stage's process.

torch, transformers and what they import leave a million objects that live as long as the process. Python's collector
of reference cycles read all of them many times while they came, and again at the end: a second of CPU time in each
process that imports transformers. So whole collections are rarer here, and there is none at the end. Young objects are
looked at as often as ever.
"""

import atexit
import gc


def collect_all_rarely() -> None:
    """From now on, until the process ends."""
    gc.set_threshold(700, 10, 100)  # Python's own, but for the third number, which is 10
    atexit.register(gc.freeze)
