"""The contract: what tables look like, which features exist, and where they are kept."""
