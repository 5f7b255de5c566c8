"""A worker process: runs nodes' code apart from the executor, one attempt at a time, as the executor tells it.

`messages` is what the two say to each other; the rest runs in the worker.
"""
