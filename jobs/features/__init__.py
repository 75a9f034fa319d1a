"""Feature tables as pure functions from DataFrames to DataFrames, one noun a module."""
