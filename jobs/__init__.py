"""What runs: one verb a file, `run(settings, ...) -> Result`."""
