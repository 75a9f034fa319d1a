"""How a release answers: pure arrays inside, HTTP outside."""
