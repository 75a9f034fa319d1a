"""Peers: well-known recommenders that the stack is held against, on equal data and by equal metrics.

Each is a module with `fit(purchases, options) -> model`, and a model has `scores(rows) -> (n, n_items)`.
They stand in the benchmark only; nothing that serves imports them.
"""
