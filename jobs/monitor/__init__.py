"""Whether a day was in order: its rows, the features made of them, and what was served."""
