"""One logical date: its table of steps, its champion, its release, and the run of all that."""
