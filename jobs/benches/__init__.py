"""Benches: how fast it is, one noun a module, each ratio measured side by side in one run."""
