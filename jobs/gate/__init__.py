"""The promotion gate: what is collected of a day's challenger, and the verb that decides."""
