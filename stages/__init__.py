"""The steps of the graph, one standalone script each: `python -m stages.<name>`.

torch, transformers and what they import leave a million objects that live as long as the process. Python's collector
of reference cycles read all of them many times while they came, and again at the end: a second of CPU time in each
process that imports transformers. So whole collections are rarer here, and there is none at the end. Young objects are
looked at as often as ever.
"""

import atexit
import gc

gc.set_threshold(700, 10, 100)  # Python's own, but for the third number, which is 10
atexit.register(gc.freeze)
