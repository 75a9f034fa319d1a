"""Experiments: from what the service logged to a decision, and to the traffic that follows from it."""
