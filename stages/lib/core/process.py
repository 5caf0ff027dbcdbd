"""How a stage's process uses a machine that it may have to share: its threads' waiting, its collections of garbage.

Threads of one matrix product wait for each other some hundred times in each pass over a model. By default a waiting
thread of OpenMP spins, and where another program has taken a core it spins instead of the one that it waits for: beside
other work a product took up to ten times as long. So they sleep.

torch, transformers and what they import leave a million objects that live as long as the process. Python's collector
of reference cycles read all of them many times while they came, and again at the end: a second of CPU time in each
process that imports transformers. So whole collections are rarer here, and there is none at the end. Young objects are
looked at as often as ever.
"""

import atexit
import gc
import os


def share_the_machine() -> None:
    """From now on, until the process ends; before torch is imported, which reads the first line's variable then."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # for less than it takes to wake up, which spares most sleeps
    gc.set_threshold(700, 10, 100)  # Python's own, but for the third number, which is 10
    atexit.register(gc.freeze)
