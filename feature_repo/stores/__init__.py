"""Feast store classes of our own, chosen by their class path in `feature_store.yaml`."""
