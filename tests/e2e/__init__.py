"""The whole platform, as a user starts it."""
